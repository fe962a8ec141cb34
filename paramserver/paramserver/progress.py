"""How far a run is: versions, epochs, metric sums, and which stage comes next. Arithmetic only."""

import dataclasses
from typing import Any

from paramserver.leases import Stage, add_sums
from ps_common.figures import figure
from ps_common.job import Description


@dataclasses.dataclass
class Progress:
    """Where a run stands. Everything here is in a checkpoint.

    version: rounds averaged so far; -1 before the weights are initialised.
    sums: metric sums of the training units of the epoch in progress.
    history: one entry an epoch that is complete: `epoch`, `loss`, metrics, `samples`.
    done: by shard, its units of the epoch in progress that are averaged; empty: all there were in the rounds
        since it began.
    """

    version: int = -1
    samples: int = 0
    sums: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    done: list[int] = dataclasses.field(default_factory=list)

    def next_stage(self, job: Description) -> Stage | None:
        """The stage that follows from where the run stands; None when it is finished."""
        if self.version < 0:
            return Stage("initialise", 0, (0,))
        if self._evaluation_is_due(job) and job.test_shards is not None:
            return Stage("evaluate", self.version, range(job.test_shards.count))
        if len(self.history) >= job.plan.epochs:
            return None
        schedule, first = job.schedule, len(self.history) * job.schedule.rounds_per_epoch
        done = self._done(job)
        rounds = {s: first + n for s, n in enumerate(done) if n < schedule.rounds_of(s)}
        return Stage("train", self.version, tuple(rounds), rounds)

    def _done(self, job: Description) -> list[int]:
        schedule = job.schedule
        since = self.version - len(self.history) * schedule.rounds_per_epoch
        shards = range(schedule.shards.count)
        return list(self.done) or [min(since, schedule.rounds_of(s)) for s in shards]

    def close(self, stage: Stage, job: Description) -> dict[str, Any] | None:
        """Count a stage that is done. Returns the history entry of the epoch that it completed, if it did."""
        if stage.kind == "initialise":
            self.version = 0
            return None
        if stage.kind == "evaluate":
            self.history[-1] |= _values(stage.total(), job) | {"evaluated": True}
            return self.history[-1]
        add_sums(self.sums, stage.total())
        self.done = self._done(job)
        for shard, unit in stage.units.items():
            self.samples += stage.samples.get(shard, job.schedule.samples(unit.round, shard))
            self.done[shard] += 1
        self.version = stage.version + 1
        if any(n < job.schedule.rounds_of(shard) for shard, n in enumerate(self.done)):
            return None
        self.done = [0] * len(self.done)
        return self._close_epoch(job)

    def _close_epoch(self, job: Description) -> dict[str, Any] | None:
        values = _values(self.sums, job)
        if job.test is not None:
            values = {"train_loss": values["loss"]} if "loss" in values else {}
        entry = {"epoch": len(self.history) + 1, "samples": self.samples, **values}
        self.sums = {}
        self.history.append(entry)
        return None if self._evaluation_is_due(job) else entry

    def _evaluation_is_due(self, job: Description) -> bool:
        """Whether the last complete epoch is one to evaluate and is not evaluated yet."""
        if job.test is None or not self.history or self.history[-1].get("evaluated"):
            return False
        at_its_end = not any(self._done(job))
        is_last = len(self.history) == job.plan.epochs
        return at_its_end and (is_last or len(self.history) % job.plan.evaluate_every == 0)

    def metrics(self) -> dict[str, float]:
        """The values of the last evaluation."""
        for entry in reversed(self.history):
            values = {k: v for k, v in entry.items() if isinstance(v, float) and k != "train_loss"}
            if values:
                return values
        return {}


def _values(sums: dict[str, list[float]], job: Description) -> dict[str, float]:
    """What the job makes of sums; what counted nothing has no figure."""
    found = {name: figure(job.figures.get(name, "ratio"), totals) for name, totals in sums.items()}
    return {name: value for name, value in found.items() if value is not None}


def epoch_text(entry: dict[str, object], epochs: int) -> str:
    values = "  ".join(f"{name} {value:.4f}" for name, value in entry.items() if isinstance(value, float))
    return f"epoch {entry['epoch']} of {epochs}: {values}"
