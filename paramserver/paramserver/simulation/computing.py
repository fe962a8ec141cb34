"""The computing side of a worker in the simulation: virtual time for a task, then the real computation."""

import dataclasses
import traceback
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from paramserver.simulation.cores import Cores
from paramserver.simulation.world import World
from ps_common.arrays import HostArray
from ps_common.errors import ParamserverError
from ps_common.job import Description
from ps_common.layout import Layout
from ps_common.memory import Memory
from ps_worker.effects import Compute, Contribution, Failure, Outcome, Prepare, Prepared
from ps_worker.rows import HeldRows, ShardRows


class Replica(Protocol):
    """What the computing side computes with: `ps_worker.replica.Replica`, or one that counts."""

    layout: Layout
    vector: Any  # that of the slot in use, flat

    def use(self, slot: int, vector: HostArray | None = None) -> HostArray | None: ...
    def initialise(self) -> Contribution: ...
    def train(self, base: HostArray | None, rows: ShardRows, round_: int, shard: int) -> Contribution: ...
    def evaluate(self, base: HostArray | None, rows: ShardRows, shard: int) -> Contribution: ...


class Unread(ShardRows):
    """A shard of data that workers read by themselves, where nobody reads any."""

    size = sample_bytes = 0

    def take(self, indices: npt.NDArray[np.int64]) -> tuple[HostArray, ...]:
        raise AssertionError("no files are read in a simulation")


class UserError(Exception):
    """What the user's own code raises in a test."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast a worker computes, in virtual seconds."""

    prepare_s: float = 0.1
    step_s: float = 0.01


class Computing:
    """Takes virtual time for a task, and really computes it at the end of that time.

    before: told of each unit just before it is computed; may raise `UserError`. cores: of its host, shared
    with others. busy_s: how long it has computed.
    """

    def __init__(
        self,
        world: World,
        pace: Pace,
        make_replica: Callable[[Description, Memory], Replica],
        memory: Memory,
        before: Callable[[Compute], None],
        wake: Callable[[], None],
        cores: Cores | None = None,
    ) -> None:
        self.busy_s = 0.0
        self.is_hanging = False  # in a step that does not end
        self._world, self.pace, self._make_replica = world, pace, make_replica
        self._before, self._wake, self._memory = before, wake, memory
        self._cores = cores or Cores(world)
        self._job: Description | None = None
        self._replica: Replica | None = None
        self._task: Prepare | Compute | None = None
        self._is_cancelled = False
        self._began_at = 0.0
        self._steps = 0
        self._outcomes: list[Outcome] = []

    def begin(self, task: Prepare | Compute) -> None:
        assert self._task is None, "two tasks at a time"
        self._task, self._is_cancelled, self._began_at = task, False, self._world.now
        self._steps = self._steps_of(task)
        duration = self.pace.prepare_s if isinstance(task, Prepare) else self._steps * self.pace.step_s
        self._cores.begin(duration, lambda: self._finish(task))

    def cancel(self) -> None:
        self._is_cancelled = True
        self._finish_soon()

    @property
    def step(self) -> int:
        """How many steps of the unit are done; of the last one, where nothing is in hand."""
        if self._task is None:
            return self._steps
        if self.is_hanging or isinstance(self._task, Prepare):
            return 0
        return min(self._steps, int((self._world.now - self._began_at) / self.pace.step_s))

    def take(self) -> list[Outcome]:
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def end_hanging(self) -> None:
        self.is_hanging = False
        self._finish_soon()

    def _steps_of(self, task: Prepare | Compute) -> int:
        if isinstance(task, Prepare) or self._job is None or task.lease.kind == "initialise":
            return 1
        if task.lease.kind == "evaluate":
            return 4
        return len(self._job.schedule.steps(task.lease.round, task.lease.shard))

    def _finish_soon(self) -> None:
        task = self._task
        if task is not None:
            self._world.after(self.pace.step_s, lambda: self._finish(task))

    def _finish(self, task: Prepare | Compute) -> None:
        if self._task is not task or self.is_hanging:
            return
        try:
            outcome = self._prepare(task.job) if isinstance(task, Prepare) else self._compute(task)
        except (ParamserverError, UserError) as error:
            text = "".join(traceback.format_exception(error))
            outcome = Failure(f"{type(error).__name__}: {error}", text, getattr(error, "exit_code", 1))
        self._task = None
        self.busy_s += self._world.now - self._began_at
        self._outcomes.append(outcome)
        self._wake()

    def _prepare(self, job: Description) -> Prepared:
        self._job, self._replica = job, self._make_replica(job, self._memory)
        return Prepared(self._replica.layout, job.digest)

    def _compute(self, task: Compute) -> Outcome:
        replica = self._replica
        assert replica is not None, "a unit came before the job"
        spare = replica.use(task.lease.slot, task.base if task.may_take else None)
        if not self._is_cancelled:
            self._before(dataclasses.replace(task, base=replica.vector) if task.lease.is_here else task)
        taken = dataclasses.replace(task, base=None) if task.may_take else task
        outcome = dataclasses.replace(self._unit(replica, taken), spare=spare)
        if self._is_cancelled and outcome.vector is not None:  # half done: bits that must count nowhere
            for run in replica.layout.runs:  # nobody writes between them
                outcome.vector[run.start : run.stop] = 0x42
        return outcome

    def _unit(self, replica: Replica, task: Compute) -> Contribution:
        lease = task.lease
        if lease.kind == "initialise":
            return replica.initialise()
        rows = Unread() if task.rows is None else HeldRows(task.rows)
        if lease.kind == "evaluate":
            return replica.evaluate(task.base, rows, lease.shard)
        return replica.train(task.base, rows, lease.round, lease.shard)
