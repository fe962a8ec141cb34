"""examples/breast_cancer.py: a medical data set is told apart."""

from pathlib import Path

from support_examples import train


def test_it_is_right_on_95_percent_of_unseen_samples(tmp_path: Path) -> None:
    trained = train("breast_cancer", tmp_path)
    assert trained.record["samples"] == 455 * 20
    assert trained.metrics["accuracy"] >= 0.95
    assert trained.metrics["loss"] < 0.2
