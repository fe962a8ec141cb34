"""First values have the spread their paper says."""

import math
from typing import Any

import numpy as np
import pytest

from ps_worker.nn import Parameter
from ps_worker.nn.initializers import fill
from support_networks import draw


def test_xavier_is_uniform_within_its_bound() -> None:
    values = draw(Parameter((300, 500), "xavier"), np.random.default_rng(0))
    bound = math.sqrt(6 / 800)
    assert np.abs(values).max() <= bound
    # 150,000 draws: 1 % of the bound is over 5 standard errors of the mean, and of the deviation
    assert abs(values.mean()) < 0.01 * bound
    assert abs(values.std() - bound / math.sqrt(3)) < 0.01 * bound


def test_he_is_normal_with_variance_two_over_fan_in() -> None:
    values = draw(Parameter((300, 500), "he"), np.random.default_rng(0))
    deviation = math.sqrt(2 / 300)
    assert abs(values.mean()) < 0.015 * deviation
    assert abs(values.std() - deviation) < 0.01 * deviation
    assert np.abs(values).max() > 3.5 * deviation  # no uniform has this tail


def test_normal_has_the_deviation_of_gpt_or_the_one_given() -> None:
    for parameter, deviation in (
        (Parameter((300, 500), "normal"), 0.02),
        (Parameter((300, 500), "normal", deviation=0.5), 0.5),
    ):
        values = draw(parameter, np.random.default_rng(0))
        assert abs(values.mean()) < 0.015 * deviation
        assert abs(values.std() / deviation - 1) < 0.01
        assert np.abs(values).max() > 3.5 * deviation


def test_given_fans_rule() -> None:
    values = draw(Parameter((200, 100), "he", fan_in=800), np.random.default_rng(0))
    assert abs(values.std() / math.sqrt(2 / 800) - 1) < 0.03


@pytest.mark.parametrize(("init", "value"), [("zeros", 0.0), ("ones", 1.0)])
def test_constants(init: Any, value: float) -> None:
    np.testing.assert_array_equal(
        draw(Parameter((2, 3), init), np.random.default_rng(0)), np.full((2, 3), value)
    )


def test_the_same_stream_gives_the_same_values() -> None:
    first, again = (draw(Parameter((4, 4), "he"), np.random.default_rng(7)) for _ in range(2))
    other = draw(Parameter((4, 4), "he"), np.random.default_rng(8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


@pytest.mark.parametrize("rule", ["xavier", "he"])
def test_values_drawn_block_by_block_are_those_of_one_draw(
    monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    monkeypatch.setattr("ps_worker.nn.initializers.BLOCK", 7)
    parameter = Parameter((5, 9), rule, fan_in=9, fan_out=5)
    out, rng = np.empty((5, 9)), np.random.default_rng(3)
    fill(parameter, np.random.default_rng(3), out)
    bound, deviation = np.sqrt(6 / 14), np.sqrt(2 / 9)
    whole = rng.uniform(-bound, bound, (5, 9)) if rule == "xavier" else rng.normal(0.0, deviation, (5, 9))
    np.testing.assert_array_equal(out, whole)
