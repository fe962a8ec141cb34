"""Optimizers against their formulas, written once more one number at a time."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common.errors import UsageError
from ps_worker import nn
from ps_worker.nn.blocks import BLOCK

ALL = [
    nn.SGD(0.1),
    nn.Momentum(0.1, 0.8),
    nn.Nesterov(0.1, 0.8),
    nn.Adam(0.1, 0.8, 0.95, 1e-3),
    nn.AdamW(0.1, 0.8, 0.95, 1e-3, 0.3),
    nn.Adagrad(0.1, 1e-3),
    nn.RMSprop(0.1, 0.9, 1e-3),
]


def naive_sgd(w: float, gradients: Iterator[float]) -> float:
    for g in gradients:
        w -= 0.1 * g
    return w


def naive_momentum(w: float, gradients: Iterator[float]) -> float:
    v = 0.0
    for g in gradients:
        v = 0.8 * v + g
        w = w - 0.1 * v
    return w


def naive_nesterov(w: float, gradients: Iterator[float]) -> float:
    v = 0.0
    for g in gradients:
        v = 0.8 * v + g
        w = w - 0.1 * (g + 0.8 * v)
    return w


def naive_adam(w: float, gradients: Iterator[float]) -> float:
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = 0.8 * m + 0.2 * g
        v = 0.95 * v + 0.05 * g**2
        m_hat = m / (1 - 0.8**t)
        v_hat = v / (1 - 0.95**t)
        w = w - 0.1 * m_hat / (math.sqrt(v_hat) + 1e-3)
    return w


def naive_adamw(w: float, gradients: Iterator[float]) -> float:
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = 0.8 * m + 0.2 * g
        v = 0.95 * v + 0.05 * g**2
        w = w - 0.1 * 0.3 * w
        w = w - 0.1 * m / (1 - 0.8**t) / (math.sqrt(v / (1 - 0.95**t)) + 1e-3)
    return w


def naive_adagrad(w: float, gradients: Iterator[float]) -> float:
    s = 0.0
    for g in gradients:
        s = s + g**2
        w = w - 0.1 * g / (math.sqrt(s) + 1e-3)
    return w


def naive_rmsprop(w: float, gradients: Iterator[float]) -> float:
    s = 0.0
    for g in gradients:
        s = 0.9 * s + 0.1 * g**2
        w = w - 0.1 * g / (math.sqrt(s) + 1e-3)
    return w


NAIVE = [
    naive_sgd,
    naive_momentum,
    naive_nesterov,
    naive_adam,
    naive_adamw,
    naive_adagrad,
    naive_rmsprop,
]


def zero_slots(optimizer: nn.Optimizer, n: int, dtype: Any) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, dtype) for name, shape in optimizer.slots(n).items()}


def run(optimizer: nn.Optimizer, weights: np.ndarray, gradients: np.ndarray) -> dict[str, np.ndarray]:
    """Steps in place, one for each row; the scratch starts as NaN, so what is read unwritten is seen."""
    slots = zero_slots(optimizer, len(weights), weights.dtype)
    scratch = nn.scratch_for(weights)
    for gradient in gradients:
        scratch.fill(np.nan)
        optimizer.step(weights, gradient.copy(), slots, scratch)
    return slots


@pytest.mark.parametrize(("optimizer", "naive"), list(zip(ALL, NAIVE, strict=True)))
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 9), st.sampled_from([1e-4, 1.0, 1e3]))
def test_several_steps_follow_the_formula(
    optimizer: nn.Optimizer,
    naive: Callable[[float, Iterator[float]], float],
    seed: int,
    steps: int,
    scale: float,
) -> None:
    rng = np.random.default_rng(seed)
    weights, gradients = rng.normal(size=4), rng.normal(size=(steps, 4)) * scale
    expected = [
        naive(w, iter(column)) for w, column in zip(weights.tolist(), gradients.T.tolist(), strict=True)
    ]
    run(optimizer, weights, gradients)
    np.testing.assert_allclose(weights, expected, rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("optimizer", ALL)
def test_a_long_vector_steps_like_its_pieces(optimizer: nn.Optimizer) -> None:
    rng = np.random.default_rng(1)
    n = 2 * BLOCK + 5
    weights, gradients = rng.normal(size=n).astype(np.float32), rng.normal(size=(2, n)).astype(np.float32)
    edges = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, n - 1]
    few = weights[edges]
    run(optimizer, weights, gradients)
    run(optimizer, few, gradients[:, edges])
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights[edges], few, rtol=1e-6)


@pytest.mark.parametrize("optimizer", ALL)
def test_float32_follows_float64(optimizer: nn.Optimizer) -> None:
    rng = np.random.default_rng(1)
    weights, gradients = rng.normal(size=50), rng.normal(size=(20, 50))
    narrow = weights.astype(np.float32)
    run(optimizer, weights, gradients)
    run(optimizer, narrow, gradients.astype(np.float32))
    np.testing.assert_allclose(narrow, weights, rtol=1e-4, atol=1e-5)


def test_adams_first_step_is_the_learning_rate_in_float32() -> None:
    """With β₂ = 0.999 the correction 1 - β₂ loses four digits when βᵗ is rounded to float32 first."""
    weights = np.zeros(3, np.float32)
    run(nn.Adam(0.001), weights, np.array([[1.0, -20.0, 0.01]], np.float32))
    np.testing.assert_allclose(weights, [-0.001, 0.001, -0.001], rtol=3e-6)


def test_slots_are_named_and_shaped() -> None:
    assert [optimizer.slots(7) for optimizer in ALL] == [
        {},
        {"velocity": (7,)},
        {"velocity": (7,)},
        {"first_moment": (7,), "second_moment": (7,), "steps": (1,)},
        {"first_moment": (7,), "second_moment": (7,), "steps": (1,)},
        {"squares": (7,)},
        {"squares": (7,)},
    ]


def test_adam_counts_its_steps_and_goes_on_from_a_fraction() -> None:
    adam, weights = nn.Adam(0.1), np.zeros(2)
    slots = run(adam, weights, np.ones((3, 2)))
    assert slots["steps"].tolist() == [3]
    slots["steps"][:] = 2.5  # the average of replicas that took 2 and 3 steps
    adam.step(weights, np.ones(2), slots, nn.scratch_for(weights))
    assert slots["steps"].tolist() == [3.5]
    assert np.isfinite(weights).all()


def test_adam_without_memory_is_the_sign_of_the_gradient() -> None:
    weights = np.zeros(2)
    run(nn.Adam(0.1, beta1=0, beta2=0, epsilon=1e-12), weights, np.array([[3.0, -5.0], [1.0, -1e-3]]))
    np.testing.assert_allclose(weights, [-0.2, 0.2])


@pytest.mark.parametrize("optimizer", ALL)
def test_a_gradient_of_zero_moves_nothing_but_what_decays(optimizer: nn.Optimizer) -> None:
    weights = np.ones(5)
    run(optimizer.decaying(2), weights, np.zeros((3, 5)))
    np.testing.assert_array_equal(weights[2:], np.ones(3))
    left = (1 - 0.1 * 0.3) ** 3 if isinstance(optimizer, nn.AdamW) else 1.0
    np.testing.assert_allclose(weights[:2], left, rtol=1e-15)


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_adamw_decays_the_first_weights_and_no_others(count: int) -> None:
    n = 2 * BLOCK + 3
    weights = np.ones(n)
    run(nn.AdamW(0.1, decay=0.3).decaying(count), weights, np.zeros((1, n)))
    assert (weights[:count] < 1).all()
    assert (weights[count:] == 1).all()


def test_who_does_not_decay_is_the_same_for_any_weights() -> None:
    assert all(one.decaying(3) is one for one in ALL if not isinstance(one, nn.AdamW))


def test_scratch_on_the_host_is_one_block() -> None:
    assert len(nn.scratch_for(np.empty(10))) == 10
    long = nn.scratch_for(np.empty(BLOCK + 1, np.float32))
    assert (len(long), long.dtype) == (BLOCK, np.float32)


@pytest.mark.parametrize(
    ("kind", "setting", "value", "bound"),
    [
        (nn.SGD, "learning_rate", 0, "> 0"),
        (nn.Momentum, "learning_rate", -1, "> 0"),
        (nn.Momentum, "momentum", 1, ">= 0 and < 1"),
        (nn.Nesterov, "learning_rate", math.nan, "> 0"),
        (nn.Nesterov, "momentum", -0.1, ">= 0 and < 1"),
        (nn.Adam, "learning_rate", "fast", "> 0"),
        (nn.Adam, "beta1", 1.0, ">= 0 and < 1"),
        (nn.Adam, "beta2", 1.5, ">= 0 and < 1"),
        (nn.Adam, "epsilon", 0, "> 0"),
        (nn.AdamW, "decay", -0.1, ">= 0"),
        (nn.AdamW, "beta1", 1.0, ">= 0 and < 1"),
        (nn.Adagrad, "learning_rate", 0, "> 0"),
        (nn.Adagrad, "epsilon", 0, "> 0"),
        (nn.RMSprop, "learning_rate", -1, "> 0"),
        (nn.RMSprop, "alpha", 1.0, ">= 0 and < 1"),
        (nn.RMSprop, "epsilon", -1e-8, "> 0"),
    ],
)
def test_a_setting_out_of_bounds_is_refused(kind: Any, setting: str, value: Any, bound: str) -> None:
    with pytest.raises(UsageError) as caught:
        kind(**{"learning_rate": 0.1, setting: value})
    assert str(caught.value) == f"{kind.__name__}: {setting} must be a number {bound}, got {value!r}"
