"""Steps along the gradient: plain, and with a momentum in one slot, `velocity`.

Each is written twice: block by block on the host, and as one kernel on a GPU.
"""

import dataclasses

from ps_common.arrays import Array, is_on_host, kernel, xp_of
from ps_common.vocabulary import word
from ps_worker.nn.blocks import blocks
from ps_worker.nn.bounds import check_number
from ps_worker.nn.denormals import flush_denormals
from ps_worker.nn.layer import Shape
from ps_worker.nn.optimizer import Optimizer, Slots
from ps_worker.nn.rates import LearningRate, as_number, check_rate


@word
@dataclasses.dataclass(frozen=True)
class SGD(Optimizer):
    """w ← w - η g."""

    learning_rate: float | LearningRate

    def __post_init__(self) -> None:
        check_rate(self)

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        rate = as_number(self.learning_rate)
        if not is_on_host(weights):
            kernel("sgd", "T g, T rate", "T w", "w -= rate * g")(gradient, rate, weights)
            return
        for part in blocks(weights):
            g, w = gradient[part], weights[part]
            g *= rate
            w -= g


@word
@dataclasses.dataclass(frozen=True)
class Momentum(Optimizer):
    """v ← μ v + g; w ← w - η v. Polyak 1964's heavy ball, as `torch.optim.SGD(momentum=μ)`."""

    learning_rate: float | LearningRate
    momentum: float = 0.9

    def __post_init__(self) -> None:
        check_rate(self)
        check_number(self, "momentum", at_least=0, below=1)

    def slots(self, n: int) -> dict[str, Shape]:
        return {"velocity": (n,)}

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        rate, velocity = as_number(self.learning_rate), slots["velocity"]
        if not is_on_host(weights):
            body = "v = momentum * v + g; w -= rate * v"
            one = kernel("momentum", "T g, T rate, T momentum", "T w, T v", body)
            one(gradient, rate, self.momentum, weights, velocity)
            return
        xp = xp_of(weights)
        for part in blocks(weights):
            g, w, v = gradient[part], weights[part], velocity[part]
            v *= self.momentum
            v += g
            flush_denormals(v)
            w -= xp.multiply(v, rate, out=g)


@word
@dataclasses.dataclass(frozen=True)
class Nesterov(Momentum):
    """v ← μ v + g; w ← w - η (g + μ v). Nesterov 1983, as `torch.optim.SGD(nesterov=True)`."""

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        rate, velocity = as_number(self.learning_rate), slots["velocity"]
        if not is_on_host(weights):
            body = "v = momentum * v + g; w -= rate * (g + momentum * v)"
            one = kernel("nesterov", "T g, T rate, T momentum", "T w, T v", body)
            one(gradient, rate, self.momentum, weights, velocity)
            return
        xp = xp_of(weights)
        for part in blocks(weights):
            g, w, v = gradient[part], weights[part], velocity[part]
            v *= self.momentum
            v += g
            flush_denormals(v)
            g += xp.multiply(v, self.momentum, out=scratch[: len(v)])
            g *= rate
            w -= g
