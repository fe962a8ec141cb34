"""What a test of real processes does: write jobs, start commands and clusters, and wait for facts."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from paramserver import LocalCluster, checkpoint
from processes import jobs

BIN = Path(sys.executable).parent
MARK = "STARTED_BY_TEST"  # in the environment of everything a test starts, and of what that starts


def eventually(holds: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    """Wait until a condition holds, and return it; fail with `what` if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := holds()):
        assert time.monotonic() < deadline, f"after {timeout_s:g} s: {what}"
        time.sleep(0.01)
    return value


def is_listening(address: str) -> bool:
    url = urllib.parse.urlsplit(address)
    with socket.socket() as probe:
        return probe.connect_ex((url.hostname, url.port)) == 0


class Command:
    """One of the commands, running; its output and errors go to one file."""

    def __init__(self, arguments: list[str], log: Path, folder: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=folder,
                env=os.environ | environment,
                start_new_session=True,  # a signal to this process must not reach it by the terminal's group
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str, timeout_s: float = 30.0) -> str:
        """Wait until a line holds `text`; return the line."""

        def line() -> str | None:
            has_ended = self.process.poll() is not None  # asked before, or its last lines are missed
            found = next((line for line in self.said.splitlines() if text in line), None)
            assert found or not has_ended, f"ended without {text!r}:\n{self.said}"
            return found

        return str(eventually(line, f"no line with {text!r}", timeout_s))

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 60.0) -> int:
        return self.process.wait(timeout_s)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


class World:
    """A folder with a job in it, and everything that a test starts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.commands: list[Command] = []
        self._threads, self._open, self._named = own_threads(), open_here(), named_segments()

    def job(self, text: str = jobs.PLAIN, name: str = "job.py") -> Path:
        """Write a job; who is reading one of this name just now reads it whole."""
        path = self.folder / name
        new = path.with_name(f"{path.name}.new")
        new.write_text(text)
        return new.replace(path)

    def hold(self) -> None:
        """Workers of a gated job stop in mid-run from now on."""
        for path in self.folder.glob("held-*"):
            path.unlink()
        (self.folder / "hold").touch()

    def held(self, cluster: LocalCluster, timeout_s: float = 30.0) -> int:
        """Wait until a worker of a gated job is held; returns its number. It has a unit in hand."""

        def number() -> list[int]:
            workers = enumerate(cluster.workers)
            return [i for i, w in workers if (self.folder / f"held-{w.process.pid}").exists()]

        return int(eventually(number, "no worker came to the gate", timeout_s)[0])

    def held_pids(self) -> list[int]:
        """Process ids of all that have come to the gate so far."""
        return [int(path.name.removeprefix("held-")) for path in self.folder.glob("held-*")]

    def all_held(self, count: int = 2) -> None:
        """Wait until so many workers are held, and nothing goes on.

        One alone at the gate loses its unit to the others, and then it may have nothing left to finish.
        """
        eventually(lambda: len(self.held_pids()) >= count, f"{count} workers at the gate", 60.0)

    def name_of(self, cluster: LocalCluster, number: int) -> str:
        """What the master calls a worker: the last name, where it has joined again."""
        joined = rf"^(\S+) joined from .*\(pid {cluster.workers[number].process.pid},"
        names: list[str] = re.findall(joined, cluster.master_log(), re.MULTILINE)
        return names[-1]

    def all_join(self, cluster: LocalCluster, times: int) -> None:
        """Wait until workers have joined so often, all in all."""
        eventually(lambda: cluster.master_log().count(" joined from ") >= times, f"{times} joins")

    def let_pass(self, process_id: int) -> None:
        """One worker goes on while the others are held: nobody can race its unit."""
        (self.folder / f"pass-{process_id}").touch()

    def release(self) -> None:
        (self.folder / "hold").unlink()

    def start(
        self, command: str, *arguments: object, under: Sequence[str] = (), **environment: str
    ) -> Command:
        """Start one of the commands; under another one, that limits or separates it."""
        log = self.folder / f"{len(self.commands)}-{command}.log"
        words = [*under, str(BIN / command), *map(str, arguments)]
        started = Command(words, log, self.folder, environment)
        self.commands.append(started)
        return started

    def run(
        self, command: str, *arguments: object, under: Sequence[str] = (), **environment: str
    ) -> tuple[int, str]:
        """Run one of the commands to its end; its exit code and everything it said."""
        started = self.start(command, *arguments, under=under, **environment)
        return started.wait(), started.said

    def cluster(
        self, text: str = jobs.PLAIN, workers: int = 2, flags: tuple[object, ...] = (), restarts: int = 0
    ) -> LocalCluster:
        """A cluster that runs a job; use it in a `with`."""
        words = [str(flag) for flag in flags]
        return LocalCluster(self.job(text), workers, server_flags=words, restarts=restarts)

    def record(
        self, text: str = jobs.PLAIN, workers: int = 2, flags: tuple[object, ...] = (), within_s: float = 60.0
    ) -> dict[str, Any]:
        """The record of an undisturbed run."""
        with self.cluster(text, workers, flags) as cluster:
            return cluster.wait(within_s)

    def json(self, name: str = "record.json") -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.folder / name).read_text())
        return record

    def left_behind(self) -> list[psutil.Process]:
        """Processes that this test started, or that those started, and that still run."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.folder) and process.pid != os.getpid():
                    found.append(process)
        return found

    def forgive_temporary_files(self) -> None:
        """Who was killed could not remove them."""
        shutil.rmtree(self.temporary)
        self.temporary.mkdir()

    def close(self) -> None:
        """Fail if a process, a port, a temporary file, a segment or a thread is left; leave none."""
        try:
            eventually(lambda: not self.left_behind(), "processes are left")
        finally:
            left = [f"{process.pid} {' '.join(process.cmdline())}" for process in self.left_behind()]
            for process in self.left_behind():
                with contextlib.suppress(psutil.Error):
                    process.kill()
            for command in self.commands:
                command.wait(10.0)
            assert not left, left
        files = sorted(path.name for path in self.temporary.iterdir())
        assert not files, f"temporary files are left: {files}"
        assert own_threads() <= self._threads, "threads of the test's own process are left"
        assert open_here() <= self._open, "sockets or segments of the test's own process are left"
        assert named_segments() <= self._named, "segments with a name are left"


def own_threads() -> set[threading.Thread]:
    """Threads of this process, but for the one that pytest-timeout has for each test."""
    return {thread for thread in threading.enumerate() if not isinstance(thread, threading.Timer)}


def open_here() -> set[str]:
    """Sockets and memory without a name that this process holds: both go with the last who holds them."""
    links = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of this very listing
            links.add(str(path.readlink()))
    return {link for link in links if link.startswith(("socket:", "/memfd:"))}


def named_segments() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("*paramserver*")}


def newest_round(folder: Path) -> int:
    """The last round of which a checkpoint is on disk; -1: there is none."""
    saved = checkpoint.checkpoints(folder)
    return int(saved[0].stem.removeprefix("round-")) if saved else -1


def events(record: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [event for event in record["events"] if event["event"] == kind]
