"""LSTM: gradients, PyTorch's, and sequences of one step."""

import numpy as np
import pytest
import torch

from ps_common.errors import ShapeMismatch, UsageError
from ps_worker import nn
from support_gradients import check_layer
from support_torch import compare_layer


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("steps", [1, 4])
def test_gradients(steps: int, return_sequences: bool) -> None:
    check_layer(nn.LSTM(3, 2, return_sequences), normal(2, steps, 3))


@pytest.mark.parametrize("return_sequences", [True, False])
def test_the_layer_is_pytorchs(return_sequences: bool) -> None:
    def theirs(x: torch.Tensor, p: dict[str, torch.Tensor]) -> torch.Tensor:
        weights = [p["input"].T, p["recurrent"].T, p["bias"], torch.zeros(20)]
        start = torch.zeros(1, len(x), 5)
        y, _, _ = torch.lstm(x, (start, start), weights, True, 1, 0.0, True, False, True)
        return y if return_sequences else y[:, -1]

    compare_layer(nn.LSTM(3, 5, return_sequences), normal(4, 6, 3).astype(np.float32), theirs)


def test_parameters_decay_but_for_the_bias_and_each_gate_starts_by_glorot() -> None:
    specification = nn.LSTM(3, 5).parameters((6, 3))
    assert {name: p.shape for name, p in specification.items()} == {
        "input": (3, 20),
        "recurrent": (5, 20),
        "bias": (20,),
    }
    assert [p.decay for p in specification.values()] == [True, True, False]
    assert (specification["recurrent"].fan_in, specification["recurrent"].fan_out) == (5, 5)


@pytest.mark.parametrize("inputs", [(3,), (6, 4)])
def test_a_wrong_shape_names_layer_and_both_shapes(inputs: nn.Shape) -> None:
    with pytest.raises(ShapeMismatch) as caught:
        nn.LSTM(3, 5).output_shape(inputs)
    assert "LSTM(3, 5) takes sequences" in str(caught.value)
    assert f"(steps, 3), got {inputs}" in str(caught.value)


@pytest.mark.parametrize("settings", [(0, 5), (3, 0)])
def test_wrong_settings_are_refused(settings: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="LSTM: "):
        nn.LSTM(*settings)
