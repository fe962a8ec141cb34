"""The job that round_trip.py measures: a model of a given size, one sample a unit, and a stamp of the time.

A unit is one step on one sample, so nearly all of a round is synchronisation. The first layer notes when a
replica begins to train, the optimizer when it has finished; a worker writes its notes to a file when it
leaves, in the folder of the environment variable STAMPS.
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

settings = options(inputs=784, hidden=100, outputs=10, rounds=300, shards=2)  # hidden=0: one layer
stamps: list[tuple[float, float]] = []  # seconds of this process's clock: a step's begin and end
begun = [0.0]


@dataclasses.dataclass(frozen=True)
class Begin(nn.Layer):
    """y = x, and the time."""

    def forward(self, x: Any, p: Any, context: nn.Context) -> tuple[Any, None]:
        begun[0] = time.perf_counter()
        return x, None

    def backward(self, dy: Any, p: Any, g: Any, cache: Any) -> Any:
        return dy


@dataclasses.dataclass(frozen=True)
class EndingSGD(nn.SGD):
    """SGD, and the time."""

    def step(self, weights: Any, gradient: Any, slots: Any, scratch: Any) -> None:
        super().step(weights, gradient, slots, scratch)
        if not stamps:
            atexit.register(write)
        stamps.append((begun[0], time.perf_counter()))


def write() -> None:
    Path(os.environ["STAMPS"], f"{os.getpid()}.json").write_text(json.dumps(stamps))


def model() -> nn.Sequential:
    s = settings
    if not s.hidden:
        return nn.Sequential(Begin(), nn.Dense(s.inputs, s.outputs))
    return nn.Sequential(Begin(), nn.Dense(s.inputs, s.hidden), nn.ReLU(), nn.Dense(s.hidden, s.outputs))


samples = settings.rounds * settings.shards
job = Job(
    model=model(),
    loss=nn.SoftmaxCrossEntropy(),
    optimizer=EndingSGD(0.001),
    train=data.arrays(np.ones((samples, settings.inputs), np.float32), np.zeros(samples, np.int64)),
    plan=Plan(shards=settings.shards, batch_size=1, local_steps=1),
)
