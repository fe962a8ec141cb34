"""What is added to the mean loss to keep weights small."""

import abc
import dataclasses
from collections.abc import Sequence

from ps_common.arrays import Array
from ps_common.vocabulary import word
from ps_worker.nn.blocks import blocks
from ps_worker.nn.bounds import check_number
from ps_worker.nn.totals import total


class Regularizer(abc.ABC):
    """A penalty on the parameters with `decay=True`: weights, not biases."""

    @abc.abstractmethod
    def penalty(self, weights: Sequence[Array]) -> Array:
        """The number added to the mean loss: a float64 scalar on the weights' device."""

    @abc.abstractmethod
    def add_gradient(self, weights: Sequence[Array], gradients: Sequence[Array]) -> None:
        """Add ∂penalty/∂w to each gradient, in place; both lists in one order, arrays contiguous."""


@word
@dataclasses.dataclass(frozen=True)
class L2(Regularizer):
    """strength / 2 · Σ w²: "weight decay" (Krogh & Hertz 1991), as Spark MLlib and scikit-learn state it."""

    strength: float

    def __post_init__(self) -> None:
        check_number(self, "strength", at_least=0)

    def penalty(self, weights: Sequence[Array]) -> Array:
        return sum(total(w * w) for w in weights) * (self.strength / 2)

    def add_gradient(self, weights: Sequence[Array], gradients: Sequence[Array]) -> None:
        for w, g in zip(weights, gradients, strict=True):
            w_flat, g_flat = w.reshape(-1), g.reshape(-1)
            for part in blocks(w_flat):
                g_part = g_flat[part]
                g_part += w_flat[part] * self.strength
