"""Layers one after another."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from ps_common.arrays import Array, HostArray
from ps_common.errors import ShapeMismatch, UsageError
from ps_common.vocabulary import word
from ps_worker.nn.layer import Context, Layer, Shape, Tree, Views

NOTHING: Views = {}


def stacked(owner: str, stack: tuple[Layer, ...], layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """The layers of a composite, given in either of the two ways. Raises `UsageError` for what is none."""
    layers = tuple(layers)
    if bool(stack) == bool(layers):
        raise UsageError(f"{owner} needs its layers once: {owner}(a, b) or {owner}(layers=(a, b))")
    for i, layer in enumerate(stack or layers):
        if not isinstance(layer, Layer):
            hint = f"; write {layer.__name__}(...)" if isinstance(layer, type) else ""
            raise UsageError(f"{owner}: layer {i} must be a layer, got {layer!r}{hint}")
    return stack or layers


@word
@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Sequential(Layer):
    """`Sequential(a, b, c)` computes c(b(a(x))).

    Parameters are named by position: `0.weight`, `0.bias`, `2.weight`. A layer that stands at two places
    has two sets of parameters. A Sequential is a layer, so it may stand inside another.

    What a layer kept for its gradient is let go as soon as that is computed, so memory falls during the
    backward pass, which can be made once. In evaluation nothing is kept, and no backward pass possible.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *stack: Layer, layers: Iterable[Layer] = ()) -> None:
        object.__setattr__(self, "layers", stacked("Sequential", stack, layers))

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    @property
    def takes_indexes(self) -> bool:
        return self.layers[0].takes_indexes

    def check_inputs(self, x: HostArray, where: str) -> None:
        self.layers[0].check_inputs(x, where)

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
            if context.training:
                caches.append(cache)
            del cache  # before the next layer computes
        return x, caches

    def backward(self, dy: Array, p: Views, g: Views, cache: list[Any]) -> Array:
        return self._backward_to(0, dy, p, g, cache)

    def parameter_gradients(self, dy: Array, p: Views, g: Views, cache: list[Any]) -> None:
        """Back to the first layer that is trained, and there no dx: for 784 inputs a third of the work."""
        first = min(map(int, g), default=None)
        if first is not None:
            dy = self._backward_to(first + 1, dy, p, g, cache)
            name = str(first)
            self.layers[first].parameter_gradients(dy, p.get(name, NOTHING), g[name], cache.pop())
        cache.clear()

    def _backward_to(self, stop: int, dy: Array, p: Views, g: Views, cache: list[Any]) -> Array:
        """Back through the layers down to and with `stop`; their caches are taken from the list."""
        if len(cache) != len(self.layers):
            raise UsageError(
                "a backward pass needs a forward pass of its own with nn.Context(training=True): "
                f"what that kept for it is there for {len(cache)} of {len(self.layers)} layers"
            )
        for i in range(len(self.layers) - 1, stop - 1, -1):
            name = str(i)
            dy = self.layers[i].backward(dy, p.get(name, NOTHING), g.get(name, NOTHING), cache.pop())
        return dy
