"""What an optimizer is: one vector operation over the whole flat replica.

An optimizer is a description. Its state lives in named flat arrays, its slots, which start at zero and
which the caller keeps, sends and averages like weights. It knows nothing of layers, shapes or rounds.
"""

import abc
import copy
from collections.abc import Mapping
from typing import Self, TypeVar

import numpy as np

from ps_common.arrays import Array, xp_of
from ps_worker.nn.blocks import BLOCK
from ps_worker.nn.layer import Shape
from ps_worker.nn.rates import LearningRate

Slots = Mapping[str, Array]
_T = TypeVar("_T", bound="Optimizer")


def scratch_for(weights: Array) -> Array:
    """Working memory for `Optimizer.step`: a block on the host, as long as the weights on a GPU."""
    n = len(weights)
    return xp_of(weights).empty(min(n, BLOCK) if isinstance(weights, np.ndarray) else n, weights.dtype)


class Optimizer(abc.ABC):
    """A rule for one step. Your own is a frozen dataclass with `step`, and `slots` if it has state.

    Before each step a replica asks for the optimizer as it is `at` that step of the run, where a learning
    rate is a number: `optimizer.at(step).step(weights, gradient, slots, scratch)`.
    """

    def slots(self, n: int) -> dict[str, Shape]:
        """Names and shapes of the state for n trained weights; of the weights' dtype, zero at first."""
        return {}

    def decaying(self, count: int) -> "Optimizer":
        """This optimizer for a vector of which only the first `count` weights are to be decayed.

        Those are the parameters with `decay=True`, which come first. Itself, where it decays none.
        """
        return self

    def at(self, step: int) -> Self:
        """This optimizer at a step of the run, counted from 0, with numbers in place of schedules.

        Itself, unless its field `learning_rate` is a schedule.
        """
        rate = getattr(self, "learning_rate", None)
        return with_field(self, "learning_rate", rate.at(step)) if isinstance(rate, LearningRate) else self

    @abc.abstractmethod
    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        """Change flat `weights` (n,) and `slots` in place.

        `gradient` (n,) and `scratch` may be overwritten. `scratch` has the weights' dtype and is at least
        as long as `scratch_for(weights)`.
        """


def with_field(optimizer: _T, field: str, value: object) -> _T:
    """A copy with one field replaced, unchecked: it is made at every step, and a rate may end at zero."""
    one = copy.copy(optimizer)
    object.__setattr__(one, field, value)
    return one
