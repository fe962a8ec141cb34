"""A class of a user's own that trains itself, for tests of what is made of such."""

from typing import Any

import numpy as np

from ps_common import data
from ps_common.job import Job
from ps_common.plan import Plan
from support_jobs import samples


class Straight:
    """y = x w + b by SGD with momentum, and x dropped out by chance."""

    def __init__(self, dtype: str = "float32", width: int = 5) -> None:
        self.w, self.b = np.full(width, 0.5, dtype), np.zeros((), dtype)
        self.velocity = np.zeros(width, dtype)
        self.seen = np.zeros(1)  # a running mean of |x|
        self.rng = np.random.default_rng()

    def parameters(self) -> dict[str, Any]:
        return {"w": self.w, "b": self.b}

    def buffers(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def state(self) -> dict[str, Any]:
        return {"w": self.velocity}

    def begin(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def train(self, batch: Any) -> Any:
        x, y = batch
        self.seen += 0.1 * (abs(x).mean() - self.seen)
        x = x * (self.rng.random(x.shape) < 0.8)
        error = (x @ self.w + self.b - y).astype(self.w.dtype)
        self.velocity *= 0.9
        self.velocity += x.T @ error / len(x)
        self.w -= 0.02 * self.velocity
        self.b -= 0.02 * error.mean()
        return (error * error).mean()

    def evaluate(self, batch: Any) -> Any:
        x, y = batch
        error = x @ self.w + self.b - y
        return {"loss": (error * error).mean(), "bias": error.mean()}


def own_job(model: object = None, n: int = 40, n_test: int | None = 12, **changes: Any) -> Job:
    """A job with an own model; `changes` are fields of the plan, or parts of the job."""
    plan = {name: changes.pop(name) for name in Plan.__dataclass_fields__ if name in changes}
    train: data.Source = samples(n)
    return Job(
        model=Straight() if model is None else model,
        train=train,
        test=None if n_test is None else samples(n_test, seed=8),
        plan=Plan(**{"shards": 2, "batch_size": 4, "local_steps": 2, "epochs": 2, **plan}),
        seed=changes.pop("seed", 3),
        **changes,
    )
