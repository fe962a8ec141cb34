"""How a gradient changes the weights: one vector operation over the whole flat replica.

An optimizer is a description. Its state lives in named flat arrays, its slots, which start at zero and
which the caller keeps, sends and averages like weights. It knows nothing of layers, shapes or rounds.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from ps_common.arrays import Array, xp_of
from ps_common.vocabulary import word
from ps_worker.nn.blocks import BLOCK, blocks
from ps_worker.nn.bounds import check_number
from ps_worker.nn.layer import Shape

Slots = Mapping[str, Array]


def scratch_for(weights: Array) -> Array:
    """Working memory for `Optimizer.step`: a block on the host, as long as the weights on a GPU."""
    n = len(weights)
    return xp_of(weights).empty(min(n, BLOCK) if isinstance(weights, np.ndarray) else n, weights.dtype)


class Optimizer(abc.ABC):
    """A rule for one step. Your own is a frozen dataclass with `step`, and `slots` if it has state."""

    def slots(self, n: int) -> dict[str, Shape]:
        """Names and shapes of the state for n trained weights; of the weights' dtype, zero at first."""
        return {}

    @abc.abstractmethod
    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        """Change flat `weights` (n,) and `slots` in place.

        `gradient` (n,) and `scratch` may be overwritten. `scratch` has the weights' dtype and is at least
        as long as `scratch_for(weights)`.
        """


@word
@dataclasses.dataclass(frozen=True)
class SGD(Optimizer):
    """w ← w - η g."""

    learning_rate: float

    def __post_init__(self) -> None:
        check_number(self, "learning_rate", above=0)

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        for part in blocks(weights):
            g, w = gradient[part], weights[part]
            g *= self.learning_rate
            w -= g


@word
@dataclasses.dataclass(frozen=True)
class Momentum(Optimizer):
    """v ← μ v + g; w ← w - η v. Polyak 1964's heavy ball, as `torch.optim.SGD(momentum=μ)`."""

    learning_rate: float
    momentum: float = 0.9

    def __post_init__(self) -> None:
        check_number(self, "learning_rate", above=0)
        check_number(self, "momentum", at_least=0, below=1)

    def slots(self, n: int) -> dict[str, Shape]:
        return {"velocity": (n,)}

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        xp = xp_of(weights)
        for part in blocks(weights):
            g, w, v = gradient[part], weights[part], slots["velocity"][part]
            v *= self.momentum
            v += g
            w -= xp.multiply(v, self.learning_rate, out=g)


@word
@dataclasses.dataclass(frozen=True)
class Nesterov(Optimizer):
    """v ← μ v + g; w ← w - η (g + μ v). Nesterov 1983, as `torch.optim.SGD(nesterov=True)`."""

    learning_rate: float
    momentum: float = 0.9

    def __post_init__(self) -> None:
        check_number(self, "learning_rate", above=0)
        check_number(self, "momentum", at_least=0, below=1)

    def slots(self, n: int) -> dict[str, Shape]:
        return {"velocity": (n,)}

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        xp = xp_of(weights)
        for part in blocks(weights):
            g, w, v = gradient[part], weights[part], slots["velocity"][part]
            v *= self.momentum
            v += g
            g += xp.multiply(v, self.momentum, out=scratch[: len(v)])
            g *= self.learning_rate
            w -= g


@word
@dataclasses.dataclass(frozen=True)
class Adam(Optimizer):
    """m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²; w ← w - η m̂ / (√v̂ + ε).

    m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ), t counted from 1: Kingma & Ba 2015, algorithm 1. The slot
    `steps` holds t as a number of the weights' dtype: it is averaged with the moments, so the correction
    fits them, and may be a fraction then.
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_number(self, "learning_rate", above=0)
        check_number(self, "beta1", at_least=0, below=1)
        check_number(self, "beta2", at_least=0, below=1)
        check_number(self, "epsilon", above=0)

    def slots(self, n: int) -> dict[str, Shape]:
        return {"first_moment": (n,), "second_moment": (n,), "steps": (1,)}

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        xp = xp_of(weights)
        slots["steps"][:] += 1
        # m̂ / (√v̂ + ε) = m √c₂ / c₁ / (√v + ε √c₂), with c = 1 - βᵗ: one division less a weight
        root = xp.sqrt(self._correction(self.beta2, slots["steps"]))  # (1,): √c₂
        rate = self.learning_rate * root / self._correction(self.beta1, slots["steps"])  # (1,): η √c₂ / c₁
        epsilon = self.epsilon * root
        for part in blocks(weights):
            g, w = gradient[part], weights[part]
            m, v = slots["first_moment"][part], slots["second_moment"][part]
            s = scratch[: len(w)]
            m *= self.beta1
            m += xp.multiply(g, 1 - self.beta1, out=s)
            v *= self.beta2
            g *= g
            v += xp.multiply(g, 1 - self.beta2, out=g)
            xp.sqrt(v, out=s)
            s += epsilon
            xp.divide(m, s, out=g)
            g *= rate
            w -= g

    @staticmethod
    def _correction(beta: float, steps: Array) -> Array:
        """1 - βᵗ, losing no digits in float32 for β near 1; stays on the device."""
        if beta == 0:
            return xp_of(steps).ones_like(steps)
        return -xp_of(steps).expm1(steps * math.log(beta))
