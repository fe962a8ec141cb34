"""The demo's job with a gate: while a file `hold-R` lies beside it, whoever trains in round R stops there.

They say so with a file `held-R-HOST`. Rounds, and not steps or seconds, so that all workers are held in the
same round, each with a unit in hand, whatever was killed before. The learning rate is the demo's, and so are
the weights.
"""

import dataclasses
import socket
import time
from pathlib import Path

import mnist_mlp

from paramserver import nn

GATES = Path(__file__).parent
HOST = socket.gethostname()


@dataclasses.dataclass(frozen=True)
class Gate(nn.LearningRate):
    rate: float
    local_steps: int

    def at(self, step):
        number = step // self.local_steps
        while (GATES / f"hold-{number}").exists():
            (GATES / f"held-{number}-{HOST}").touch()
            time.sleep(0.005)
        return self.rate


demo = mnist_mlp.job
gate = Gate(demo.optimizer.learning_rate, demo.plan.local_steps)
job = dataclasses.replace(demo, optimizer=dataclasses.replace(demo.optimizer, learning_rate=gate))
