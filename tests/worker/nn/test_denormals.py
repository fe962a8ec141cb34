"""Optimizers whose state decays, with weights that get no gradient any more."""

import numpy as np
import pytest

from ps_worker import nn
from ps_worker.nn.denormals import flush_denormals

DTYPES = ["float32", "float64"]
VANISHED = {"float32": 1e-31, "float64": 1e-300}
KEPT = {"float32": 2.0**-57, "float64": 2.0**-895}  # what is at least that
DECAYING = [
    nn.Momentum(0.1, 0.5),
    nn.Nesterov(0.1, 0.5),
    nn.Adam(0.1, 0.5, 0.5),
    nn.AdamW(0.1, 0.5, 0.5),
    nn.RMSprop(0.1, 0.5),
]


def denormals(x: np.ndarray) -> int:
    return int(((x != 0) & (abs(x) < np.finfo(x.dtype).tiny)).sum())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", DECAYING, ids=repr)
def test_the_state_of_a_weight_without_gradient_gets_small_and_never_denormal(
    optimizer: nn.Optimizer, dtype: str
) -> None:
    weights = np.ones(40, dtype)
    gradient = np.logspace(-20, 0, 40, dtype=dtype)
    slots = {name: np.zeros(shape, dtype) for name, shape in optimizer.slots(40).items()}
    decaying = [slot for name, slot in slots.items() if name != "steps"]
    for _ in range(1200):
        optimizer.step(weights, gradient, slots, nn.scratch_for(weights))
        assert not any(map(denormals, decaying))
        gradient[...] = 0
    assert all(abs(slot).max() < VANISHED[dtype] for slot in decaying)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_that_matter_keep_every_bit(dtype: str) -> None:
    kind = np.finfo(dtype)
    large = np.geomspace(KEPT[dtype], kind.max / 2, 1000, dtype=dtype)
    x = np.concatenate([large, -large, np.array([0, np.inf], dtype)])
    before = x.copy()
    flush_denormals(x)
    assert x.tobytes() == before.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_smaller_ones_keep_all_but_the_last(dtype: str) -> None:
    x = np.geomspace(KEPT[dtype] / 2.0**26, KEPT[dtype], 1000, dtype=dtype)
    before = x.copy()
    flush_denormals(x)
    assert (abs(x - before) <= np.spacing(before)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormals_of_either_sign_become_zero(dtype: str) -> None:
    tiny = np.finfo(dtype).tiny
    x = np.array([tiny / 2, -tiny / 2, np.finfo(dtype).smallest_subnormal], dtype)
    assert denormals(x) == 3
    flush_denormals(x)
    assert not x.any()
