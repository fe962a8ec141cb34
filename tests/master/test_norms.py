"""What is unusual: how far contributions move the weights, beside those of before and of the same round."""

import numpy as np
import pytest

from paramserver.averaging.norms import KEPT, Norms, sampled, squared_distance


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_distance_is_that_of_the_definition(dtype):
    rng = np.random.default_rng(1)
    part, base = (rng.normal(size=40_000).astype(dtype) for _ in range(2))
    expected = ((part.astype("float64") - base.astype("float64")) ** 2).sum()
    assert squared_distance(part, base) == pytest.approx(expected, rel=1e-5)


def test_chunks_are_looked_at_evenly_from_a_place_that_only_the_secret_tells():
    assert sampled(1, 7) == {0}
    assert sampled(0, 7) == frozenset()
    assert {min(sampled(100, secret)) for secret in range(1000)} == set(range(100))
    assert sampled(800, 5) == {5, 261, 517, 773}
    assert all(len(sampled(20, secret)) == 1 for secret in range(50))


def test_who_moves_the_weights_many_times_as_far_as_the_others_is_an_outlier_from_the_first_round_on():
    norms = Norms(10.0)
    assert norms.outliers({0: 1.0, 1: 1.2, 2: 0.9, 3: 12.0}) == {3: pytest.approx(12.0 / 1.1)}
    assert norms.outliers({0: 1.0, 1: 1.2, 2: 0.9, 3: 10.0}) == {}


def test_of_few_nothing_is_said_until_some_were_averaged():
    norms = Norms(10.0)
    assert norms.outliers({0: 1.0, 1: 50.0}) == {}
    for _ in range(2):
        norms.remember({0: 1.0, 1: 1.0})
    assert norms.outliers({0: 1.0, 1: 50.0}) == {1: 50.0}


def test_where_nothing_moves_nothing_is_unusual():
    norms = Norms(10.0)
    assert norms.outliers({0: 0.0, 1: 0.0, 2: 0.0, 3: 1.0}) == {}


def test_what_is_usual_changes_with_time():
    norms = Norms(10.0)
    norms.remember(dict.fromkeys(range(KEPT), 1.0))
    assert norms.outliers({0: 0.01}) == {}
    norms.remember(dict.fromkeys(range(KEPT), 0.01))
    assert norms.outliers({0: 1.0}) == {0: 100.0}
