"""MatrixFactorisation: gradients, PyTorch's, and who is not known."""

import numpy as np
import pytest
import torch

from ps_common.errors import DataError, ShapeMismatch, UsageError
from ps_worker import nn
from support_gradients import check_layer
from support_torch import compare_layer


def pairs(n: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([rng.integers(0, 5, n), rng.integers(0, 4, n)], axis=1)


def test_gradients() -> None:
    check_layer(nn.MatrixFactorisation(5, 4, 3, mean=3.5), pairs(8))


def test_the_layer_is_pytorchs_from_embeddings() -> None:
    def theirs(x: torch.Tensor, p: dict[str, torch.Tensor]) -> torch.Tensor:
        users, items = x.T
        biases = 3.5 + p["offset"] + p["user_bias"][users] + p["item_bias"][items]
        return biases + (p["user"][users] * p["item"][items]).sum(dim=1, keepdim=True)

    compare_layer(nn.MatrixFactorisation(5, 4, 3, mean=3.5), pairs(8), theirs)


def test_all_but_the_offset_decay() -> None:
    specification = nn.MatrixFactorisation(5, 4, 3, deviation=0.2).parameters((2,))
    assert specification == {
        "offset": nn.Parameter((1,)),
        "user_bias": nn.Parameter((5, 1), decay=True),
        "user": nn.Parameter((5, 3), "normal", decay=True, deviation=0.2),
        "item_bias": nn.Parameter((4, 1), decay=True),
        "item": nn.Parameter((4, 3), "normal", decay=True, deviation=0.2),
    }


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (
            [[0, 0], [5, 1]],
            "train data, x[0]: sample 1 has the input 5, but .* from 0 to 4; give users=6, or",
        ),
        (
            [[4, 4], [0, 1]],
            "train data, x[1]: sample 0 has the input 4, but .* from 0 to 3; give items=5, or",
        ),
    ],
)
def test_who_is_not_known_is_named(x: list[list[int]], said: str) -> None:
    with pytest.raises(DataError, match=said.replace("[", r"\[").replace("]", r"\]")):
        nn.MatrixFactorisation(5, 4, 3).check_inputs(np.array(x), "train data")
    nn.MatrixFactorisation(5, 4, 3).check_inputs(pairs(8), "train data")


@pytest.mark.parametrize("inputs", [(), (3,), (2, 2)])
def test_a_wrong_shape_is_refused(inputs: nn.Shape) -> None:
    with pytest.raises(ShapeMismatch) as caught:
        nn.MatrixFactorisation(5, 4, 3).output_shape(inputs)
    assert f"(user, item), shape (2,), got {inputs}" in str(caught.value)


@pytest.mark.parametrize(
    "settings", [(0, 4, 3), (5, 0, 3), (5, 4, 0), (5, 4, 3, float("nan")), (5, 4, 3, 0.0, 0.0)]
)
def test_wrong_settings_are_refused(settings: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="MatrixFactorisation: "):
        nn.MatrixFactorisation(*settings)
