"""examples/diabetes.py: training ends where the normal equations and scikit-learn do."""

from pathlib import Path

import diabetes
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from paramserver import datasets
from support_examples import train


def test_the_closed_form_is_scikit_learns() -> None:
    x, y = (part.astype(np.float64) for part in datasets.load("diabetes", seed=0).train.read(slice(None)))
    other = LinearRegression().fit(x, y)
    np.testing.assert_allclose(diabetes.wanted(), [*other.coef_, other.intercept_], atol=1e-6)


def test_training_ends_at_the_closed_form(tmp_path: Path) -> None:
    trained = train("diabetes", tmp_path)
    assert trained.record["rounds"] == 500
    assert diabetes.measure([trained.model]) < 1e-3
    assert diabetes.baselines()["all weights zero"] == pytest.approx(151.6, abs=0.1)


def test_plain_gradient_descent_is_not_there_after_as_many_steps(tmp_path: Path) -> None:
    trained = train("diabetes", tmp_path, "optimizer.momentum=0")
    assert diabetes.measure([trained.model]) > 1e-3
