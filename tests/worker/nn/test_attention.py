"""CausalSelfAttention: gradients, PyTorch's, and that nothing comes from later steps."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from ps_common.errors import ShapeMismatch, UsageError
from ps_worker import nn
from ps_worker.nn.tree import flatten, nest
from support_gradients import check_layer
from support_networks import draw
from support_torch import compare_layer


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_gradients(heads: int) -> None:
    check_layer(nn.CausalSelfAttention(4, heads), normal(2, 3, 4))


@pytest.mark.parametrize("heads", [1, 2])
def test_the_layer_is_pytorchs(heads: int) -> None:
    def theirs(x: torch.Tensor, p: dict[str, torch.Tensor]) -> torch.Tensor:
        parts = (x @ p["qkv.weight"] + p["qkv.bias"]).split(6, dim=2)
        q, k, v = (part.unflatten(2, (heads, 6 // heads)).transpose(1, 2) for part in parts)
        taken = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return taken.transpose(1, 2).flatten(2) @ p["output.weight"] + p["output.bias"]

    compare_layer(nn.CausalSelfAttention(6, heads), normal(3, 5, 6).astype(np.float32), theirs)


def test_a_step_does_not_depend_on_later_ones() -> None:
    layer, rng = nn.CausalSelfAttention(6, 2), np.random.default_rng(0)
    p = nest({name: draw(one, rng) * 50 for name, one in flatten(layer.parameters((5, 6))).items()})
    x = normal(3, 5, 6)
    changed = x.copy()
    changed[:, 3:] += 1
    y, other = (layer.forward(one, p, nn.Context(training=False))[0] for one in (x, changed))
    np.testing.assert_array_equal(y[:, :3], other[:, :3])
    assert (y[:, 3:] != other[:, 3:]).all()


@pytest.mark.parametrize("inputs", [(6,), (5, 7), (2, 5, 6)])
def test_a_wrong_shape_names_layer_and_both_shapes(inputs: nn.Shape) -> None:
    with pytest.raises(ShapeMismatch) as caught:
        nn.CausalSelfAttention(6, 2).output_shape(inputs)
    assert "CausalSelfAttention(6, 2) takes sequences" in str(caught.value)
    assert f"(steps, 6), got {inputs}" in str(caught.value)


@pytest.mark.parametrize(
    ("features", "heads", "said"),
    [(6, 4, "heads must divide features, got 6 features and 4 heads"), (0, 1, "features"), (4, 0, "heads")],
)
def test_wrong_settings_are_refused(features: int, heads: int, said: str) -> None:
    with pytest.raises(UsageError, match=f"CausalSelfAttention: {said}"):
        nn.CausalSelfAttention(features, heads)
