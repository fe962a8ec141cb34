"""The memory of training jobs/flat.py's model without a parameter server: weights, gradient, step.

Started by `python alone.py PARAMETERS`; prints the peak of this process's memory.
"""

import json
import sys
from pathlib import Path

import numpy as np

from ps_worker import nn

size = int(sys.argv[1])
weights, gradient = np.ones(size, np.float32), np.zeros(size, np.float32)
optimizer, scratch = nn.SGD(0.01), nn.scratch_for(weights)
for _ in range(5):
    gradient[0] = weights[0]
    optimizer.step(weights, gradient, {}, scratch)
lines = Path("/proc/self/status").read_text().splitlines()  # ru_maxrss would be inherited from the parent
peak_kb = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
print(json.dumps({"peak_bytes": 1024 * peak_kb}))
