"""A connection to a master for a training loop of the user's own.

What the user calls, in the order it may be called, and what a unit's samples must be. How this process takes
part in the run is the membership's affair.
"""

import math
import operator
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ps_common import address
from ps_common import messages as m
from ps_common.arrays import Device
from ps_common.errors import UsageError
from ps_common.figures import sums_of
from ps_common.keys import worker_key
from ps_common.plan import Plan
from ps_common.seeds import Purpose, generator
from ps_worker import train_sets
from ps_worker.batches import rows_of_unit, schedule_of
from ps_worker.brought import Brought, like
from ps_worker.effects import Compute
from ps_worker.loop import Working, libraries
from ps_worker.membership import Membership

SAMPLES_MAX = 2**31  # of a push


def connect(
    master: str = "tcp://127.0.0.1:5555",
    *,
    key: str | Path | None = None,
    name: str = "loop",
    timeout_s: float = 600.0,
    master_timeout_s: float = 120.0,
    shutdown_timeout_s: float = 30.0,
    is_quiet: bool = False,
) -> "Connection":
    """Join the run of a master that serves loops of their own (`ps-server own`).

    key: this loop's key file, where the run has keys; its name then counts.
    timeout_s: how long `init`, `pull` and `push_pull` wait for the next unit, which may be for other workers.
    master_timeout_s: silence of the master after which it counts as lost. shutdown_timeout_s: how long
    `close` may take for a contribution on its way. Raises `MasterUnreachable`, `TimedOut`, `UsageError`,
    `NotAuthorised` where the master does not let it in, and `JobMismatch` for a master that has a job for
    ps-worker.

        with paramserver.connect("tcp://master:5555") as server:
            server.init(weights)
            for batch in server.batches((x, y), 64):
                train(weights, batch)
                if server.is_due:
                    server.push_pull(weights)
    """
    parts = address.split(master)
    if parts is None or parts[1] == 0:
        raise UsageError(f"a master's address looks like tcp://host:5555, not {master!r}")
    if not isinstance(name, str) or len(name) > m.NAME_MAX:
        raise UsageError(f"a loop's name is a text of at most {m.NAME_MAX} characters, not {name!r:.80}")
    seconds = {
        "timeout_s": timeout_s, "master_timeout_s": master_timeout_s, "shutdown_timeout_s": shutdown_timeout_s
    }  # fmt: skip
    for what, value in seconds.items():
        if not (isinstance(value, int | float) and 0 < value < math.inf):
            raise UsageError(f"{what} must be a number of seconds above 0, not {value!r}")
    bundle = worker_key(key)
    working = Working(
        master,
        Device(),
        master_timeout_s=master_timeout_s,
        shutdown_timeout_s=shutdown_timeout_s,
        is_quiet=is_quiet,
        key=bundle,
    )
    join = m.Join(
        protocol=m.PROTOCOL,
        name=name if bundle is None else bundle.name,
        host=socket.gethostname(),
        pid=os.getpid(),
        device="own loop",
        job_code="",
        libraries=libraries(),
    )
    return Connection(join, working, timeout_s)


