"""A master and workers as processes of this machine: the harness behind `ps-local`, and of the tests.

    with LocalCluster("mnist_mlp.py", workers=2) as cluster:
        cluster.kill_worker(0)
        record = cluster.wait()

Every process is a child in a process group of its own, so that Ctrl-C reaches this process alone, which
passes one signal on; and every child leaves by itself when this process is gone.
"""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ps_common.errors import ParamserverError, TimedOut

START_TIMEOUT_S = 60.0  # for the master to load its job and listen
LEAVE_S = 2.0  # for a worker to leave by itself once the master has ended
POLL_S = 0.02


class ClusterError(ParamserverError):
    """The run ended otherwise than by finishing. `exit_code` is the master's."""

    def __init__(self, text: str, exit_code: int, is_shown: bool = False) -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.is_shown = is_shown  # the master has told the user already


@dataclasses.dataclass
class Child:
    """One process: its role, and where its standard error goes (None: to this process's)."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None


class LocalCluster:
    """A master and `workers` worker processes that run `job`.

    job: a Python file with a variable `job`, or `package.module:name`.
    server_flags, worker_flags: further flags of `ps-server` and `ps-worker`.
    folder: for logs and the record; by default a temporary one that goes with the cluster.
    show: let the master write to this process's standard error instead of to a log file.
    """

    def __init__(
        self,
        job: str | Path,
        workers: int = 2,
        *,
        server_flags: Sequence[str] = (),
        worker_flags: Sequence[str] = (),
        folder: Path | None = None,
        show: bool = False,
    ) -> None:
        self.job = str(job)
        self.workers: list[Child] = []
        self.master: Child | None = None
        self.address = "tcp://127.0.0.1:0"
        self._count = workers
        self._server_flags = list(server_flags)
        self._worker_flags = list(worker_flags)
        self._temporary = tempfile.TemporaryDirectory(prefix="paramserver-") if folder is None else None
        self.folder = Path(self._temporary.name) if self._temporary else Path(str(folder))
        self._show = show
        self._masters_started = 0

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
        if self.start_master().is_alive:
            for _ in range(self._count):
                self.start_worker()

    def start_master(self) -> Child:
        """Start the master and wait until it listens; once more after `kill_master`, at the same address.

        A master that resumes a finished run ends at once.
        """
        address_file = self.folder / "address"
        address_file.unlink(missing_ok=True)
        self._masters_started += 1
        flags = ["--bind", self.address, "--address-file", str(address_file)]
        if not any(flag == "--workers" for flag in self._server_flags):
            flags += ["--workers", str(max(1, self._count))]
        if not any(flag == "--json" for flag in self._server_flags):
            flags += ["--json", str(self.folder / "record.json")]
        log = None if self._show else self.folder / f"master-{self._masters_started}.log"
        module = ["-m", "paramserver.cli.server"]
        self.master = self._spawn("master", [*module, self.job, *flags, *self._server_flags], log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not address_file.exists():
            if not self.master.is_alive:
                if self.master.process.returncode == 0:
                    return self.master
                self._fail(self.master)
            if log is not None and time.monotonic() > deadline:  # a person who sees it decides for himself
                raise TimedOut(f"the master did not listen within {START_TIMEOUT_S:g} s; see {log}")
            time.sleep(POLL_S)
        self.address = address_file.read_text()
        return self.master

    def start_worker(self, *flags: str) -> Child:
        """Start one more worker."""
        number = len(self.workers)
        log = self.folder / f"worker-{number}.log"
        command = ["-m", "ps_worker.cli", "--master", self.address, "--job", self.job]
        child = self._spawn(f"worker {number}", [*command, *self._worker_flags, *flags], log)
        self.workers.append(child)
        return child

    def close(self) -> None:
        """End whatever still runs; nothing is left behind."""
        children = [child for child in (self.master, *self.workers) if child is not None]
        for child in children:
            if child.is_alive:
                child.process.kill()
        for child in children:
            child.process.wait()
        if self._temporary is not None:
            self._temporary.cleanup()

    # -- faults ---------------------------------------------------------------------------------------

    def kill_worker(self, number: int, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a worker, by default the one it cannot catch."""
        self._signal(self.workers[number], how)

    def kill_master(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the master; `start_master` starts it again."""
        if self.master is not None:
            self._signal(self.master, how)

    def stop(self) -> None:
        """Ask the run to stop: units in hand are finished, a checkpoint is written, everyone leaves."""
        if self.master is not None and self.master.is_alive:
            self.master.process.send_signal(signal.SIGTERM)

    # -- outcome --------------------------------------------------------------------------------------

    def wait_for(self, pattern: str, timeout_s: float = 60.0) -> str:
        """Wait until the master's log has a line that matches; returns the line. Not with `show`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for line in self.master_log().splitlines():
                if re.search(pattern, line):
                    return line
            if self.master is not None and not self.master.is_alive:
                self._fail(self.master)
            time.sleep(POLL_S)
        raise TimedOut(f"no line like {pattern!r} in the master's log within {timeout_s:g} s")

    def wait(self, timeout_s: float = 600.0) -> dict[str, Any]:
        """Wait until everyone has left; returns the record of the run.

        Raises `ClusterError` with the end of the log where the run failed, `TimedOut` where it goes on.
        """
        code = self.wait_exit(timeout_s)
        if code != 0 and self.master is not None:
            self._fail(self.master)
        return self.record()

    def wait_exit(self, timeout_s: float | None = None) -> int:
        """Wait until the master has ended, and then for the workers; returns the master's exit code."""
        if self.master is None:
            raise AssertionError("wait before start")
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self.master.is_alive:
            self._end_if_deserted(self.master)
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
        return exit_code(self.master)

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

    def _spawn(self, name: str, arguments: Sequence[str], log: Path | None) -> Child:
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(log.open("wb")) if log is not None else None
            process = subprocess.Popen(
                [sys.executable, "-P", *arguments, "--leave-with", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stderr=stream,
                process_group=0,
            )
        return Child(name, process, log)

    def _wait_for_workers(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for child in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))

    def _signal(self, child: Child, how: signal.Signals) -> None:
        if child.is_alive:
            os.kill(child.process.pid, how)
        if how == signal.SIGKILL:
            child.process.wait()

    def _end_if_deserted(self, master: Child) -> None:
        """When every worker has gone of itself with an error, nobody will come: end the master too."""
        codes = [child.process.poll() for child in self.workers]
        if codes and all(code is not None and code > 0 for code in codes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                master.process.wait(2.0)  # it may be ending because of that very error
                return
            self.stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                master.process.wait(35.0)
            worst = next(code for code in codes if code)
            raise ClusterError(f"every worker left with an error:\n{self.worker_log(0)[-2000:]}", worst)

    def _fail(self, master: Child) -> None:
        master.process.wait()
        code = exit_code(master)
        text = f"the master ended with exit code {code}:\n{self.master_log()[-4000:]}"
        raise ClusterError(text, code, is_shown=self._show)


def exit_code(child: Child) -> int:
    """How a child that has ended ended, as a shell counts: 128 and the number of the signal that ended it."""
    code: int = child.process.returncode
    return code if code >= 0 else 128 - code
