"""Embedding: rows by number, gradients, and what is no number of a row."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from ps_common.errors import DataError, UsageError
from ps_worker import nn
from support_gradients import check_layer
from support_torch import compare_layer


def indexes(*shape: int, below: int = 7) -> np.ndarray:
    return np.random.default_rng(1).integers(0, below, shape)


@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 3, 2)])
def test_gradients(shape: tuple[int, ...]) -> None:
    check_layer(nn.Embedding(7, 3), indexes(*shape))


def test_the_layer_is_pytorchs() -> None:
    def theirs(x: torch.Tensor, p: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional.embedding(x, p["weight"])

    compare_layer(nn.Embedding(7, 3), indexes(4, 5), theirs)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint64", "float32"])
def test_numbers_of_any_dtype(dtype: str) -> None:
    layer, x = nn.Embedding(7, 3), indexes(4, 5)
    p = {"weight": np.random.default_rng(0).normal(size=(7, 3))}
    expected, _ = layer.forward(x, p, nn.Context(training=False))
    y, _ = layer.forward(x.astype(dtype), p, nn.Context(training=False))
    np.testing.assert_array_equal(y, expected)


def test_a_network_does_not_round_indexes() -> None:
    """16,777,217 is the first whole number that float32 has not."""
    seen = []

    class Seeing(nn.Embedding):
        def forward(self, x, p, context):  # type: ignore[no-untyped-def]
            seen.append(x)
            return super().forward(x % 7, p, context)

    for model in (Seeing(7, 3), nn.Sequential(Seeing(7, 3), nn.ReLU())):
        network = nn.Network(model, nn.MSE(), None, (1,))
        arrays = {name: np.zeros(p.shape, np.float32) for name, p in network.specification().items()}
        network.bind(arrays, {name: a.copy() for name, a in arrays.items()})
        network.predict(np.array([[16_777_217]]))
        assert seen.pop().tolist() == [[16_777_217]]


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ([[0, 6], [3, 7]], "sample 1 has the input 7 at (1,), but Embedding(7, 3) "),
        ([[0, 6], [3, 7]], "looks up whole numbers from 0 to 6; give vocabulary=8, or mend the data"),
        ([[0, -1], [3, 7]], "sample 0 has the input -1 at (1,)"),
        ([0.0, 2.0, 2.5], "sample 2 has the input 2.5, but"),
        ([0.0, np.nan], "sample 1 has the input nan, but"),
        (
            [0.0, np.inf],
            "sample 1 has the input inf, but Embedding(7, 3) looks up whole numbers from 0 to 6; mend",
        ),
    ],
)
def test_what_is_not_in_the_vocabulary_is_named(x: list[float], said: str) -> None:
    first = nn.Embedding(7, 3)
    for layer in (first, nn.Sequential(first, nn.ReLU()), nn.Residual(first, shortcut=first)):
        assert layer.takes_indexes
        with pytest.raises(DataError) as caught:
            layer.check_inputs(np.array(x), "train data, shard 2")
        assert str(caught.value).startswith("train data, shard 2: sample ")
        assert said in str(caught.value)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_what_is_in_the_vocabulary_passes(dtype: str) -> None:
    nn.Embedding(7, 3).check_inputs(indexes(4, 5).astype(dtype), "train data")
    nn.Embedding(300, 3).check_inputs(np.arange(256).astype(np.uint8), "train data")


def test_parameters() -> None:
    assert nn.Embedding(7, 3).parameters((5,)) == {"weight": nn.Parameter((7, 3), "normal")}
    assert nn.Embedding(7, 3).output_shape(()) == (3,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [((0, 3), "vocabulary must be a whole"), ((7, 0), "features must be"), ((7, 3, 0.0), "deviation must")],
)
def test_wrong_settings_are_refused(settings: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nn.Embedding(*settings)