class Connection:
    """A worker's side of a run, for the thread that made it. Leave it with `close`, or use it in a `with`.

    round, shard, version: of the unit in hand, and of the weights it began with. is_over: the run has ended;
    the arrays hold what it has come to. is_due: `batches` has handed out all of the unit. rng: a random
    stream of the unit's own, the same whoever computes it.
    """

    def __init__(self, join: m.Join, working: Working, timeout_s: float) -> None:
        self.round = self.shard = 0
        self.version = -1
        self.is_due = False
        self.rng = np.random.default_rng(0)
        self._unit: Compute | None = None
        self._began = 0.0  # the unit
        self._beginnings = 0  # of units, and of units anew
        self._handed = 0  # samples of it, by `batches`
        self._held: Any = None  # how the arrays were held
        self._membership = Membership(join, working, timeout_s)
        self._job = self._membership.job

    # -- what the run is ------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        return self._job.plan

    @property
    def seed(self) -> int:
        return self._job.seed

    @property
    def shards(self) -> int:
        """How many units a round has."""
        return self._job.schedule.shards.count

    @property
    def is_over(self) -> bool:
        return self._membership.is_over

    # -- weights --------------------------------------------------------------------------------------

    def init(self, arrays: Any) -> None:
        """Begin with these arrays: version 0 in a new run; else they take the weights the run has.

        arrays: float16, float32 or float64, one, a list or a dict of them, of any library with DLPack, to be
        changed in place. Waits for the first unit. Raises `LayoutMismatch` where the run has other names,
        shapes or dtypes, and `DataError` for NaN or infinity.
        """
        self._membership.require_here()
        if self._membership.layout is not None:
            raise UsageError("init was called before; a connection has one set of arrays")
        self._membership.require_running()
        brought = Brought(arrays)
        brought.require_writable()
        brought.require_finite()
        first = brought.layout.empty()
        brought.copy_to(first)
        self._membership.begin(brought.layout, first)
        self._held = arrays
        self._next(brought)

    def push(
        self, arrays: Any, samples: int | None = None, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Hand in the unit in hand: these weights, made from so many samples. They may be changed at once.

        samples: their weight in the average; None: what `batches` has handed out, or what the plan says.
        metrics: means over these samples, for the run's record. Raises `UsageError` where there is no unit in
        hand or the samples are not the unit's, `LayoutMismatch`, and `DataError` for NaN or infinity.
        """
        self._membership.require_here()
        unit, layout = self._unit, self._membership.layout
        if unit is None or layout is None:
            self._membership.require_running()
            raise UsageError("there is no unit in hand: call init first, and pull after each push")
        count = self._samples(unit, samples)
        sums = sums_of(metrics or {}, count)
        brought = Brought(arrays)
        layout.require(brought.layout, "this push")
        brought.require_finite()  # before any of it lies where the unit's weights may be loaded from again
        self._membership.contribute(unit, brought, count, sums, time.monotonic() - self._began)
        self._unit, self.is_due = None, False

    def pull(self, arrays: Any = None) -> Any:
        """Take the weights that the next unit begins with into these arrays, or into new NumPy ones.

        Waits for that unit. With a unit in hand, that one begins anew. At the end of the run it takes what
        the run has come to, and `is_over` is true. Returns the arrays. Raises `UsageError` where `init` was
        not called or arrays cannot be changed, `TimedOut`, `MasterUnreachable`, and what has ended the run.
        """
        self._membership.require_here()
        layout = self._membership.layout
        if layout is None:
            raise UsageError("there are no arrays yet: call init first")
        self._membership.require_running()
        made = like(self._held, layout, layout.empty()) if arrays is None else arrays
        brought = Brought(made)
        brought.require_writable()
        layout.require(brought.layout, "this pull")
        if self._unit is not None and self._membership.load(self._unit, brought):
            self._take(self._unit)
        else:
            self._next(brought)
        return made

    def push_pull(
        self, arrays: Any, samples: int | None = None, metrics: Mapping[str, float] | None = None
    ) -> None:
        """`push`, then `pull` into the same arrays."""
        Brought(arrays).require_writable()
        self.push(arrays, samples, metrics)
        self.pull(arrays)

    # -- data -----------------------------------------------------------------------------------------

    def batches(self, train_set: Any, batch_size: int | None = None) -> Iterator[Any]:
        """The batches of one unit after the other, until the run is over.

        train_set: an array or anything else that takes arrays of row numbers, a tuple or dict of such, a
            source of `paramserver.data`; or a number of samples, for batches of row numbers.
        batch_size: samples of a batch; None: the plan's.

        A unit has the plan's `local_steps` batches, at the end of an epoch perhaps fewer and a smaller one.
        With the last of them `is_due` is true, and `push_pull` is to be called before the next is asked for;
        otherwise it raises `UsageError`. So each sample is in the average once an epoch, whoever is killed.
        Where the master does not know the samples, a push before that leaves out the rest of the unit.
        """
        schedule = schedule_of(self._job, train_sets.count(train_set), batch_size)
        while not self.is_over:
            beginning = self._beginnings
            if self._unit is None:
                raise UsageError("there is no unit in hand: call init first, and pull after each push")
            coming = list(rows_of_unit(self._job, schedule, self.round, self.shard))
            for i, rows in enumerate(coming):
                self._handed += len(rows)
                self._membership.note_step()
                self.is_due = i + 1 == len(coming)
                yield train_sets.read(train_set, rows)
                if self._unit is None or self._beginnings != beginning:
                    break
            if self._unit is not None and self._beginnings == beginning and not self.is_over:
                raise UsageError(
                    f"round {self.round}, shard {self.shard} has {len(coming)} batches, and they are all "
                    "handed out: call push_pull when is_due is true"
                )

    # -- the end --------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the run. The unit in hand is somebody else's; a contribution on its way arrives first."""
        self._membership.close()
        self._unit = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the unit in hand -----------------------------------------------------------------------------

    def _next(self, brought: Brought) -> None:
        """Wait for the next unit, or for the end, and load the weights of it."""
        self._unit = None
        unit = self._membership.next(brought)
        if unit is None:
            self.version = self._membership.last_version
        else:
            self._began = time.monotonic()
            self._take(unit)

    def _take(self, unit: Compute) -> None:
        """A unit begins, or begins anew."""
        lease = unit.lease
        self._unit, self._handed, self.is_due = unit, 0, False
        self._beginnings += 1
        self.round, self.shard, self.version = lease.round, lease.shard, lease.version
        self.rng = generator(self.seed, Purpose.TRAIN, lease.round, lease.shard)

    def _samples(self, unit: Compute, given: int | None) -> int:
        """The samples of a push. Raises `UsageError` where they cannot be those of the unit."""
        if not self._job.has_open_samples:
            expected = self._job.schedule.samples(unit.lease.round, unit.lease.shard)
            if given not in (None, expected) or self._handed not in (0, expected):
                raise UsageError(
                    f"round {self.round}, shard {self.shard} has {expected} samples, not "
                    f"{self._handed if given is None else given}: push when is_due is true"
                )
            return expected
        try:
            count = self._handed if given is None else operator.index(given)
        except TypeError:
            count = 0
        if isinstance(given, bool) or not 1 <= count <= SAMPLES_MAX:
            said = self._handed if given is None else given
            raise UsageError(f"a push is of 1 to {SAMPLES_MAX} samples, not {said!r}; say samples=...")
        return count
