"""Small jobs and their descriptions, for tests of what is made from them."""

from typing import Any

import numpy as np

from ps_common import data
from ps_common.job import Description, Job
from ps_common.plan import Plan
from ps_worker import nn


def samples(n: int, width: int = 5, classes: int = 3, seed: int = 7) -> data.Source:
    """`n` samples whose label follows from x, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width)).astype(np.float32)
    return data.arrays(x, np.argmax(x[:, :classes], axis=1).astype(np.int64))


def job(n: int = 40, n_test: int | None = 12, **changes: Any) -> Job:
    """A classifier of 3 classes; `changes` replace its parts, plan fields go to the plan."""
    plan = {name: changes.pop(name) for name in Plan.__dataclass_fields__ if name in changes}
    parts: dict[str, Any] = {
        "model": nn.Sequential(nn.Dense(5, 4), nn.Tanh(), nn.Dense(4, 3)),
        "loss": nn.SoftmaxCrossEntropy(),
        "optimizer": nn.SGD(0.1),
        "metrics": [nn.Accuracy()],
        "train": samples(n),
        "test": None if n_test is None else samples(n_test, seed=8),
        "seed": 3,
        "plan": Plan(**{"shards": 2, "batch_size": 4, "local_steps": 2, "epochs": 2, **plan}),
    }
    return Job(**{**parts, **changes})


def description(n: int = 40, n_test: int | None = 12, **changes: Any) -> Description:
    return job(n, n_test, **changes).describe()
