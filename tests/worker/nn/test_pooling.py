"""Pooling: gradients, PyTorch's values, equal pixels and messages."""

from typing import Any

import numpy as np
import pytest
from torch.nn import functional

from ps_common.errors import ShapeMismatch, UsageError
from ps_worker import nn
from support_gradients import check_layer
from support_torch import compare_layer

TRAINING, EVALUATION = nn.Context(training=True), nn.Context(training=False)

SETTINGS: list[dict[str, Any]] = [
    {"size": 2},
    {"size": (2, 3)},
    {"size": 3, "stride": 2},
    {"size": 3, "stride": 2, "padding": 1},
    {"size": 2, "stride": 1, "padding": (1, 0)},
    {"size": 2, "stride": 3},  # pixels between windows belong to none
    {"size": 1},
]
THERE = {nn.MaxPool2D: functional.max_pool2d, nn.AvgPool2D: functional.avg_pool2d}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


@pytest.mark.parametrize("kind", THERE)
@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
def test_gradients(kind: type[nn.Layer], settings: dict[str, Any]) -> None:
    check_layer(kind(**settings), normal(2, 3, 5, 6))


@pytest.mark.parametrize("kind", THERE)
@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
def test_against_torch(kind: type[nn.Layer], settings: dict[str, Any]) -> None:
    layer: Any = kind(**settings)
    there = THERE[kind]
    x = normal(2, 3, 7, 6).astype(np.float32)
    compare_layer(layer, x, lambda x, p: there(x, layer.size, layer.stride, layer.padding))


def test_global_average() -> None:
    check_layer(nn.GlobalAveragePool2D(), normal(2, 3, 4, 5))
    compare_layer(
        nn.GlobalAveragePool2D(), normal(2, 3, 4, 5).astype(np.float32), lambda x, p: x.mean((2, 3))
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_of_equal_pixels_the_first_gets_the_gradient_as_in_torch(stride: int) -> None:
    few = np.random.default_rng(1).integers(0, 2, (4, 3, 6, 6)).astype(np.float32)
    compare_layer(nn.MaxPool2D(2, stride), few, lambda x, p: functional.max_pool2d(x, 2, stride))


def test_a_window_of_many_pixels_keeps_their_places() -> None:
    x = normal(1, 1, 20, 20)  # 400 places do not fit into a byte
    x[0, 0, 19, 18] = 9
    y, cache = nn.MaxPool2D(20).forward(x, {}, TRAINING)
    dx = nn.MaxPool2D(20).backward(np.ones_like(y), {}, {}, cache)
    assert np.argwhere(dx).tolist() == [[0, 0, 19, 18]]


def test_padding_is_never_the_largest() -> None:
    x = np.full((1, 1, 2, 2), -7.0)
    y, _ = nn.MaxPool2D(2, padding=1).forward(x, {}, EVALUATION)
    np.testing.assert_array_equal(y, np.full((1, 1, 2, 2), -7))


def test_nan_is_passed_on() -> None:
    x = np.zeros((1, 1, 2, 2))
    x[0, 0, 1, 0] = np.nan
    assert np.isnan(nn.MaxPool2D(2).forward(x, {}, TRAINING)[0]).all()


def test_what_is_kept_for_the_gradient_is_a_byte_an_output_and_in_evaluation_nothing() -> None:
    x = normal(2, 3, 4, 4)
    (place, _) = nn.MaxPool2D(2).forward(x, {}, TRAINING)[1]
    assert (place.shape, place.dtype) == ((2, 2, 2, 3), np.uint8)
    assert nn.MaxPool2D(2).forward(x, {}, EVALUATION)[1][0] is None


def test_the_stride_is_the_size_by_default() -> None:
    assert nn.MaxPool2D(2) == nn.MaxPool2D((2, 2), stride=(2, 2), padding=(0, 0))


@pytest.mark.parametrize(
    ("layer", "inputs", "message"),
    [
        (nn.MaxPool2D(2), (8,), r"MaxPool2D\(\(2, 2\)\) takes images, .* got \(8,\); put nn.Reshape"),
        (nn.AvgPool2D(3), (4, 2, 5), r"AvgPool2D\(\(3, 3\)\) takes images of at least 3 x 3 .* got 2 x 5"),
        (nn.GlobalAveragePool2D(), (4, 2), r"GlobalAveragePool2D\(\) takes images, .* got \(4, 2\)"),
    ],
)
def test_a_wrong_shape_names_layer_and_both_shapes(layer: nn.Layer, inputs: nn.Shape, message: str) -> None:
    with pytest.raises(ShapeMismatch, match=message):
        layer.output_shape(inputs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "MaxPool2D: size must be a whole number >= 1"),
        ({"size": 2, "stride": 0}, "MaxPool2D: stride must be a whole number >= 1"),
        ({"size": 3, "padding": 2}, r"padding must be at most half of the size \(3, 3\), .* got \(2, 2\)"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nn.MaxPool2D(**settings)
