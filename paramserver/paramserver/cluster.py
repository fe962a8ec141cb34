"""A master and workers as processes of this machine: the harness behind `ps-local`, and of the tests.

    with LocalCluster("mnist_mlp.py", workers=2) as cluster:
        cluster.kill_worker(0)
        record = cluster.wait()

Every process is a child in a process group of its own, so that Ctrl-C reaches this process alone, which
passes one signal on; and every child leaves by itself when this process is gone. With `restarts` a child
that was killed is started again, for as long as this process waits for the run.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from paramserver.children import Child
from paramserver.reserved_port import ReservedPort
from paramserver.shield import Shield
from ps_common import address
from ps_common.errors import ParamserverError, TimedOut
from ps_common.key_folder import KeyFolder
from ps_common.saying import say
from ps_common.signals import ASK_TO_SAVE, ASK_TO_STOP

START_TIMEOUT_S = 60.0  # for the master to load its job and listen
LEAVE_S = 2.0  # for a worker to leave by itself once the master has ended
POLL_S = 0.02


class ClusterError(ParamserverError):
    """The run ended otherwise than by finishing. `exit_code` is the master's."""

    def __init__(self, text: str, exit_code: int, is_shown: bool = False) -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.is_shown = is_shown  # the master has told the user already


class LocalCluster:
    """A master and `workers` worker processes that run `job`.

    job: a Python file with a variable `job`, or `package.module:name`.
    server_flags, worker_flags: further flags of `ps-server` and `ps-worker`.
    devices: of the workers, in turn, e.g. ["cuda:0", "cuda:1"]; none: as `worker_flags` say.
    keys: a folder of keys; what is missing there is made. Workers have the keys local-1, local-2, ...
    folder: for logs and the record; by default a temporary one that goes with the cluster.
    show: let the master write to this process's standard error instead of to a log file.
    restarts: how often the master, and each worker, is started again when a signal killed it that was not
        sent through this cluster. Who ends by itself with an error is not: it would do so again.
    bind: where the master listens; for port 0 one is chosen, which stays its own while it is away.
    expects_others: whether workers come from elsewhere, too, so that it goes on without its own.
    leave_with: the process that started this one, to stop with.
    """

    def __init__(
        self,
        job: str | Path,
        workers: int = 2,
        *,
        server_flags: Sequence[str] = (),
        worker_flags: Sequence[str] = (),
        devices: Sequence[str] = (),
        keys: Path | None = None,
        folder: Path | None = None,
        show: bool = False,
        restarts: int = 0,
        bind: str = "tcp://127.0.0.1:0",
        expects_others: bool = False,
        leave_with: int | None = None,
    ) -> None:
        self.job = str(job)
        self.workers: list[Child] = []
        self.master: Child | None = None
        self.address = self._bind = bind
        self._port: ReservedPort | None = None
        self._expects_others = expects_others
        self._leave_with = leave_with
        self._count = workers
        self._keys = None if keys is None else KeyFolder(keys)
        self._server_flags = [*server_flags, *([] if keys is None else ["--keys", str(keys)])]
        self._worker_flags = list(worker_flags)
        self._devices = list(devices)
        self._temporary = tempfile.TemporaryDirectory(prefix="paramserver-") if folder is None else None
        self.folder = Path(self._temporary.name) if self._temporary else Path(str(folder))
        self._show = show
        self._restarts = restarts
        self._masters_started = 0
        self._has_started = False
        self.is_stopping = False
        self._shield = Shield()  # of starts, which leave a child that nobody knows if they are cut short

    # -- life -----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the master, then the workers, unless there was nothing left to do."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._keys is not None:
            self._keys.make()
        self._port = ReservedPort(self._bind)
        self._bind = self._port.url
        if self.start_master().is_alive:
            for _ in range(self._count):
                self.start_worker()
        self._has_started = True

    def start_master(self) -> Child:
        """Start the master and wait until it listens; once more after `kill_master`, at the same address.

        A master that resumes a finished run ends at once.
        """
        address_file = self.folder / "address"
        self._spawn_master(address_file)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not address_file.exists():
            master = self._master
            if not master.is_alive:
                if master.exit_code == 0:
                    return master
                if not self._may_start_again(master):
                    self._fail()
                self._tell_restart(master)
                self._spawn_master(address_file)
            if not self._show and time.monotonic() > deadline:  # a person who sees it decides for himself
                raise TimedOut(f"the master did not listen within {START_TIMEOUT_S:g} s; see {master.log}")
            self._stop_if_orphan()
            time.sleep(POLL_S)
        self.address = address_file.read_text()
        self._bind = address.with_port_of(self._bind, self.address)  # where none could be reserved
        return self._master

    def _spawn_master(self, address_file: Path) -> None:
        address_file.unlink(missing_ok=True)
        self._masters_started += 1
        flags = ["--bind", self._bind, "--address-file", str(address_file)]
        # Of those who were there for the first master some may have gone: a later one begins with anybody.
        if self._masters_started == 1 and not {"--workers", "--begin-with"} & set(self._server_flags):
            flags += ["--begin-with", str(max(1, self._count))]
        if "--workers" not in self._server_flags:
            flags.append("--trust-workers")  # they are all started here
        if not any(flag == "--json" for flag in self._server_flags):
            flags += ["--json", str(self.folder / "record.json")]
        log = None if self._show else self.folder / f"master-{self._masters_started}.log"
        module = ["-m", "paramserver.cli.server"]
        restarts = self.master.restarts if self.master is not None else 0
        with self._shield:
            self.master = Child.start("the master", [*module, self.job, *flags, *self._server_flags], log)
        self.master.restarts = restarts
        if self.is_stopping:  # asked for while there was none
            self.stop()

    def start_worker(self, *flags: str) -> Child:
        """Start one more worker."""
        number = len(self.workers)
        log = self.folder / f"worker-{number}.log"
        command = ["-m", "ps_worker.cli", "--master", self.address, "--job", self.job]
        if self._devices:
            command += ["--device", self._devices[number % len(self._devices)]]
        if self._keys is not None:
            command += ["--key", str(self._keys.bundle_for(f"local-{number + 1}"))]
        with self._shield:
            child = Child.start(f"worker {number}", [*command, *self._worker_flags, *flags], log)
            self.workers.append(child)
        return child

    def close(self) -> None:
        """End whatever still runs; nothing is left behind."""
        children = [child for child in (self.master, *self.workers) if child is not None]
        with self._shield:
            for child in children:
                child.is_asked = True
                if child.is_alive:
                    child.process.kill()
            for child in children:
                child.process.wait()
            if self._port is not None:
                self._port.close()
            if self._temporary is not None:
                self._temporary.cleanup()

    # -- faults ---------------------------------------------------------------------------------------

    def kill_worker(self, number: int, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a worker, by default the one it cannot catch."""
        self.workers[number].send(how)

    def kill_master(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the master; `start_master` starts it again."""
        if self.master is not None:
            self.master.send(how)

    def stop(self) -> None:
        """Ask the run to stop: units in hand are finished, a checkpoint is written, everyone leaves."""
        self.is_stopping = True
        if self.master is not None and self.master.is_alive:
            self.master.process.send_signal(ASK_TO_STOP)

    def save(self) -> None:
        """Let the master write a checkpoint now, if it has come so far."""
        if self._has_started and self._master.is_alive:
            self._master.process.send_signal(ASK_TO_SAVE)

    def interrupt(self, error: BaseException) -> None:
        """Called by a signal handler: raise `error` from whatever waits here, with no child left unknown."""
        self._shield.throw(error)

    # -- restarts -------------------------------------------------------------------------------------

    def look_after(self) -> bool:
        """Start again who was killed, as often as it may be; returns whether the master runs.

        Whatever waits here does this all the time.
        """
        self._stop_if_orphan()
        master = self._master
        if not master.is_alive:
            if not self._may_start_again(master):
                return False
            self._tell_restart(master)
            self.start_master()
        for child in self.workers:
            if self._may_start_again(child):
                self._tell_restart(child)
                with self._shield:
                    child.start_again()
        return True

    def _may_start_again(self, child: Child) -> bool:
        return child.was_killed and child.restarts < self._restarts and not self.is_stopping

    def _tell_restart(self, child: Child) -> None:
        child.restarts += 1
        number = f"{child.restarts} of {self._restarts}"
        if self._show:
            how = f"was killed by signal {-child.process.returncode}"
            say(f"{child.name} {how}; starting it again ({number} times)")

    # -- outcome --------------------------------------------------------------------------------------

    def wait_for(self, pattern: str, timeout_s: float = 60.0) -> str:
        """Wait until the master's log has a line that matches; returns the line. Not with `show`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            goes_on = self.look_after()  # asked before, or the last lines are missed
            for line in self.master_log().splitlines():
                if re.search(pattern, line):
                    return line
            if not goes_on:
                self._fail()
            time.sleep(POLL_S)
        raise TimedOut(f"no line like {pattern!r} in the master's log within {timeout_s:g} s")

    def wait(self, timeout_s: float | None = 600.0) -> dict[str, Any]:
        """Wait until everyone has left; returns the record of the run.

        Raises `ClusterError` with the end of the log where the run failed, `TimedOut` where it goes on.
        """
        code = self.wait_exit(timeout_s)
        if code != 0:
            self._fail()
        return self.record()

    def wait_exit(self, timeout_s: float | None = None) -> int:
        """Wait until the master has ended, and then for the workers; returns the master's exit code."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self.look_after():
            self._end_if_deserted()
            if deadline is not None and time.monotonic() > deadline:
                raise TimedOut(
                    f"the run goes on after {timeout_s:g} s; the master's log:\n{self.master_log()[-4000:]}"
                )
            time.sleep(POLL_S)
        self._wait_for_workers(LEAVE_S)
        for child in self.workers:  # it never met the master, or the master was killed: no use in waiting on
            if child.is_alive:
                child.process.terminate()
        self._wait_for_workers(LEAVE_S)
        return self._master.exit_code

    def record(self) -> dict[str, Any]:
        """The record the master wrote."""
        path = self.folder / "record.json"
        for flag, value in zip(self._server_flags, self._server_flags[1:], strict=False):
            path = Path(value) if flag == "--json" else path
        record: dict[str, Any] = json.loads(path.read_text())
        return record

    def master_log(self) -> str:
        """Everything the masters of this cluster wrote."""
        logs = [self.folder / f"master-{i + 1}.log" for i in range(self._masters_started)]
        return "".join(log.read_text(errors="replace") for log in logs if log.exists())

    def worker_log(self, number: int) -> str:
        log = self.workers[number].log
        return log.read_text(errors="replace") if log and log.exists() else ""

    # -- small things ---------------------------------------------------------------------------------

    def _stop_if_orphan(self) -> None:
        if self._leave_with not in (None, os.getppid()) and not self.is_stopping:
            self.stop()

    def _wait_for_workers(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for child in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))

    def _end_if_deserted(self) -> None:
        """When every worker has failed, or was killed too often, nobody will come: end the master too."""
        master = self._master
        if not self._expects_others and self.workers and all(map(self._is_lost, self.workers)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                master.process.wait(5.0)  # it may be ending because of that very error
                return
            self.stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                master.process.wait(35.0)
            text = f"every worker left with an error:\n{self.worker_log(0)[-2000:]}"
            raise ClusterError(text, self.workers[0].exit_code)

    def _is_lost(self, child: Child) -> bool:
        return child.has_failed or (child.was_killed and child.restarts >= self._restarts > 0)

    @property
    def _master(self) -> Child:
        if self.master is None:
            raise AssertionError("there is no master before start")
        return self.master

    def _fail(self) -> NoReturn:
        master = self._master
        master.process.wait()
        how = f"was killed by signal {master.exit_code - 128}" if master.was_killed else "ended"
        text = f"the master {how}, exit code {master.exit_code}\n{self.master_log()[-4000:]}".rstrip()
        raise ClusterError(text, master.exit_code, is_shown=self._show and not master.was_killed)
