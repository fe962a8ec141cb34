"""README.md: the jobs it prints run, and reach what it says."""

import re
from pathlib import Path

import paramserver
from paramserver import LocalCluster

README = (Path(__file__).parents[2] / "README.md").read_text()


def job_file(name: str, folder: Path) -> Path:
    """The block of Python that begins with the file's name."""
    block = re.search(rf"```python\n# {re.escape(name)}\n(.*?)```", README, re.DOTALL)
    assert block, f"README.md prints no {name}"
    path = folder / name
    path.write_text(block[1])
    return path


def test_the_first_job_trains_as_it_says(tmp_path: Path) -> None:
    out = tmp_path / "digits.safetensors"
    with LocalCluster(job_file("digits.py", tmp_path), 4, server_flags=["--out", str(out)]) as cluster:
        record = cluster.wait(60)
    assert record["rounds"] == 10 * 6  # 667 samples a shard: 42 batches of 16, 8 a round
    assert record["metrics"]["accuracy"] >= 0.92
    assert paramserver.load(out).metrics == record["metrics"]


def test_the_job_with_its_own_layer_and_loss_trains(tmp_path: Path) -> None:
    with LocalCluster(job_file("scale.py", tmp_path), 2) as cluster:
        record = cluster.wait(60)
    assert record["parameters"] == 10 + 10 + 1
    assert record["metrics"]["loss"] < 55  # 63 is what always saying the median would lose


def test_the_job_in_pytorch_trains(tmp_path: Path) -> None:
    with LocalCluster(job_file("torch_digits.py", tmp_path), 1) as cluster:
        record = cluster.wait(120)
    assert record["metrics"]["accuracy"] >= 0.9


def test_the_job_with_a_class_of_its_own_finds_the_mean(tmp_path: Path) -> None:
    out = tmp_path / "mean.safetensors"
    with LocalCluster(job_file("mean.py", tmp_path), 2, server_flags=["--out", str(out)]) as cluster:
        cluster.wait(60)
    x, _ = paramserver.datasets.load("diabetes").train.read(slice(None))
    assert abs(paramserver.load(out).weights["mean"] - x.mean(axis=0)).max() < 0.1
