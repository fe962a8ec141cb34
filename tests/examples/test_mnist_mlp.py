"""examples/mnist_mlp.py, the demo: how well it learns, and what it says to a wrong setting."""

from pathlib import Path

import numpy as np
import pytest

from paramserver import ClusterError, datasets
from support_examples import train


@pytest.mark.parametrize("seed", [12345, 1, 2])
def test_the_demo_reaches_93_percent(tmp_path: Path, seed: int) -> None:
    trained = train("mnist_mlp", tmp_path, f"seed={seed}")
    assert trained.record["parameters"] == 784 * 100 + 100 + 100 * 10 + 10
    assert trained.metrics["accuracy"] >= 0.93


def test_all_of_mnist_reaches_97_percent(tmp_path: Path) -> None:
    trained = train("mnist_mlp", tmp_path, "data=mnist", timeout_s=170.0)
    assert trained.record["samples"] == 600_000
    assert trained.metrics["accuracy"] >= 0.97


def test_the_model_file_predicts_as_the_run_says(tmp_path: Path) -> None:
    trained = train("mnist_mlp", tmp_path, "epochs=1")
    images, labels = datasets.load("mnist-5k", seed=12345).test.read(slice(None))
    accuracy = np.mean(trained.model.predict(images).argmax(axis=1) == labels)
    assert accuracy == pytest.approx(trained.metrics["accuracy"])


def test_deeplearning4js_recipe_learns(tmp_path: Path) -> None:
    trained = train("mnist_mlp", tmp_path, "recipe=dl4j")
    losses = [entry["loss"] for entry in trained.record["history"]]
    assert losses == sorted(losses, reverse=True)
    assert trained.metrics["accuracy"] >= 0.6
    plan = trained.model.job.plan
    assert (plan.batch_size, plan.epochs, trained.model.job.seed) == (64, 10, 12345)
    assert trained.model.job.optimizer == {"kind": "SGD", "learning_rate": 0.01}


@pytest.mark.parametrize(
    ("setting", "choices"), [("data=mnist5k", "mnist-5k, mnist"), ("recipe=dl4", "fast, dl4j")]
)
def test_a_wrong_choice_is_refused_with_the_right_ones(tmp_path: Path, setting: str, choices: str) -> None:
    with pytest.raises(ClusterError, match=f"--set {setting}: .* must be one of {choices}") as raised:
        train("mnist_mlp", tmp_path, setting)
    assert raised.value.exit_code == 2
