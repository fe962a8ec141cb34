"""Running an example as a user would, with real processes, and loading the model it wrote."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

import paramserver
from paramserver import LocalCluster

EXAMPLES = Path(__file__).parents[1] / "examples"


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a run left: its record, and the model out of its file."""

    record: dict[str, Any]
    model: paramserver.Model

    @property
    def metrics(self) -> dict[str, float]:
        metrics: dict[str, float] = self.record["metrics"]
        return metrics

    def weights(self, name: str) -> np.ndarray[Any, np.dtype[Any]]:
        """The weights called so, as one row of numbers."""
        return np.asarray(self.model.weights[name]).reshape(-1)


def train(example: str, folder: Path, *settings: str, workers: int = 2, timeout_s: float = 60.0) -> Trained:
    """Run an example with `--set` for each of `settings`."""
    out = folder / "model.safetensors"
    flags = [f"--set={setting}" for setting in settings] + ["--out", str(out)]
    with LocalCluster(
        EXAMPLES / f"{example}.py", workers, server_flags=flags, folder=folder / "logs"
    ) as cluster:
        record = cluster.wait(timeout_s)
    return Trained(record, paramserver.load(out))
