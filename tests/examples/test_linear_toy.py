"""examples/linear_toy.py: training ends where the normal equations do."""

from pathlib import Path

import numpy as np

from support_examples import train


def test_the_closed_form_is_recovered(tmp_path: Path) -> None:
    x, y = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([5.0, 11.0, 17.0])
    closed_form = np.linalg.solve(x.T @ x, x.T @ y)
    trained = train("linear_toy", tmp_path, workers=3)
    np.testing.assert_allclose(closed_form, [1, 2], atol=1e-12)
    np.testing.assert_allclose(trained.weights("0.weight"), closed_form, atol=1e-6)
