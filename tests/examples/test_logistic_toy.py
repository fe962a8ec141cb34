"""examples/logistic_toy.py against scikit-learn's optimum, and against what Spark MLlib printed."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from support_examples import Trained, train

X = np.array([[0.0, 1.1, 0.1], [2.0, 1.0, -1.0], [2.0, 1.3, 1.0], [0.0, 1.2, -0.5]])
LABELS = np.array([1, 0, 0, 1])
MEAN, DEVIATION = X.mean(axis=0), X.std(axis=0, ddof=1)


def weights_and_bias(trained: Trained) -> np.ndarray[Any, np.dtype[Any]]:
    return np.concatenate([trained.weights("0.weight"), trained.weights("0.bias")])


def optimum(strength: float) -> np.ndarray[Any, np.dtype[Any]]:
    """Where mean log-loss + strength / 2 |w|² is least; scikit-learn has the sum and C = 1 / (n strength)."""
    model = LogisticRegression(C=1 / (len(X) * strength), solver="newton-cholesky", tol=1e-12)
    model.fit((X - MEAN) / DEVIATION, LABELS)
    return np.append(model.coef_[0], model.intercept_)


def test_ten_iterations_come_near_the_optimum(tmp_path: Path) -> None:
    trained = train("logistic_toy", tmp_path)
    assert trained.record["rounds"] == 10
    assert trained.metrics["accuracy"] == 1.0
    np.testing.assert_allclose(weights_and_bias(trained), optimum(0.01), atol=0.25)


def test_more_iterations_reach_scikit_learns_optimum(tmp_path: Path) -> None:
    trained = train("logistic_toy", tmp_path, "epochs=500")
    np.testing.assert_allclose(weights_and_bias(trained), optimum(0.01), atol=1e-6)


def test_the_objective_is_spark_mllibs(tmp_path: Path) -> None:
    """Spark's documentation prints the probabilities of three samples for regParam 0.1.

    It stops at a tolerance of 1e-6, so its own digits are good to about that.
    """
    trained = train("logistic_toy", tmp_path, "epochs=500", "regularizer.strength=0.1")
    unseen = np.array([[-1.0, 1.5, 1.3], [3.0, 2.0, -0.1], [0.0, 2.2, -1.5]])
    logits = trained.model.predict((unseen - MEAN) / DEVIATION)[:, 0]
    printed = [0.9429269582896597, 0.07614776882958958, 0.8902722388522056]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), printed, atol=1e-6)
