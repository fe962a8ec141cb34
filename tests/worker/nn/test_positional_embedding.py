"""PositionalEmbedding: gradients, PyTorch's, and sequences that are too long."""

import numpy as np
import pytest

from ps_common.errors import ShapeMismatch, UsageError
from ps_worker import nn
from support_gradients import check_layer
from support_torch import compare_layer


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


@pytest.mark.parametrize("length", [4, 6])
def test_gradients(length: int) -> None:
    check_layer(nn.PositionalEmbedding(length, 3), normal(2, 4, 3))


@pytest.mark.parametrize("length", [4, 6])
def test_the_layer_is_pytorchs_sum(length: int) -> None:
    layer = nn.PositionalEmbedding(length, 3)
    compare_layer(layer, normal(2, 4, 3).astype(np.float32), lambda x, p: x + p["weight"][:4])


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ((7, 3), "knows 6 places, the samples (7, 3) have 7 steps; give length=7, or cut the sequences"),
        ((6, 4), "takes sequences of vectors, samples of shape (steps, 3), got (6, 4)"),
        ((6,), "got (6,); an nn.Embedding(vocabulary, 3) makes such ones of indexes (steps,)"),
    ],
)
def test_a_wrong_shape_names_layer_and_both_shapes(inputs: nn.Shape, said: str) -> None:
    with pytest.raises(ShapeMismatch) as caught:
        nn.PositionalEmbedding(6, 3).output_shape(inputs)
    assert str(caught.value).startswith("PositionalEmbedding(6, 3) ")
    assert said in str(caught.value)


@pytest.mark.parametrize("settings", [(0, 3), (6, 0)])
def test_wrong_settings_are_refused(settings: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="PositionalEmbedding: "):
        nn.PositionalEmbedding(*settings)
