"""Makes the worker that it is loaded into a faulty one: it trains, and brings something else.

Python imports a module of this name when it starts, where PYTHONPATH holds its folder. POISON is the name of
a function here. What it brings is of a fixed seed.
"""

import os

import numpy as np


def nan() -> None:
    """Every contribution is NaN throughout."""
    _brings(lambda rng, size: np.full(size, np.nan))


def random() -> None:
    """Every contribution is drawn anew, as large as anybody's first weights are."""
    _brings(lambda rng, size: rng.standard_normal(size))


def _brings(draw) -> None:  # type: ignore[no-untyped-def]
    from ps_worker.replica import Replica

    train, rng = Replica.train, np.random.default_rng(5)

    def train_and_lie(self, *given):  # type: ignore[no-untyped-def]
        made = train(self, *given)
        for values in (made.vector[run.start : run.stop].view(run.dtype) for run in self.layout.runs):
            values[...] = draw(rng, values.size)
        return made

    Replica.train = train_and_lie  # type: ignore[method-assign]


if "POISON" in os.environ:
    globals()[os.environ["POISON"]]()
