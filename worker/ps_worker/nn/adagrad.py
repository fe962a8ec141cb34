"""Steps scaled by the squares of each weight's past gradients: all of them, or the latest.

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
class Adagrad(Optimizer):
    """s ← s + g²; w ← w - η g / (√s + ε). Duchi et al. 2011, as `torch.optim.Adagrad`.

    For sparse gradients, e.g. of embeddings: a weight seldom reached takes long steps when it is.
    """

    learning_rate: float | LearningRate = 0.01
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        check_rate(self)
        check_number(self, "epsilon", above=0)

    def slots(self, n: int) -> dict[str, Shape]:
        return {"squares": (n,)}

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        rate = as_number(self.learning_rate)
        _step(weights, gradient, slots["squares"], scratch, rate, self.epsilon, 1.0, 1.0)


@word
@dataclasses.dataclass(frozen=True)
class RMSprop(Optimizer):
    """s ← α s + (1 - α) g²; w ← w - η g / (√s + ε). Tieleman & Hinton 2012, as `torch.optim.RMSprop`."""

    learning_rate: float | LearningRate = 0.01
    alpha: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_rate(self)
        check_number(self, "alpha", at_least=0, below=1)
        check_number(self, "epsilon", above=0)

    def slots(self, n: int) -> dict[str, Shape]:
        return {"squares": (n,)}

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        rate, fresh = as_number(self.learning_rate), 1 - self.alpha
        _step(weights, gradient, slots["squares"], scratch, rate, self.epsilon, self.alpha, fresh)


def _step(
    weights: Array, gradient: Array, squares: Array, scratch: Array,
    rate: float, epsilon: float, kept: float, fresh: float,
) -> None:  # fmt: skip
    """s ← kept · s + fresh · g²; w ← w - η g / (√s + ε)."""
    if not is_on_host(weights):
        body = "s = kept * s + fresh * (g * g); w -= rate * (g / (sqrt(s) + epsilon))"
        one = kernel("adagrad", "T g, T rate, T epsilon, T kept, T fresh", "T w, T s", body)
        one(gradient, rate, epsilon, kept, fresh, weights, squares)
        return
    xp = xp_of(weights)
    for part in blocks(weights):
        g, w, s = gradient[part], weights[part], squares[part]
        square = xp.multiply(g, g, out=scratch[: len(g)])
        if kept != 1:
            s *= kept
            square *= fresh
        s += square
        if kept != 1:
            flush_denormals(s)
        root = xp.sqrt(s, out=square)
        root += epsilon
        g /= root
        g *= rate
        w -= g
