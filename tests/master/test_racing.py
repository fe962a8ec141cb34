"""How long is too long: known from the times of units of the same kind, by size."""

import math
import random

from paramserver.racing import DEVIATIONS, FRESH, KEPT, SLACK, UnitTimes
from paramserver.settings import Settings


def times(*seconds, samples=1, race_after_s=0.001, kind="train"):
    made = UnitTimes(Settings(race_after_s=race_after_s))
    for one in seconds:
        made.count(kind, samples, one)
    return made


def test_while_nothing_is_known_nothing_takes_too_long():
    assert times().limit_s("train", 8) == math.inf
    assert times(1.0).limit_s("evaluate", 8) == math.inf


def test_the_limit_is_the_median_and_a_multiple_of_the_median_absolute_deviation():
    made = times(1.0, 1.2, 1.1, 1.4, 9.0)  # deviations of 1.2: 0.2, 0, 0.1, 0.2, 7.8
    assert math.isclose(made.median_s("train", 1), 1.2)
    assert math.isclose(made.limit_s("train", 1), 1.2 + DEVIATIONS * 0.2)


def test_times_that_are_all_alike_leave_some_slack():
    assert math.isclose(times(*[2.0] * 9).limit_s("train", 1), 2.0 * (1 + SLACK))


def test_a_unit_of_twice_the_size_may_take_twice_as_long():
    made = times(*[2.0] * 9, samples=8)
    assert math.isclose(made.limit_s("train", 16), 2 * made.limit_s("train", 8))


def test_the_limit_is_never_below_its_least():
    assert times(*[1e-6] * 9, race_after_s=0.005).limit_s("train", 1) == 0.005


def test_a_slow_worker_among_four_does_not_move_the_limit_much():
    rng = random.Random(1)
    made = times(*[rng.uniform(0.9, 1.1) * (10 if i % 4 == 0 else 1) for i in range(KEPT)])
    assert made.limit_s("train", 1) < 2.0


def test_old_times_are_forgotten():
    made = times(*[1.0] * KEPT)
    for _ in range(KEPT + FRESH):
        made.count("train", 1, 3.0)
    assert math.isclose(made.median_s("train", 1), 3.0)
