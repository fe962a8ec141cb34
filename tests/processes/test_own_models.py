"""Models that train themselves, a PyTorch module among them, keep the promises that layers keep."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import threadpoolctl
import torch

from paramserver.settings import Settings
from processes import jobs
from processes.world import World, events
from ps_common.loader import load_job
from ps_common.memory import Memory
from ps_worker.computing import limit_torch
from ps_worker.own_replica import OwnReplica
from ps_worker.replica import Watch
from simulation.cluster import Cluster
from simulation.jobs import Case

# With a momentum, running statistics and dropout: each would change with who computed what.
TORCH = (
    jobs.GATE
    + """
import numpy as np
import torch
from paramserver import Job, Plan, data
from paramserver.torch import Replica


class Gate(torch.nn.Module):
    def forward(self, x):
        wait_at_gate(self)
        return x


rng = np.random.default_rng(3)
x = rng.standard_normal((240, 1, 6, 6)).astype("float32")
y = x.reshape(240, 36)[:, :3].argmax(axis=1)
torch.manual_seed(1)
module = torch.nn.Sequential(
    torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), Gate(), torch.nn.Flatten(),
    torch.nn.Dropout(0.2), torch.nn.Linear(64, 3),
)
optimizer = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)
job = Job(
    model=Replica(module, optimizer, torch.nn.CrossEntropyLoss()),
    train=data.arrays(x, y), test=data.arrays(x[:60], y[:60]),
    plan=Plan(shards=6, batch_size=8, local_steps=2, epochs=3), seed=1,
)
"""
)


def alone(path: Path) -> tuple[str, dict[str, Any]]:
    """Digest and last figures of a run with one worker, master and all, in this thread."""
    loaded = load_job(str(path), {})
    job, threads = loaded.job, torch.get_num_threads()

    def replica(description: Any, memory: Memory | None = None) -> OwnReplica:
        return OwnReplica(description, job.model, Watch(), memory)

    cluster = Cluster(
        1,
        Case(loaded.describe(), {"train": job.train, "test": job.test}, replica),
        Settings(),
        is_thorough=False,
    )
    cluster.start_master()
    cluster.start_worker()
    limit_torch(1)
    with threadpoolctl.threadpool_limits(1):
        cluster.run()
    torch.set_num_threads(threads)
    master = cluster.masters[-1].machine
    assert master.canonical.layout is not None
    assert master.canonical.vector is not None
    return master.canonical.layout.weights_sha256(master.canonical.vector), master.progress.history[-1]


@pytest.mark.timeout(600)
def test_a_pytorch_job_has_the_same_bits_with_one_worker_and_with_two_of_which_one_is_killed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(world.folder / "inductor"))  # made by importing PyTorch
    out = world.folder / "model.safetensors"
    digest, figures = alone(world.job(TORCH))
    world.hold()
    with world.cluster(TORCH, flags=("--out", out)) as cluster:
        number = world.held(cluster, 120)  # three processes import PyTorch first
        killed = cluster.workers[number].process.pid
        cluster.kill_worker(number)
        cluster.wait_for(f"is lost: its process {killed} has ended")
        world.release()
        record = cluster.wait(120)
    # Who imports PyTorch on a busy machine may be silent for too long, and join again.
    assert len([event for event in events(record, "loss") if "has ended" in event["text"]]) == 1
    assert record["weights_sha256"] == digest
    assert record["history"][-1]["loss"] == figures["loss"]
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), *[torch.nn.Identity()] * 4, torch.nn.Linear(64, 3)
    )
    module.load_state_dict(safetensors.torch.load_file(out))  # the file is PyTorch's own, by its names
    assert module[1].num_batches_tracked == 3 * 5  # 240 samples in 6 shards are 5 batches each an epoch
