"""Memory of a pass: what a layer kept is let go of once it was used, and it keeps no more than it needs."""

import dataclasses
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ps_common.arrays import Array
from ps_worker import nn
from ps_worker.nn.layer import Tree, Views
from ps_worker.nn.tree import flatten, nest

TRAINING, EVALUATION = nn.Context(training=True), nn.Context(training=False)


class Kept:
    """Weak references to all that the layers of a model kept, and how many lived at each look."""

    def __init__(self) -> None:
        self.references: list[weakref.ref[np.ndarray]] = []
        self.looks: list[int] = []

    def look(self) -> None:
        self.looks.append(sum(reference() is not None for reference in self.references))


@dataclasses.dataclass(frozen=True, eq=False)
class Watched(nn.Layer):
    """Passes x through, keeps an array, and looks before it computes what lives of all that was kept."""

    kept: Kept
    parameter: bool = True

    def parameters(self, inputs: nn.Shape) -> Tree:
        return {"unused": nn.Parameter((1,))} if self.parameter else {}

    def forward(self, x: Array, p: Views, context: nn.Context) -> tuple[Array, Any]:
        cache = np.ones(3)
        self.kept.look()
        self.kept.references.append(weakref.ref(cache))
        return x * 1, cache

    def backward(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        self.kept.look()
        return dy * 1


def passes(make: Callable[[Callable[[], Watched]], nn.Layer], way: str, context: nn.Context) -> list[int]:
    """How many kept arrays lived at each layer of a forward pass and of one back."""
    kept = Kept()
    model = make(lambda: Watched(kept))
    p = nest({name: np.zeros(1) for name in flatten(model.parameters((2,)))})
    y, cache = model.forward(np.ones((1, 2)), p, context)
    if context.training:
        getattr(model, way)(y, p, p, cache)
    del cache
    kept.look()
    return kept.looks


WAYS = pytest.mark.parametrize("way", ["backward", "parameter_gradients"])


@WAYS
def test_a_sequence_lets_go_of_each_layers_once_it_was_used(way: str) -> None:
    looks = passes(lambda w: nn.Sequential(w(), w(), w(), w()), way, TRAINING)
    assert looks == [0, 1, 2, 3, 4, 3, 2, 1, 0]


@WAYS
def test_so_does_a_sequence_in_a_sequence(way: str) -> None:
    looks = passes(lambda w: nn.Sequential(w(), nn.Sequential(w(), w()), w()), way, TRAINING)
    assert looks == [0, 1, 2, 3, 4, 3, 2, 1, 0]


@WAYS
def test_so_does_a_residual_block_and_of_its_shortcut_first(way: str) -> None:
    looks = passes(lambda w: nn.Sequential(w(), nn.Residual(w(), w(), shortcut=w()), w()), way, TRAINING)
    assert looks == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0]
    assert passes(lambda w: nn.Residual(w(), w()), way, TRAINING) == [0, 1, 2, 1, 0]


def test_what_lies_before_the_first_trained_layer_is_let_go_of_too() -> None:
    kept = Kept()
    model = nn.Sequential(Watched(kept, parameter=False), nn.Dense(2, 2))
    p = nest({name: np.zeros(q.shape) for name, q in flatten(model.parameters((2,))).items()})
    y, cache = model.forward(np.ones((1, 2)), p, TRAINING)
    model.parameter_gradients(y, p, p, cache)
    kept.look()
    assert kept.looks == [0, 0]


def test_in_evaluation_nothing_is_kept() -> None:
    looks = passes(lambda w: nn.Sequential(w(), nn.Residual(w(), w(), shortcut=w()), w()), "", EVALUATION)
    assert looks == [0, 0, 0, 0, 0, 0]


def test_the_memory_of_a_deep_model_in_evaluation_does_not_grow_with_its_depth() -> None:
    model = nn.Sequential(*[nn.Tanh() for _ in range(20)])
    x = np.ones((100, 1000))
    peak, _ = traced(lambda: model.forward(x, {}, EVALUATION))
    assert peak < 3.1 * x.nbytes  # of a layer x and y, and of the one before nothing


@pytest.mark.parametrize(
    ("layer", "copies"),
    [
        (nn.ReLU(), 1),  # its output, which the next layer keeps anyway
        (nn.Conv2D(8, 8, 3, padding="same"), 1),  # x is the caller's, and there are no columns
        (nn.MaxPool2D(2), 1 / 4 + 1 / 4 / 8),  # a byte for each float64 of the output
        (nn.AvgPool2D(2), 1 / 4),
        (nn.BatchNorm(8), 2),
        (nn.GlobalAveragePool2D(), 0),
    ],
    ids=repr,
)
def test_what_a_layer_of_images_holds_after_its_forward_pass(layer: nn.Layer, copies: float) -> None:
    x = np.ones((16, 32, 32, 8)).transpose(0, 3, 1, 2)
    p = {name: np.ones(q.shape) for name, q in flatten(layer.parameters(x.shape[1:])).items()}
    _, held = traced(lambda: layer.forward(x, nest(p), TRAINING))
    assert held == pytest.approx(copies * x.nbytes, abs=0.02 * x.nbytes)


def traced(run: Callable[[], Any]) -> tuple[int, int]:
    """Bytes allocated at most while it ran, and held with its result."""
    run()  # what is made once, is there
    tracemalloc.start()
    try:
        result = run()
        held, peak = tracemalloc.get_traced_memory()
        del result
    finally:
        tracemalloc.stop()
    return peak, held
