"""A block of layers around which its input is led."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

from ps_common.arrays import Array, HostArray
from ps_common.errors import ShapeMismatch, UsageError
from ps_common.vocabulary import word
from ps_worker.nn.layer import Context, Layer, Shape, Tree, Views
from ps_worker.nn.sequential import NOTHING, Sequential, stacked

SHORTCUT = "shortcut"


@word
@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Residual(Layer):
    """`Residual(a, b)` computes x + b(a(x)): He et al. 2016, eq. 1.

    Where the layers change the shape, `shortcut` is a layer that changes x alike (eq. 2), as
    `nn.Conv2D(16, 32, kernel=1, stride=2)`. Parameters are named as in a `Sequential`: `0.weight`,
    `shortcut.weight`.
    """

    layers: tuple[Layer, ...]
    shortcut: Layer | None

    def __init__(self, *stack: Layer, layers: Iterable[Layer] = (), shortcut: Layer | None = None) -> None:
        object.__setattr__(self, "layers", stacked("Residual", stack, layers))
        if shortcut is not None and not isinstance(shortcut, Layer):
            raise UsageError(f"Residual: the shortcut must be a layer, got {shortcut!r}")
        object.__setattr__(self, "shortcut", shortcut)

    def __repr__(self) -> str:
        shortcut = [] if self.shortcut is None else [f"shortcut={self.shortcut!r}"]
        return f"Residual({', '.join([*map(repr, self.layers), *shortcut])})"

    @functools.cached_property
    def _branch(self) -> Sequential:
        return Sequential(layers=self.layers)

    @property
    def takes_indexes(self) -> bool:
        return self._branch.takes_indexes

    def check_inputs(self, x: HostArray, where: str) -> None:
        self._branch.check_inputs(x, where)

    def parameters(self, inputs: Shape) -> Tree:
        tree = self._branch.parameters(inputs)
        own = self.shortcut.parameters(inputs) if self.shortcut is not None else {}
        return {**tree, SHORTCUT: own} if own else tree

    def output_shape(self, inputs: Shape) -> Shape:
        outputs = self._branch.output_shape(inputs)
        beside = inputs if self.shortcut is None else self._shortcut_shape(self.shortcut, inputs)
        if beside != outputs:
            what = "x" if self.shortcut is None else "the shortcut's output"
            raise ShapeMismatch(
                f"Residual: its layers make {outputs} of {inputs}, but {what}, to which that is added, is "
                f"{beside}; give it a shortcut= that makes {outputs}"
            )
        return outputs

    def _shortcut_shape(self, shortcut: Layer, inputs: Shape) -> Shape:
        try:
            return shortcut.output_shape(inputs)
        except ShapeMismatch as error:
            raise ShapeMismatch(f"{SHORTCUT}: {error}") from None

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, list[Any]]:
        y, cache = self._branch.forward(x, p, context)
        if self.shortcut is None:
            return y + x, [cache]
        beside, beside_cache = self.shortcut.forward(x, p.get(SHORTCUT, NOTHING), context)
        return y + beside, [cache, beside_cache]

    def backward(self, dy: Array, p: Views, g: Views, cache: list[Any]) -> Array:
        beside = dy
        if self.shortcut is not None:
            beside = self.shortcut.backward(
                dy, p.get(SHORTCUT, NOTHING), g.get(SHORTCUT, NOTHING), cache.pop()
            )
        return self._branch.backward(dy, p, g, cache.pop()) + beside

    def parameter_gradients(self, dy: Array, p: Views, g: Views, cache: list[Any]) -> None:
        if self.shortcut is not None:
            beside = cache.pop()
            if SHORTCUT in g:
                self.shortcut.parameter_gradients(dy, p[SHORTCUT], g[SHORTCUT], beside)
            del beside
        self._branch.parameter_gradients(
            dy, p, {name: node for name, node in g.items() if name != SHORTCUT}, cache.pop()
        )
