"""Conv2D: gradients, PyTorch's values, shapes and messages."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from ps_common.errors import ShapeMismatch, UsageError
from ps_worker import nn
from ps_worker.nn import images
from support_gradients import check_layer
from support_torch import compare_layer

TRAINING = nn.Context(training=True)

LAYERS = [
    (nn.Conv2D(1, 3, 3), (5, 6)),
    (nn.Conv2D(2, 3, 3, padding=1), (4, 4)),
    (nn.Conv2D(2, 3, 3, padding="same", bias=False), (3, 4)),
    (nn.Conv2D(2, 1, (2, 3), stride=(2, 1), padding=(1, 0)), (5, 4)),
    (nn.Conv2D(3, 2, 2, stride=3), (7, 6)),  # pixels between windows and after the last belong to none
    (nn.Conv2D(3, 2, 1), (3, 2)),
    (nn.Conv2D(2, 2, (4, 3)), (4, 3)),  # one window
]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


@pytest.mark.parametrize(("layer", "size"), LAYERS, ids=repr)
def test_gradients(layer: nn.Conv2D, size: tuple[int, int]) -> None:
    check_layer(layer, normal(2, layer.inputs, *size))


@pytest.mark.parametrize(("layer", "size"), LAYERS, ids=repr)
def test_against_torch(layer: nn.Conv2D, size: tuple[int, int]) -> None:
    def there(x: torch.Tensor, p: Any) -> torch.Tensor:
        weight = p["weight"].permute(3, 2, 0, 1)
        return functional.conv2d(x, weight, p.get("bias"), stride=layer.stride, padding=layer.padding)

    compare_layer(layer, normal(3, layer.inputs, *size).astype(np.float32), there)


def test_blocks_of_images_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = nn.Conv2D(2, 3, 3, padding=1), normal(5, 2, 6, 6)
    p = {"weight": normal(3, 3, 2, 3), "bias": normal(3)}
    found = []
    for nbytes in (1, 3 * 6 * 6 * 18 * 8, 1 << 30):  # one image, three, all at once
        monkeypatch.setattr(images, "CACHED_BYTES", nbytes)
        g = {name: np.full_like(array, np.nan) for name, array in p.items()}
        y, cache = layer.forward(x, p, TRAINING)
        found.append([y, layer.backward(np.sin(y), p, g, cache), g["weight"], g["bias"]])
    for parts in zip(*found, strict=True):
        for part in parts[1:]:
            np.testing.assert_allclose(part, parts[0], rtol=1e-12, atol=1e-12)


def test_any_order_in_memory_gives_the_same() -> None:
    layer, x = nn.Conv2D(4, 3, 3), normal(2, 4, 5, 5)
    p = {"weight": normal(3, 3, 4, 3), "bias": normal(3)}
    y, _ = layer.forward(x, p, TRAINING)
    for other in (images.channels_first(images.channels_last(x)), np.asfortranarray(x)):
        assert other.strides != x.strides
        np.testing.assert_array_equal(layer.forward(other, p, TRAINING)[0], y)


def test_what_comes_with_channels_last_is_kept_and_not_copied() -> None:
    images_of = normal(2, 5, 5, 4)
    p = {"weight": normal(3, 3, 4, 3), "bias": normal(3)}
    y, cache = nn.Conv2D(4, 3, 3).forward(images.channels_first(images_of), p, TRAINING)
    assert np.shares_memory(cache, images_of)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous  # and so is what the next layer gets


def test_parameters_their_fans_and_what_decays() -> None:
    assert nn.Conv2D(2, 5, (3, 4), init="xavier").parameters((2, 9, 9)) == {
        "weight": nn.Parameter((3, 4, 2, 5), "xavier", decay=True, fan_in=24, fan_out=60),
        "bias": nn.Parameter((5,), "zeros", decay=False),
    }
    assert set(nn.Conv2D(2, 5, 3, bias=False).parameters((2, 9, 9))) == {"weight"}


def test_gradients_keep_float32_and_an_empty_batch_is_none() -> None:
    layer, p = (
        nn.Conv2D(2, 3, 3),
        {"weight": np.ones((3, 3, 2, 3), np.float32), "bias": np.ones(3, np.float32)},
    )
    for n in (0, 2):
        g = {name: np.full_like(array, np.nan) for name, array in p.items()}
        y, cache = layer.forward(np.ones((n, 2, 4, 4), np.float32), p, TRAINING)
        dx = layer.backward(y, p, g, cache)
        assert y.dtype == dx.dtype == np.float32
        assert dx.shape == (n, 2, 4, 4)
        assert np.isfinite(g["weight"]).all()


def test_one_number_stands_for_both() -> None:
    assert nn.Conv2D(1, 2, 3, stride=2, padding=1) == nn.Conv2D(1, 2, (3, 3), stride=(2, 2), padding=(1, 1))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((784,), r"takes images, .* got \(784,\); put nn.Reshape\(\(1, 28, 28\)\) before it"),
        ((300,), r"put nn.Reshape\(\(channels, height, width\)\) before it"),
        ((28, 28), r"put nn.Reshape\(\(1, 28, 28\)\) before it"),
        ((1, 28, 28), r"images of shape \(3, height, width\), got \(1, 28, 28\); use nn.Conv2D\(1, \.\.\.\)"),
        ((28, 28, 3), r"got \(28, 28, 3\); channels come first here"),
        ((3, 4, 28), r"at least 5 x 5 pixels with 0 and 0 of padding on each side, got 4 x 28"),
    ],
)
def test_a_wrong_shape_names_layer_and_both_shapes(inputs: nn.Shape, message: str) -> None:
    with pytest.raises(ShapeMismatch, match=message) as caught:
        nn.Conv2D(3, 8, 5).output_shape(inputs)
    assert str(caught.value).startswith("Conv2D(3, 8, (5, 5)) takes images")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": 0}, "inputs must be a whole number >= 1, got 0"),
        ({"outputs": 1.5}, "outputs must be a whole number >= 1, got 1.5"),
        ({"kernel": 0}, r"kernel must be a whole number >= 1 or two of them \(height, width\), got 0"),
        ({"kernel": (3, 3, 3)}, "kernel must be .* got \\(3, 3, 3\\)"),
        ({"stride": (1, True)}, "stride must be a whole number >= 1"),
        ({"padding": -1}, "padding must be a whole number >= 0"),
        ({"padding": "valid"}, "padding must be .* got 'valid'"),
        ({"padding": "same", "stride": 2}, r'padding="same" needs stride 1 .* got stride \(2, 2\)'),
        ({"padding": "same", "kernel": (3, 4)}, r".* a kernel of odd size, .* kernel \(3, 4\)"),
        ({"init": "glorot"}, "init must be one of xavier, he, normal, zeros, ones, got 'glorot'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"Conv2D: {message}"):
        nn.Conv2D(**{"inputs": 3, "outputs": 8, "kernel": 3, **settings})
