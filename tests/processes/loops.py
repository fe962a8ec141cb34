"""Training loops of a user's own as scripts: one that says what it comes to, and one that forks.

While a file `hold` lies beside it, the first stops at the batch number `HOLD_AT` and says so with a file
`held-PID`.
"""

HOLD_AT = 9
SAMPLES = 240
PLAN = ("--samples", SAMPLES, "--shards", 4, "--batch-size", 8, "--local-steps", 2, "--epochs", 3)

LINEAR = f"""
import hashlib, os, sys, time
from pathlib import Path

import numpy as np
import paramserver

HOLD = Path(__file__).with_name("hold")
rng = np.random.default_rng(3)
x = rng.standard_normal(({SAMPLES}, 5))
y = x @ np.arange(5.0) + 1
weights = {{"w": np.zeros(5), "b": np.zeros(1)}}

with paramserver.connect(sys.argv[1], timeout_s=60) as server:
    server.init(weights)
    units = 0
    for step, (bx, by) in enumerate(server.batches((x, y), 8)):
        while step >= {HOLD_AT} and HOLD.exists():
            HOLD.with_name(f"held-{{os.getpid()}}").touch()
            time.sleep(0.002)
        error = bx @ weights["w"] + weights["b"] - by
        weights["w"] -= 0.1 * bx.T @ error / len(bx)
        weights["b"] -= 0.1 * error.mean()
        if server.is_due:
            units += 1
            server.push_pull(weights, metrics={{"loss": float(np.mean(error**2))}})
    assert server.is_over
digest = hashlib.sha256(weights["w"].tobytes() + weights["b"].tobytes()).hexdigest()
print(f"version {{server.version}}, {{units}} units, weights {{digest}}")
"""

# Its child tries to use the connection, and its own rounds go on.
FORKING = """
import os, sys

import numpy as np
import paramserver

weights = np.zeros(3)
with paramserver.connect(sys.argv[1], timeout_s=60) as server:
    server.init(weights)
    child = os.fork()
    if not child:
        told = []
        for act in (server.push, server.pull, server.push_pull, server.init):
            try:
                act(weights)
            except paramserver.ParamserverError as error:
                told.append(f"of process {os.getppid()}, from which process {os.getpid()}" in str(error))
        server.close()
        os._exit(told != [True] * 4)
    assert os.waitpid(child, 0)[1] == 0
    for _ in range(2):
        server.push_pull(weights, samples=1)
    assert server.is_over
"""
