"""examples/linear_regression.py: ones can be fitted by the bias alone."""

from pathlib import Path

import numpy as np

from support_examples import train


def test_the_bias_goes_to_one_and_everything_else_to_zero(tmp_path: Path) -> None:
    trained = train("linear_regression", tmp_path)
    losses = [entry["loss"] for entry in trained.record["history"]]
    assert losses[0] > 0.5
    assert losses[-1] < 1e-5
    np.testing.assert_allclose(trained.weights("0.weight"), 0, atol=2e-3)
    np.testing.assert_allclose(trained.weights("0.bias"), 1, atol=2e-3)
