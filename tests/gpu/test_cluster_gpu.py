"""Real runs with workers on a GPU: alone, two on one, with one on the CPU, over memory and over TCP."""

from pathlib import Path
from typing import Any

import pytest

from paramserver import LocalCluster
from ps_common.arrays import cupy

pytestmark = pytest.mark.skipif(cupy() is None, reason="no CUDA device")

JOB = """
import numpy as np
from paramserver import Job, Plan, data, nn

x = np.random.default_rng(3).standard_normal((480, 12)).astype(np.float32)
source = data.arrays(x, x[:, :3].argmax(axis=1))
job = Job(
    model=nn.Sequential(nn.Dense(12, 600), nn.ReLU(), nn.Dense(600, 600), nn.ReLU(), nn.Dense(600, 3)),
    loss=nn.SoftmaxCrossEntropy(), optimizer=nn.Momentum(0.05), metrics=[nn.Accuracy()],
    train=source, test=source, plan=Plan(shards=4, batch_size=12, local_steps=2, epochs=6), seed=5,
)
"""
MEMORY_BYTES = 64 * 2**20  # that somebody else may take on the device meanwhile


def run(folder: Path, devices: list[str], *flags: str) -> dict[str, Any]:
    path = folder / "job.py"
    path.write_text(JOB)
    with LocalCluster(path, len(devices), devices=devices, server_flags=flags) as cluster:
        record = cluster.wait(150)
        assert [child.process.wait(30) for child in cluster.workers] == [0] * len(devices)
        for number, device in enumerate(devices):
            assert f"computing on {device}" in cluster.worker_log(number)
            assert "not pinned" not in cluster.worker_log(number)
    assert {worker["device"] for worker in record["workers"]} == set(devices)
    return record


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same run on the CPU."""
    return run(tmp_path_factory.mktemp("cpu"), ["cpu"])


@pytest.mark.parametrize("transport", ["shm", "tcp"])
@pytest.mark.parametrize(
    "devices", [["cuda:0"], ["cuda:0", "cuda:0"], ["cpu", "cuda:0"]], ids=["one", "two on one", "mixed"]
)
def test_a_run_comes_to_what_the_cpu_comes_to(
    tmp_path: Path, expected: dict[str, Any], devices: list[str], transport: str
) -> None:
    record = run(tmp_path, devices, "--transport", transport)
    assert record["samples"] == expected["samples"]
    assert record["metrics"]["accuracy"] == pytest.approx(expected["metrics"]["accuracy"], abs=0.02)
    assert record["metrics"]["loss"] == pytest.approx(expected["metrics"]["loss"], rel=0.05)


def test_averaging_servers_take_weights_from_a_gpu(tmp_path: Path, expected: dict[str, Any]) -> None:
    record = run(tmp_path, ["cuda:0", "cuda:0"], "--transport", "tcp", "--servers", "2")
    assert record["metrics"]["loss"] == pytest.approx(expected["metrics"]["loss"], rel=0.05)


def test_workers_leave_no_memory_taken_on_the_device(tmp_path: Path) -> None:
    module = cupy()
    assert module is not None
    before = module.cuda.runtime.memGetInfo()[0]
    run(tmp_path, ["cuda:0", "cuda:0"])
    assert module.cuda.runtime.memGetInfo()[0] > before - MEMORY_BYTES
