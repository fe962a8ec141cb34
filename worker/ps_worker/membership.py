"""A loop of the user's own as a worker of a run: what keeps it there, its units, and how it ends.

It is a worker like any other, the same machine behind the same loop, in a thread of its own, but that the
user's thread is its computing side. All of `Membership` is for that thread. Which samples a unit is of, and
what the arrays are for, is not known here.
"""

import os
import threading
import time
from typing import Any

from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.errors import (
    DataError,
    JobCodeError,
    JobMismatch,
    LayoutMismatch,
    MasterUnreachable,
    NotAuthorised,
    ParamserverError,
    ProtocolMismatch,
    TimedOut,
    UsageError,
)
from ps_common.job import Description
from ps_common.layout import Layout
from ps_common.memory import Memory
from ps_worker.bridge import Bridge, Ended
from ps_worker.brought import Brought
from ps_worker.effects import Compute, Contribution, Failure, Prepare, Prepared
from ps_worker.loop import Loop, Working

CLOSE_S = 5.0  # for the thread to end, beyond what the last contribution may take
_ERRORS = (
    JobCodeError, UsageError, DataError, MasterUnreachable, TimedOut, ProtocolMismatch, NotAuthorised
)  # fmt: skip
_ERROR_OF: dict[int, type[ParamserverError]] = {error.exit_code: error for error in _ERRORS}


