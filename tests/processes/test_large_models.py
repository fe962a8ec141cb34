"""Models at the edges: more than 2 GiB in one vector, and a hundred thousand tensors."""

import numpy as np
import psutil
import pytest
from safetensors import safe_open

from ps_common import weights_file

STOPWATCH = """
import dataclasses
import numpy as np
from paramserver import Job, Plan, data, nn

@dataclasses.dataclass(frozen=True)
class Ones(nn.Layer):
    "Tensors of ones; of the first and the last, one element is trained."
    tensors: int
    size: int
    def parameters(self, inputs):
        return {f"w{i}": nn.Parameter((self.size,), "ones") for i in range(self.tensors)}
    def forward(self, x, p, context):
        return x + p["w0"][0] + p[f"w{self.tensors - 1}"][-1], None
    def backward(self, dy, p, g, cache):
        g["w0"][0] = g[f"w{self.tensors - 1}"][-1] = dy.sum()
        return dy

@dataclasses.dataclass(frozen=True)
class EndsOnly(nn.Optimizer):
    "A step of the first and the last weight."
    def step(self, weights, gradient, slots, scratch):
        weights[0] -= 0.1 * gradient[0]
        weights[-1] -= 0.1 * gradient[-1]

x = np.zeros((4, 1), np.float32)
job = Job(
    model=Ones(_TENSORS_, _SIZE_), loss=nn.MSE(), optimizer=EndsOnly(), train=data.arrays(x, x),
    plan=Plan(shards=2, batch_size=1, local_steps=1, epochs=1),
)
"""
LARGE = 540_000_000  # parameters: 2.16 GB


def job(tensors: int, size: int) -> str:
    return STOPWATCH.replace("_TENSORS_", str(tensors)).replace("_SIZE_", str(size))


def trained() -> np.float32:
    """What both ends become: from 1, two steps down a gradient of 2 (w + w), both shards alike."""
    w = np.float32(1)
    for _ in range(2):
        w = w - np.float32(0.1) * (2 * (w + w))
    return w


@pytest.mark.timeout(600)
@pytest.mark.skipif(psutil.virtual_memory().available < 16 * 2**30, reason="needs 16 GiB of free memory")
@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_a_model_of_more_than_2_gib(world, transport):
    out = world.folder / "model.safetensors"
    record = world.record(job(1, LARGE), 1, ("--transport", transport, "--out", out), within_s=300)
    assert (record["parameters"], record["transport"]) == (LARGE, transport)
    with safe_open(out, framework="numpy") as file:
        weights = file.get_slice("w0")
        assert weights[0:1] == pytest.approx(trained())
        assert weights[LARGE - 1 : LARGE] == pytest.approx(trained())
        for start in range(1, LARGE - 1, 2**26):
            assert (weights[start : min(start + 2**26, LARGE - 1)] == 1).all()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "flags", [("--transport", "shm"), ("--transport", "tcp"), ("--transport", "tcp", "--servers", 2)]
)
def test_a_model_of_a_hundred_thousand_tensors(world, flags):
    out = world.folder / "model.safetensors"
    record = world.record(job(100_000, 3), 2, (*flags, "--out", out), within_s=300)
    assert (record["parameters"], record["transport"]) == (300_000, flags[1])
    layout, vector, _ = weights_file.read(out)
    views = layout.views(vector)
    assert len(views) == 100_000
    assert views["w0"].tolist() == pytest.approx([trained(), 1, 1])
    assert views["w99999"].tolist() == pytest.approx([1, 1, trained()])
    assert all((views[f"w{i}"] == 1).all() for i in range(1, 99_999))
