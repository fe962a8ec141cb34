"""examples/movielens.py: ratings are predicted better than by biases, and biases are the least squares."""

from pathlib import Path

import movielens
import numpy as np
import pytest

from paramserver import ClusterError
from support_examples import train


def test_a_few_epochs_are_better_than_the_mean_and_within_the_claim(tmp_path: Path) -> None:
    trained = train("movielens", tmp_path, "epochs=10")
    measured = movielens.measure([trained.model])
    assert trained.record["samples"] == 80_000 * 10
    assert measured == pytest.approx(trained.metrics["rmse"], rel=1e-5)
    assert measured <= 0.95
    assert movielens.claim.is_met(measured, movielens.baselines())


def test_biases_solve_their_least_squares() -> None:
    rng = np.random.default_rng(0)
    pairs = np.column_stack([rng.integers(0, 5, 60), rng.integers(0, 4, 60)])
    stars = rng.integers(1, 6, 60).astype(float)
    of_user, of_film = movielens.biases(pairs, stars, damping=5.0)
    one_hot = np.zeros((60, 9))
    one_hot[np.arange(60), pairs[:, 0]] = 1
    one_hot[np.arange(60), 5 + pairs[:, 1]] = 1
    wanted = np.linalg.solve(one_hot.T @ one_hot + 5 * np.eye(9), one_hot.T @ (stars - stars.mean()))
    np.testing.assert_allclose(np.concatenate([of_user[:5], of_film[:4]]), wanted, atol=1e-4)
    assert not of_user[5:].any()


def test_the_baselines() -> None:
    baselines = movielens.baselines()
    stars = movielens.ratings.train.read(slice(None))[1]
    other = movielens.ratings.test.read(slice(None))[1]
    assert baselines["the mean"] == pytest.approx(np.sqrt(np.mean((other - stars.mean()) ** 2)), rel=1e-6)
    assert 0.93 < baselines["biases of users and films"] < 0.95


def test_factors_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="factors") as raised:
        train("movielens", tmp_path, "model.factors=0")
    assert raised.value.exit_code == 2
