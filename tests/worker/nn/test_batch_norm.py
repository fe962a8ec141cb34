"""BatchNorm: gradients, PyTorch's values, its running statistics and messages."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from ps_common.errors import ShapeMismatch, UsageError
from ps_worker import nn
from support_gradients import check_layer
from support_torch import assert_alike, compare_layer

SHAPES = [(6, 3), (1, 3, 2, 4), (4, 3, 2, 2)]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(2, 3, size=shape)


def fresh(dtype: str = "float64") -> dict[str, np.ndarray]:
    start = {"scale": 1, "shift": 0, "running_mean": 0, "running_variance": 1}
    return {name: np.full(3, value, dtype) for name, value in start.items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(shape: tuple[int, ...]) -> None:
    check_layer(nn.BatchNorm(3), normal(*shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_against_torch_while_training(shape: tuple[int, ...]) -> None:
    compare_layer(
        nn.BatchNorm(3),
        normal(*shape).astype(np.float32),
        lambda x, p: functional.batch_norm(x, None, None, p["scale"], p["shift"], training=True),
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_against_torch_in_evaluation(shape: tuple[int, ...]) -> None:
    def there(x: torch.Tensor, p: Any) -> torch.Tensor:
        return functional.batch_norm(x, p["running_mean"], p["running_variance"], p["scale"], p["shift"])

    compare_layer(nn.BatchNorm(3), normal(*shape).astype(np.float32), there, training=False)


@pytest.mark.parametrize("shape", SHAPES)
def test_running_statistics_follow_torch(shape: tuple[int, ...]) -> None:
    p = fresh("float32")
    mean, variance = torch.zeros(3), torch.ones(3)
    for factor in (1, 2, 3):
        x = (normal(*shape) * factor).astype(np.float32)
        nn.BatchNorm(3, momentum=0.3).forward(x, p, nn.Context(training=True))
        functional.batch_norm(torch.tensor(x), mean, variance, training=True, momentum=0.3)
    assert_alike(p["running_mean"], mean, "mean")
    assert_alike(p["running_variance"], variance, "variance")


def test_statistics_are_averaged_and_not_trained() -> None:
    parameters = nn.BatchNorm(3).parameters((3,))
    assert {name: p.trained for name, p in parameters.items()} == {
        "scale": True,
        "shift": True,
        "running_mean": False,
        "running_variance": False,
    }
    assert not any(p.decay for p in parameters.values())


def test_evaluation_changes_no_statistics() -> None:
    p = fresh()
    y, _ = nn.BatchNorm(3, epsilon=1e-12).forward(normal(6, 3), p, nn.Context(training=False))
    np.testing.assert_allclose(y, normal(6, 3))
    np.testing.assert_array_equal(p["running_mean"], np.zeros(3))


def test_one_number_a_feature_has_no_variance() -> None:
    p = fresh()
    y, _ = nn.BatchNorm(3).forward(normal(1, 3), p, nn.Context(training=True))
    np.testing.assert_array_equal(y, np.zeros((1, 3)))
    np.testing.assert_array_equal(p["running_variance"], np.ones(3))


def test_many_numbers_far_from_zero_keep_their_variance_in_float32() -> None:
    x = np.random.default_rng(1).normal(100, 1, (64, 3, 28, 28)).astype(np.float32)
    p = fresh("float32")
    nn.BatchNorm(3, momentum=0.999999).forward(x, p, nn.Context(training=True))
    exact = x.astype(np.float64)
    np.testing.assert_allclose(p["running_mean"], exact.mean(axis=(0, 2, 3)), rtol=2e-6)
    np.testing.assert_allclose(p["running_variance"], exact.var(axis=(0, 2, 3), ddof=1), rtol=1e-4)


@pytest.mark.parametrize(
    ("inputs", "advice"), [((4,), r"use nn.BatchNorm\(4\)"), ((2, 3), "Flatten"), ((), "Flatten")]
)
def test_a_wrong_shape_names_layer_and_both_shapes(inputs: nn.Shape, advice: str) -> None:
    with pytest.raises(ShapeMismatch, match=advice) as caught:
        nn.BatchNorm(3).output_shape(inputs)
    assert f"takes samples of shape (3,) or (3, height, width), got {inputs}" in str(caught.value)


@pytest.mark.parametrize(
    "settings", [{"features": 0}, {"momentum": 0}, {"momentum": 1}, {"epsilon": 0}], ids=repr
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"BatchNorm: {next(iter(settings))} must be"):
        nn.BatchNorm(**{"features": 3, **settings})
