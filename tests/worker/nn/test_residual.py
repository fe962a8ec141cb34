"""Residual: its sum, both its branches' gradients, names and messages."""

from typing import Any

import numpy as np
import pytest

from ps_common.errors import ShapeMismatch, UsageError
from ps_common.vocabulary import from_plain, to_plain
from ps_worker import nn
from ps_worker.nn.tree import flatten
from support_gradients import check_layer
from support_torch import compare_layer

PLAIN = nn.Residual(nn.Dense(4, 4), nn.Tanh())
PROJECTED = nn.Residual(
    nn.Conv2D(2, 3, 3, stride=2, padding=1),
    nn.BatchNorm(3),
    nn.Tanh(),
    nn.Conv2D(3, 3, 3, padding=1),
    shortcut=nn.Conv2D(2, 3, 1, stride=2, bias=False),
)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (PLAIN, (3, 4)),
        (nn.Residual(nn.Dense(4, 2), shortcut=nn.Dense(4, 2)), (3, 4)),
        (nn.Residual(nn.Conv2D(2, 2, 3, padding="same"), nn.Sigmoid()), (2, 2, 3, 3)),
        (nn.Residual(nn.Tanh(), shortcut=nn.Sequential(nn.Dense(4, 4))), (2, 4)),
        (nn.Residual(nn.Residual(nn.Dense(4, 4)), nn.Dropout(0.4)), (2, 4)),
        (PROJECTED, (2, 2, 4, 4)),
        (nn.Residual(nn.Dropout(0)), (2, 4)),  # whose layers give back the very array
        (nn.Sequential(nn.Dense(4, 3), nn.Residual(nn.Tanh()), nn.Dense(3, 2)), (2, 4)),
    ],
    ids=repr,
)
def test_gradients(layer: nn.Layer, shape: tuple[int, ...]) -> None:
    check_layer(layer, normal(*shape))


def test_against_torch() -> None:
    compare_layer(
        PLAIN, normal(3, 4).astype(np.float32), lambda x, p: x + (x @ p["0.weight"] + p["0.bias"]).tanh()
    )


def test_parameters_are_named_by_position_and_the_shortcut() -> None:
    names = [n for n, p in flatten(PROJECTED.parameters((2, 8, 8))).items() if p.trained]
    assert names == [
        "0.weight", "0.bias", "1.scale", "1.shift", "3.weight", "3.bias", "shortcut.weight"
    ]  # fmt: skip
    assert PROJECTED.output_shape((2, 8, 8)) == (3, 4, 4)


def test_round_trip_as_plain_data() -> None:
    for layer in (PLAIN, PROJECTED):
        assert from_plain(to_plain(layer)) == layer
        assert hash(from_plain(to_plain(layer))) == hash(layer)
    assert nn.Residual(nn.ReLU()) == nn.Residual(layers=[nn.ReLU()])
    assert nn.Residual(nn.ReLU()) != nn.Residual(nn.ReLU(), shortcut=nn.ReLU())


def test_repr_reads_like_the_code() -> None:
    assert repr(nn.Residual(nn.ReLU())) == "Residual(ReLU())"
    assert repr(nn.Residual(nn.ReLU(), shortcut=nn.Tanh())) == "Residual(ReLU(), shortcut=Tanh())"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            nn.Residual(nn.Dense(4, 3)),
            r"its layers make \(3,\) of \(4,\), but x, .* is \(4,\); give it a shortcut= that makes \(3,\)",
        ),
        (
            nn.Residual(nn.Dense(4, 3), shortcut=nn.Dense(4, 2)),
            r"layers make \(3,\) of \(4,\), but the shortcut's output, .* is \(2,\)",
        ),
        (nn.Residual(nn.Dense(5, 5)), r"^layer 0: Dense\(5, 5\)"),
        (nn.Residual(nn.Dense(4, 4), shortcut=nn.Dense(5, 4)), r"^shortcut: Dense\(5, 4\)"),
    ],
    ids=repr,
)
def test_shapes_that_cannot_be_added_are_named(layer: nn.Layer, message: str) -> None:
    with pytest.raises(ShapeMismatch, match=message):
        layer.output_shape((4,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Residual(), "Residual needs its layers once"),
        (lambda: nn.Residual(nn.Tanh), r"Residual: layer 0 must be a layer, .* write Tanh\(\.\.\.\)"),
        (lambda: nn.Residual(nn.Tanh(), shortcut="x"), "Residual: the shortcut must be a layer, got 'x'"),
    ],
)
def test_what_is_no_layer_is_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
