"""Learning rates that change with the step: an optimizer's `learning_rate` is a number or one of these.

A rate is a function of the step of the run and of nothing else, so a unit computed again steps alike. The
step is that of one replica: round · local_steps + the step within the round, so an epoch of R rounds is
R · local_steps of them, whatever the number of shards and workers.
"""

import abc
import dataclasses
import math
from typing import Any

from ps_common.errors import UsageError
from ps_common.vocabulary import word
from ps_worker.nn.bounds import check_count, check_number


class LearningRate(abc.ABC):
    """A schedule. Your own is a frozen dataclass with `at`."""

    @abc.abstractmethod
    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""


def check_rate(owner: Any) -> None:
    """Raise `UsageError` unless the field `learning_rate` of `owner` is a number above 0 or a schedule."""
    if not isinstance(owner.learning_rate, LearningRate):
        check_number(owner, "learning_rate", above=0)


def as_number(rate: float | LearningRate) -> float:
    """A learning rate that is a number by now. Raises `UsageError` for a schedule."""
    if isinstance(rate, LearningRate):
        raise UsageError(f"the learning rate is {rate}; step with optimizer.at(step), where it is a number")
    return rate


@word
@dataclasses.dataclass(frozen=True)
class Warmup(LearningRate):
    """rate · (t + 1) / (steps + 1) for step t < steps, then `rate`: Goyal et al. 2017, §2.2.

    `Cosine`, `LinearDecay` and `Step` warm up like this by themselves, over their first `warmup` steps.
    """

    rate: float
    steps: int

    def __post_init__(self) -> None:
        check_number(self, "rate", above=0)
        check_count(self, "steps")

    def at(self, step: int) -> float:
        return self.rate * min(1.0, (step + 1) / (self.steps + 1))


@word
@dataclasses.dataclass(frozen=True)
class Cosine(LearningRate):
    """From `rate` to `final` along half a cosine: final + (rate - final) (1 + cos πs) / 2.

    s goes from 0, after `warmup`, to 1 at `steps`, and stays there: Loshchilov & Hutter 2017, eq. 5, without
    restarts. `steps` counts the warm-up in.

        nn.Adam(nn.Cosine(0.001, steps=2000, warmup=100))
    """

    rate: float
    steps: int
    warmup: int = 0
    final: float = 0.0

    def __post_init__(self) -> None:
        _check_way(self)

    def at(self, step: int) -> float:
        if step < self.warmup:
            return Warmup(self.rate, self.warmup).at(step)
        share = (1 + math.cos(math.pi * _gone(self, step))) / 2
        return self.final + (self.rate - self.final) * share


@word
@dataclasses.dataclass(frozen=True)
class LinearDecay(LearningRate):
    """From `rate` to `final` along a straight line: rate + (final - rate) s.

    s goes from 0, after `warmup`, to 1 at `steps`, and stays there. `steps` counts the warm-up in.
    """

    rate: float
    steps: int
    warmup: int = 0
    final: float = 0.0

    def __post_init__(self) -> None:
        _check_way(self)

    def at(self, step: int) -> float:
        if step < self.warmup:
            return Warmup(self.rate, self.warmup).at(step)
        return self.rate + (self.final - self.rate) * _gone(self, step)


@word
@dataclasses.dataclass(frozen=True)
class Step(LearningRate):
    """rate · factor^⌊t / every⌋, with t counted from the end of `warmup`: He et al. 2016, §3.4."""

    rate: float
    every: int
    factor: float = 0.1
    warmup: int = 0

    def __post_init__(self) -> None:
        check_number(self, "rate", above=0)
        check_count(self, "every")
        check_number(self, "factor", above=0)
        check_count(self, "warmup", at_least=0)

    def at(self, step: int) -> float:
        if step < self.warmup:
            return Warmup(self.rate, self.warmup).at(step)
        return self.rate * self.factor ** ((step - self.warmup) // self.every)


def _gone(way: Cosine | LinearDecay, step: int) -> float:
    """How much of the way after the warm-up is behind: 0 to 1."""
    return min(1.0, (step - way.warmup) / (way.steps - way.warmup))


def _check_way(way: Cosine | LinearDecay) -> None:
    check_number(way, "rate", above=0)
    check_count(way, "steps")
    check_count(way, "warmup", at_least=0)
    check_number(way, "final", at_least=0)
    if way.warmup >= way.steps:
        raise UsageError(
            f"{type(way).__name__}: warmup must be less than steps, which counts it in; "
            f"got warmup {way.warmup} of {way.steps} steps"
        )
