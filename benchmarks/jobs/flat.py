"""A job whose units cost next to nothing, so that what is left of a round is synchronisation.

The model is one vector of `parameters` numbers, of which a step touches one: it counts the rounds. With
`sleep_s` a step takes so long, and no core. It is also a stopwatch: the layer notes when averaged weights are
ready to use, the optimizer when weights are ready to push, on the clock that all processes of a machine
share. A sample is the number of its shard, so that a note can say which unit it is of. The notes are written
to `notes`-PID.json when the process ends.
"""

import atexit
import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from paramserver import Job, Plan, data, nn, options

settings = options(parameters=1000, workers=2, rounds=20, notes="", sleep_s=0.0)
# round, shard, ready to use, ready to push, CPU seconds so far
notes: list[tuple[int, int, float, float, float]] = []
begun: list[tuple[int, int, float]] = [(0, 0, 0.0)]


@dataclasses.dataclass(frozen=True)
class Flat(nn.Layer):
    """Adds the first of its `size` weights to its input."""

    size: int

    def parameters(self, inputs: nn.Shape) -> Any:
        return {"weight": nn.Parameter((self.size,), "ones")}

    def output_shape(self, inputs: nn.Shape) -> nn.Shape:
        return inputs

    def forward(self, x: Any, p: Any, context: nn.Context) -> tuple[Any, None]:
        begun[0] = (int(p["weight"][0]) - 1, int(x[0, 0]), time.monotonic())
        time.sleep(settings.sleep_s)
        return x + p["weight"][0], None

    def backward(self, dy: Any, p: Any, g: Any, cache: Any) -> Any:
        g["weight"][0] = dy.sum()
        return dy


@dataclasses.dataclass(frozen=True)
class OneWeight(nn.Optimizer):
    """Adds one to the first weight, whatever its gradient is."""

    def step(self, weights: Any, gradient: Any, slots: Any, scratch: Any) -> None:
        weights[0] += 1
        notes.append((*begun[0], time.monotonic(), time.process_time()))


@atexit.register
def write_notes() -> None:
    if notes and settings.notes:
        Path(f"{settings.notes}-{os.getpid()}.json").write_text(json.dumps(notes))


x = np.arange(settings.workers, dtype=np.float32)[:, None]
job = Job(
    model=Flat(settings.parameters),
    loss=nn.MSE(),
    optimizer=OneWeight(),
    train=data.arrays(x, x),
    plan=Plan(shards=settings.workers, batch_size=1, local_steps=1, epochs=settings.rounds),
)
