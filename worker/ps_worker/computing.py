"""The computing side of a worker: a thread that prepares the replica and computes one unit after another.

It is apart from the loop so that heartbeats go on during a long step. The loop hands it an effect and
gets an outcome back through a queue and a wake-up; whatever the user's job raises becomes a `Failure`.
"""

import dataclasses
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import threadpoolctl

from ps_common.arrays import Device
from ps_common.data import Source, open_source
from ps_common.errors import DataError, JobMismatch, ParamserverError, UsageError
from ps_common.job import DataDescription, Description
from ps_common.loader import load_job
from ps_common.memory import Heap, Memory
from ps_worker.effects import Compute, Failure, Outcome, Prepare, Prepared
from ps_worker.own_replica import OwnReplica
from ps_worker.read_ahead import FileRowsAhead
from ps_worker.replica import Parts, Replica, Watch
from ps_worker.replicas import parts_of, replica_of
from ps_worker.rows import HeldRows, ShardRows


class Computing:
    """Computes in a thread of its own.

    job_target: the job's file, for jobs with code of the user's own. threads: BLAS threads instead of the
    plan's. wake: called from the thread when an outcome is ready to be taken. memory: where weights lie.
    """

    def __init__(
        self,
        device: Device,
        job_target: str | None,
        threads: int | None,
        wake: Callable[[], None],
        memory: Memory | None = None,
    ) -> None:
        self.watch = Watch()
        self._device = device
        self._job_target = job_target
        self._threads = threads
        self._wake = wake
        self._memory: Memory = memory or Heap()
        self._tasks: queue.SimpleQueue[Prepare | Compute | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._replica: Replica | OwnReplica | None = None
        self._sources: dict[str, Source] = {}
        self._checked: set[tuple[str, int]] = set()
        self._limits: threadpoolctl.threadpool_limits | None = None
        self._thread = threading.Thread(target=self._run, name="computing", daemon=True)
        self._thread.start()

    def begin(self, task: Prepare | Compute) -> None:
        self.watch.step, self.watch.is_cancelled = 0, False
        self._tasks.put(task)

    def cancel(self) -> None:
        self.watch.is_cancelled = True

    def take(self) -> list[Outcome]:
        """The outcomes that are ready."""
        outcomes = []
        while not self._outcomes.empty():
            outcomes.append(self._outcomes.get())
        return outcomes

    def close(self, timeout_s: float) -> bool:
        """End the thread; False if what it computes does not come back in time."""
        self.cancel()
        self._tasks.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                outcome: Outcome = (
                    self._prepare(task.job) if isinstance(task, Prepare) else self._compute(task)
                )
            except BaseException as error:  # a `sys.exit()` in a user's layer too: the thread must go on
                outcome = _failure(error)
            self._outcomes.put(outcome)
            self._wake()
        self._replica = None
        self._limit_threads(None)
        self._device.release()

    def _limit_threads(self, threads: int | None) -> None:
        """Limit BLAS, in place of the limit before; None: as it was at first."""
        if self._limits is not None:
            self._limits.restore_original_limits()
        self._limits = None if threads is None else threadpoolctl.threadpool_limits(threads)
        if threads is not None:
            limit_torch(threads)

    def _prepare(self, job: Description) -> Prepared:
        self._device.use()
        self._limit_threads(self._threads or job.plan.threads)
        parts = self._parts(job)
        self._limit_threads(self._threads or job.plan.threads)  # of what the job's file has imported, too
        if self._replica is not None:
            self._replica.settle()
        self._replica = replica_of(job, parts, self._device, self.watch, self._memory)
        self._sources.clear()
        self._checked.clear()
        return Prepared(self._replica.layout, job.digest)

    def _parts(self, job: Description) -> Parts:
        if job.own_loop is not None:
            raise UsageError(
                "this master serves loops of the users' own: start a script that calls paramserver.connect, "
                "not ps-worker"
            )
        if not job.needs_code:
            return Parts.of(job)
        if self._job_target is None:
            raise UsageError("this job holds classes of its own; start the worker with --job FILE")
        loaded = load_job(self._job_target, job.overrides)
        if loaded.describe().digest != job.digest:
            raise JobMismatch(f"{self._job_target} is not the master's job; start both from the same file")
        return parts_of(loaded.job)

    def _compute(self, task: Compute) -> Outcome:
        replica, lease = self._replica, task.lease
        if replica is None:
            raise AssertionError("a unit came before the job")
        spare = replica.use(lease.slot, task.base if task.may_take else None)
        if lease.kind == "initialise":
            return replica.initialise()
        if task.base is None and not lease.is_here:
            raise AssertionError(f"{lease.kind} came without weights")
        split = "test" if lease.kind == "evaluate" else "train"
        rows = (
            HeldRows(task.rows) if task.rows is not None else self._file_rows(replica.job, split, lease.shard)
        )
        if (split, lease.shard) not in self._checked:
            replica.check(split, lease.shard, rows)
            self._checked.add((split, lease.shard))
        if lease.kind == "evaluate":
            return replica.evaluate(task.base, rows, lease.shard)
        base = None if task.may_take else task.base
        return dataclasses.replace(replica.train(base, rows, lease.round, lease.shard), spare=spare)

    def _file_rows(self, job: Description, split: str, shard: int) -> ShardRows:
        """A shard in the files of this machine, opened and compared with the master's when first met."""
        data, shards = job.split(split)
        if split not in self._sources:
            self._sources[split] = _open(data, split)
        return FileRowsAhead(self._sources[split], shards, shard)


def limit_torch(threads: int) -> None:
    """The same of PyTorch, where the job's file has imported it, and no algorithms that depend on chance.

    It has threads of its own, and their number changes bits there as well.
    """
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def _open(data: DataDescription, split: str) -> Source:
    source = open_source(data.source)
    here, masters = source.fingerprint(), data.fingerprint
    if here != masters:
        raise DataError(
            f"the {split} data here is not the master's: {source!r} has fingerprint {here[:12]}, the "
            f"master's is {masters[:12]}; copy the same files, or set the plan's data=\"stream\""
        )
    return source


def _failure(error: BaseException) -> Failure:
    code = error.exit_code if isinstance(error, ParamserverError) else 1
    said = traceback.TracebackException.from_exception(error)
    try:
        what = f"{type(error).__name__}: {error}"
    except Exception:
        what = f"{type(error).__name__}, which cannot say what it is"
    return Failure(_sendable(what), _sendable("".join(said.format())), code)


def _sendable(text: str) -> str:
    """Text that UTF-8 can hold: names of files may have bytes in them that are none."""
    return text.encode("utf-8", "backslashreplace").decode()
