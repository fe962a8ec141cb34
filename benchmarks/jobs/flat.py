"""A job whose units cost next to nothing, so that what is left of a round is synchronisation.

The model is one vector of `parameters` numbers, of which a step touches one. It is also a stopwatch: the
layer notes when averaged weights are ready to use, the optimizer when weights are ready to push, on the
clock that all processes of a machine share. A sample is the number of its shard, so that a note can say
whose it is. The notes are written to `notes`-PID.json when the process ends.
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

settings = options(parameters=1000, workers=2, rounds=20, notes="")
notes: list[tuple[int, float, float, float]] = []  # shard, ready to use, ready to push, CPU seconds so far
begun: list[tuple[int, float]] = [(0, 0.0)]


@dataclasses.dataclass(frozen=True)
class Flat(nn.Layer):
    """Adds the first of its `size` weights to its input."""

    size: int

    def parameters(self, inputs: nn.Shape) -> Any:
        return {"weight": nn.Parameter((self.size,), "ones")}

    def output_shape(self, inputs: nn.Shape) -> nn.Shape:
        return inputs

    def forward(self, x: Any, p: Any, context: nn.Context) -> tuple[Any, None]:
        begun[0] = (int(x[0, 0]), time.monotonic())
        return x + p["weight"][0], None

    def backward(self, dy: Any, p: Any, g: Any, cache: Any) -> Any:
        g["weight"][0] = dy.sum()
        return dy


@dataclasses.dataclass(frozen=True)
class OneWeight(nn.Optimizer):
    """A step of the first weight alone."""

    def step(self, weights: Any, gradient: Any, slots: Any, scratch: Any) -> None:
        weights[0] -= 0.01 * gradient[0]
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
