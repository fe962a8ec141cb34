"""What chaos.py disturbs: an epoch is a round, and every step that is begun adds a byte to the file `notes`.

`work=paced`: four units a round, each of which waits `step_s` and computes next to nothing, so that a fault
hits somebody who has a unit in hand. `work=mnist`: the network of examples/mnist_mlp.py on 5,000 digits.
"""

import dataclasses
import os
import time
from typing import Any

import numpy as np

from paramserver import Job, Plan, data, datasets, nn, options

settings = options(work=("paced", "mnist"), step_s=0.02, notes="")
notes = os.open(settings.notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if settings.notes else None


@dataclasses.dataclass(frozen=True)
class Noted(nn.Layer):
    """Passes on what comes, after a while, and notes that a step was begun."""

    def forward(self, x: Any, p: Any, context: nn.Context) -> tuple[Any, None]:
        if context.training and notes is not None:
            os.write(notes, b".")
            time.sleep(settings.step_s)
        return x, None

    def backward(self, dy: Any, p: Any, g: Any, cache: Any) -> Any:
        return dy


EPOCHS = 1_000_000  # it is stopped long before
if settings.work == "paced":
    x = np.random.default_rng(1).standard_normal((32, 10)).astype(np.float32)
    job = Job(
        model=nn.Sequential(Noted(), nn.Dense(10, 5)),
        loss=nn.SoftmaxCrossEntropy(),
        optimizer=nn.Momentum(0.01),
        train=data.arrays(x, x[:, :5].argmax(axis=1)),
        plan=Plan(shards=4, batch_size=8, local_steps=1, epochs=EPOCHS),
        seed=1,
    )
else:
    digits = datasets.load("mnist-5k", seed=12345)
    job = Job(
        model=nn.Sequential(Noted(), nn.Dense(784, 100, init="xavier"), nn.ReLU(), nn.Dense(100, 10)),
        loss=nn.SoftmaxCrossEntropy(),
        optimizer=nn.Nesterov(0.1),
        train=digits.train,
        plan=Plan(shards=6, batch_size=16, local_steps=42, epochs=EPOCHS),
        seed=12345,
    )