class Membership:
    """Joins at once, and waits for the master's welcome: `job` is what it says the run is.

    timeout_s: how long to wait for the next unit. is_over: the run has ended; reason: why. last_version: of
    the weights that it has come to, then.

    Raises `MasterUnreachable`, `TimedOut`, `ProtocolMismatch`, and `JobMismatch` for a master that has a job
    for ps-worker.
    """

    def __init__(self, join: m.Join, working: Working, timeout_s: float) -> None:
        self.is_over, self.reason, self.last_version = False, "closed", -1
        self._working, self._timeout_s = working, timeout_s
        self._layout: Layout | None = None
        self._first: HostArray | None = None  # version 0, if this loop is asked for it
        self._slots: dict[int, HostArray] = {}
        self._process = os.getpid()
        loop = Loop(join, working, self._make_bridge, takes_last=True)
        self._loop: Loop | None = loop
        self._thread = threading.Thread(target=self._run, args=(loop,), name="paramserver", daemon=True)
        self._thread.start()
        try:
            self.job = self._meet()
        except BaseException:
            self.close()
            raise

    def _make_bridge(self, wake: Any, memory: Memory) -> Bridge:
        self._bridge, self._memory = Bridge(wake), memory
        return self._bridge

    def _run(self, loop: Loop) -> None:
        """The loop's thread."""
        left, bug = None, None
        try:
            left = loop.run(catches_signals=False)
        except BaseException as error:
            bug = error
        self._bridge.end(Ended(left, bug, loop.last))

    # -- units ----------------------------------------------------------------------------------------

    @property
    def layout(self) -> Layout | None:
        """Of the arrays, once `begin` has told it."""
        return self._layout

    def begin(self, layout: Layout, first: HostArray) -> None:
        """The arrays are of this layout, and `first` is what they hold."""
        self._layout, self._first = layout, first

    def next(self, brought: Brought) -> Compute | None:
        """Wait for the next unit, and load the weights that it begins with.

        None: the run is over, and what it has come to is loaded. Raises `TimedOut`, and what ended the run.
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            task = self._bridge.wait(max(0.0, deadline - time.monotonic()))
            if task is None:
                raise TimedOut(f"no unit came in {self._timeout_s:g} s; are the other workers still at work?")
            if isinstance(task, Ended):
                self._end(task)
                if task.last is None:
                    raise TimedOut(f"the run is over ({self.reason}), and its last weights did not come")
                self.last_version = task.last.version
                brought.copy_from(task.last.weights)
                return None
            if isinstance(task, Prepare):
                self._prepare(task)
            elif task.lease.kind == "initialise":
                self._initialise(task)
            elif self.load(task, brought):
                return task

    def load(self, unit: Compute, brought: Brought) -> bool:
        """Write the weights that a unit begins with to the arrays; False where it was cancelled meanwhile."""
        source = self._slot(unit.lease.slot) if unit.base is None else unit.base
        brought.copy_from(source)
        if not self._bridge.watch.is_cancelled:
            return True
        self._bridge.drop()  # what was copied may be half of another version
        return False

    def note_step(self) -> None:
        """The unit in hand goes on."""
        self._bridge.watch.step += 1

    def contribute(
        self, unit: Compute, brought: Brought, samples: int, sums: dict[str, list[float]], spent_s: float
    ) -> None:
        """The arrays are what became of the unit in hand, or of none if it is somebody else's by now."""
        if self._bridge.watch.is_cancelled:
            self._bridge.drop()
            return
        vector = self._slot(unit.lease.slot)
        brought.copy_to(vector)
        self._answer(unit, vector, samples, sums, spent_s)

    def _initialise(self, task: Compute) -> None:
        began = time.monotonic()
        vector = self._slot(task.lease.slot)
        vector[...] = self._first
        self._answer(task, vector, 0, {}, time.monotonic() - began, self._known_layout.to_plain())

    def _answer(
        self, unit: Compute, vector: HostArray, samples: int, sums: dict[str, list[float]], spent_s: float,
        layout: m.Plain = None,
    ) -> None:  # fmt: skip
        descriptor = self._memory.descriptor(vector)
        spare = unit.base if unit.may_take else None
        self._bridge.answer(Contribution(samples, sums, spent_s, vector, layout, descriptor, spare))

    def _slot(self, number: int) -> HostArray:
        """The vector that a contribution is to lie in."""
        if number not in self._slots:
            self._slots[number] = self._memory.allocate(self._known_layout.nbytes)
        return self._slots[number]

    @property
    def _known_layout(self) -> Layout:
        if self._layout is None:
            raise AssertionError("a unit came before there were arrays")
        return self._layout

    # -- who the master is ----------------------------------------------------------------------------

    def _meet(self) -> Description:
        """Wait for the master's welcome."""
        task = self._bridge.wait(self._working.master_timeout_s + self._timeout_s)
        if isinstance(task, Ended):
            self._end(task)
            raise MasterUnreachable(f"the run at {self._working.master} is over: {self.reason}")
        if not isinstance(task, Prepare):
            raise TimedOut(f"no welcome from {self._working.master}")
        if task.job.own_loop is None:
            self._refuse(JobMismatch(f"{self._working.master} serves a job; start ps-worker for it"))
        return task.job

    def _prepare(self, task: Prepare) -> None:
        """The master is met, perhaps anew: hold its layout against that of the arrays."""
        layout = self._known_layout
        if task.job.digest != self.job.digest:
            self._refuse(
                JobMismatch(f"the master at {self._working.master} has another run now; connect again")
            )
        if task.layout is not None:
            try:
                task.layout.require(layout, "this loop")
            except LayoutMismatch as error:
                self._refuse(error)
        self._bridge.answer(Prepared(layout, task.job.digest))

    def _refuse(self, error: ParamserverError) -> None:
        """Leave for a reason, which the master is told."""
        self._bridge.answer(Failure(str(error), "", error.exit_code))
        raise error

    # -- the end --------------------------------------------------------------------------------------

    def require_here(self) -> None:
        """Raise `UsageError` in a process that was forked from the one that joined: no thread is there."""
        if os.getpid() != self._process:
            raise UsageError(
                f"this connection is of process {self._process}, from which process {os.getpid()} was "
                "forked: connect in each process by itself"
            )

    def require_running(self) -> None:
        if self.is_over:
            raise UsageError(f"the run is over ({self.reason}): end the loop when is_over is true")

    def close(self) -> None:
        """Leave. The unit in hand is somebody else's; a contribution on its way arrives first."""
        loop, self._loop = self._loop, None
        if loop is not None and os.getpid() == self._process:
            loop.give_up()
            self._thread.join(self._working.shutdown_timeout_s + CLOSE_S)
        self.is_over, self._first = True, None
        self._slots.clear()  # memory that is shared lives as long as it is known to somebody

    def _end(self, ended: Ended) -> None:
        """The loop has ended: in order, or raise why not."""
        self.is_over = True
        if ended.bug is not None or ended.exit is None:
            raise ParamserverError(f"the connection broke: {ended.bug!r}") from ended.bug
        self.reason = ended.exit.reason
        if ended.exit.exit_code:
            raise _ERROR_OF.get(ended.exit.exit_code, ParamserverError)(self.reason)
