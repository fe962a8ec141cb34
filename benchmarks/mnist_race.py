"""Time to a test accuracy of 0.97 on full MNIST, beside PyTorch's DDP over gloo.

Everyone has the same 784-100-10 network with Glorot's first weights, two workers, batches of 64 each, one
thread, Nesterov's momentum of 0.9 and one learning rate, and evaluates after each epoch. The clock runs from
the moment when all workers are ready until the evaluation that shows 0.97 is done. Starting processes is not
in it; of ours, sending the workers their data is. DDP averages gradients after each step; ours averages
weights after `local_steps` steps, 1 being the like of DDP.
"""

import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import HERE, MissingError, Setting, free_port, last_line, run_all, summary

from paramserver import LocalCluster, datasets
from paramserver.cluster import ClusterError

GOAL = 0.97
WORKERS, BATCH, RATE, EPOCHS = 2, 64, 0.1, 8
LOCAL_STEPS = (1, 8, 32)
SEEDS = (1, 2, 3, 4, 5)
LIMIT_S = 240.0

Epochs = list[tuple[float, float]]  # seconds since the start, test accuracy


def measure(setting: Setting) -> dict[str, Any]:
    """Interleaved: each seed is raced by everyone before the next."""
    races: dict[str, list[Epochs]] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="mnist-") as folder:
        path = Path(folder) / "mnist.npz"
        _write_arrays(path)
        for seed in SEEDS[:1] if setting.quick else SEEDS:
            setting.say(f"mnist: seed {seed}")
            for name, race in _contestants(setting, path, seed):
                try:
                    races.setdefault(name, []).append(race())
                except (MissingError, ClusterError) as error:
                    missing[name] = last_line(str(error))
    entries = [{"contestant": name, **_entry(all_epochs)} for name, all_epochs in races.items()]
    same = {"workers": WORKERS, "batch": BATCH, "rate": RATE, "goal": GOAL}
    return {"entries": entries, "missing": missing, "settings": same}


def _contestants(setting: Setting, path: Path, seed: int) -> Iterator[tuple[str, Any]]:
    for steps in LOCAL_STEPS:
        yield f"ours, averaged every {steps} steps", lambda steps=steps: ours(steps, seed)
    yield "PyTorch DDP, gloo", lambda: ddp(setting.peers, path, seed)


def ours(local_steps: int, seed: int) -> Epochs:
    flags = [f"--set=local_steps={local_steps}", f"--set=workers={WORKERS}", f"--set=batch={BATCH}"]
    flags += [f"--set=rate={RATE}", f"--set=limit={EPOCHS}", f"--seed={seed}", "--log-format=json"]
    with LocalCluster(HERE / "jobs" / "mnist.py", WORKERS, server_flags=flags) as cluster:
        cluster.wait(LIMIT_S)
        lines = [json.loads(line) for line in cluster.master_log().splitlines() if line.startswith("{")]
    start = next(line["at"] for line in lines if line["event"] == "start")
    return [(line["at"] - start, line["accuracy"]) for line in lines if line["event"] == "epoch"]


def ddp(peers: str, path: Path, seed: int) -> Epochs:
    port, script = str(free_port()), str(HERE / "peers" / "ddp.py")
    after = [port, str(path), str(BATCH), str(RATE), str(EPOCHS), str(seed)]
    outputs = run_all([[peers, script, str(r), str(WORKERS), *after] for r in range(WORKERS)], LIMIT_S)
    return [tuple(pair) for pair in outputs[0][0]["epochs"]]


def _write_arrays(path: Path) -> None:
    digits = datasets.load("mnist")
    (x, y), (test_x, test_y) = (each.read(slice(0, each.samples)) for each in (digits.train, digits.test))
    np.savez(path, x=x, y=y, test_x=test_x, test_y=test_y)


def _entry(races: list[Epochs]) -> dict[str, Any]:
    reached = [next((at for at, accuracy in epochs if accuracy >= GOAL), None) for epochs in races]
    needed = [next((i + 1 for i, e in enumerate(epochs) if e[1] >= GOAL), None) for epochs in races]
    seconds = [at for at in reached if at is not None]
    return {
        "seconds": summary(seconds) if seconds else None,
        "reached": len(seconds),
        "races": len(races),
        "epochs": [count for count in needed if count is not None],
        "epoch_seconds": statistics.median(epochs[-1][0] / len(epochs) for epochs in races),
        "last_accuracy": statistics.median(epochs[-1][1] for epochs in races),
    }
