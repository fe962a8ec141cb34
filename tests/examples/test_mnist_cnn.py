"""examples/mnist_cnn.py: convolutions learn MNIST from a part of it, better than mean digits do."""

from pathlib import Path

import mnist_cnn
import pytest

from paramserver import ClusterError
from support_examples import train


def test_a_part_of_the_digits_is_enough_to_be_better_than_mean_digits(tmp_path: Path) -> None:
    trained = train("mnist_cnn", tmp_path, "data=mnist-5k", "epochs=3", "batch_size=16", timeout_s=120)
    assert trained.record["samples"] == 4000 * 3
    assert trained.metrics["accuracy"] >= 0.92


def test_the_nearest_mean_digit() -> None:
    assert mnist_cnn.baselines()["nearest mean digit"] == pytest.approx(0.8203)


def test_another_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="--set data=cifar: data must be one of mnist, mnist-5k"):
        train("mnist_cnn", tmp_path, "data=cifar")
