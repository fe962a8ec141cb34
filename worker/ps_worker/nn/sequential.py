"""Layers one after another."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from ps_common.arrays import Array
from ps_common.errors import ShapeMismatch, UsageError
from ps_common.vocabulary import word
from ps_worker.nn.layer import Context, Layer, Shape, Tree, Views

NOTHING: Views = {}


@word
@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Sequential(Layer):
    """`Sequential(a, b, c)` computes c(b(a(x))).

    Parameters are named by position: `0.weight`, `0.bias`, `2.weight`. A layer that stands at two places
    has two sets of parameters. A Sequential is a layer, so it may stand inside another.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *stack: Layer, layers: Iterable[Layer] = ()) -> None:
        layers = tuple(layers)
        if bool(stack) == bool(layers):
            raise UsageError(
                "Sequential needs its layers once: Sequential(a, b) or Sequential(layers=(a, b))"
            )
        object.__setattr__(self, "layers", stack or layers)
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                hint = f"; write {layer.__name__}(...)" if isinstance(layer, type) else ""
                raise UsageError(f"Sequential: layer {i} must be a layer, got {layer!r}{hint}")

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def parameters(self, inputs: Shape) -> Tree:
        tree: Tree = {}
        for i, (layer, shape) in enumerate(zip(self.layers, self._shapes(inputs), strict=False)):
            own = layer.parameters(shape)
            if own:
                tree[str(i)] = own
        return tree

    def output_shape(self, inputs: Shape) -> Shape:
        return self._shapes(inputs)[-1]

    def _shapes(self, inputs: Shape) -> list[Shape]:
        """The shapes before, between and after the layers: one more than there are layers."""
        shapes = [inputs]
        for i, layer in enumerate(self.layers):
            try:
                shapes.append(layer.output_shape(shapes[-1]))
            except ShapeMismatch as error:
                raise ShapeMismatch(f"layer {i}: {error}") from None
        return shapes

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, list[Any]]:
        caches = []
        for i, layer in enumerate(self.layers):
            x, cache = layer.forward(x, p.get(str(i), NOTHING), context)
            caches.append(cache)
        return x, caches

    def backward(self, dy: Array, p: Views, g: Views, cache: list[Any]) -> Array:
        return self._backward_to(0, dy, p, g, cache)

    def parameter_gradients(self, dy: Array, p: Views, g: Views, cache: list[Any]) -> None:
        """Back to the first layer that is trained, and there no dx: for 784 inputs a third of the work."""
        first = min(map(int, g), default=None)
        if first is not None:
            dy = self._backward_to(first + 1, dy, p, g, cache)
            name = str(first)
            self.layers[first].parameter_gradients(dy, p.get(name, NOTHING), g[name], cache[first])

    def _backward_to(self, stop: int, dy: Array, p: Views, g: Views, cache: list[Any]) -> Array:
        """Back through the layers down to and with `stop`."""
        for i in range(len(self.layers) - 1, stop - 1, -1):
            name = str(i)
            dy = self.layers[i].backward(dy, p.get(name, NOTHING), g.get(name, NOTHING), cache[i])
        return dy
