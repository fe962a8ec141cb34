"""LayerNorm: gradients, PyTorch's, and that it normalises."""

import numpy as np
import pytest
from torch.nn import functional

from ps_common.errors import ShapeMismatch, UsageError
from ps_worker import nn
from support_gradients import check_layer
from support_torch import compare_layer


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(2, 3, shape)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 5)])
def test_gradients(shape: tuple[int, ...]) -> None:
    check_layer(nn.LayerNorm(5), normal(*shape))


@pytest.mark.parametrize("epsilon", [1e-5, 0.5])
@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 6)])
def test_the_layer_is_pytorchs(shape: tuple[int, ...], epsilon: float) -> None:
    compare_layer(
        nn.LayerNorm(6, epsilon),
        normal(*shape).astype(np.float32),
        lambda x, p: functional.layer_norm(x, (6,), p["scale"], p["shift"], epsilon),
    )


def test_each_vector_has_mean_0_and_variance_1_at_first() -> None:
    p = {"scale": np.ones(50), "shift": np.zeros(50)}
    y, _ = nn.LayerNorm(50).forward(normal(3, 4, 50), p, nn.Context(training=False))
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=-1), 1, rtol=1e-4)


def test_neither_parameter_decays() -> None:
    assert nn.LayerNorm(5).parameters((3, 5)) == {
        "scale": nn.Parameter((5,), "ones"),
        "shift": nn.Parameter((5,), "zeros"),
    }


def test_a_wrong_shape_names_layer_and_both_shapes() -> None:
    with pytest.raises(
        ShapeMismatch, match=r"LayerNorm\(5\) takes samples of shape \(..., 5\), got \(3, 4\)"
    ):
        nn.LayerNorm(5).output_shape((3, 4))


@pytest.mark.parametrize(("features", "epsilon"), [(0, 1e-5), (3, 0.0)])
def test_wrong_settings_are_refused(features: int, epsilon: float) -> None:
    with pytest.raises(UsageError, match="LayerNorm: "):
        nn.LayerNorm(features, epsilon)
