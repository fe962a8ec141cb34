"""A Ray cluster as a program beside the tests, whose own process never imports Ray."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

PROGRAM = Path(__file__).with_name("processes") / "ray_nodes.py"
NODES = 3
MARK = "RAY_OF_TESTS"  # in the environment of everything that the cluster starts


class RayCluster:
    """A head without CPUs and three nodes; use it in a `with`.

    Its folder has a short path: Ray puts sockets there, whose paths have 107 bytes at most.
    """

    def __enter__(self) -> "RayCluster":
        self._killed: set[int] = set()  # raylets that the cluster still takes for its own
        self.folder = Path(tempfile.mkdtemp(prefix="ps", dir="/tmp"))
        for name in ("ray", "parts"):
            (self.folder / name).mkdir()
        self.environment = {
            "RAY_TMPDIR": str(self.folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",  # or else a token is written to the user's home
            "RAY_DEDUP_LOGS": "0",
            "RAY_memory_monitor_refresh_ms": "0",  # it would kill parts where others need the memory
            "TMPDIR": str(self.folder / "parts"),  # of parts: nothing is to be left there
            MARK: str(self.folder),
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PS_", "RAY_"))}
        with (self.folder / "said").open("w") as said:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=clean | self.environment,
                cwd=self.folder,
                start_new_session=True,
            )
        try:
            self.address = self._answer()
            self.raylets = {self._ask("add") for _ in range(NODES)}
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=30.0)  # closes its input
        self._process.kill()
        self._process.wait()
        for process in self.processes():  # what it could not end
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def restore(self) -> None:
        """As many nodes as at the beginning: a new one for each that is lost."""
        while self._killed:
            self.remove(self._killed.pop())
        while len(self.raylets) < NODES:
            self.raylets.add(self._ask("add"))

    def node_of(self, pid: int) -> int:
        """The raylet of the node that a part's actor is on."""
        raylet = psutil.Process(pid).ppid()
        assert str(raylet) in self.raylets
        return raylet

    def kill_node(self, raylet: int) -> None:
        """As when the node is gone: its actors go with their raylet."""
        os.kill(raylet, signal.SIGKILL)
        self._killed.add(raylet)

    def remove(self, raylet: int) -> None:
        """Take a node away, as Ray's own harness does."""
        self.raylets.remove(str(raylet))
        assert self._ask(f"remove {raylet}") == "removed"

    def processes(self) -> Iterator[psutil.Process]:
        """All that the cluster has started, and what that has started."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.folder) and process.pid != os.getpid():
                    yield process

    def parts(self) -> list[int]:
        """Processes of the framework on the nodes."""
        return [process.pid for process in self.processes() if _is_part(process)]

    def files(self) -> list[Path]:
        """What parts have left on their nodes."""
        return list((self.folder / "parts").glob("paramserver*"))

    def forgive_files(self) -> None:
        """Who was lost with its node could not remove them."""
        for path in self.files():
            shutil.rmtree(path, ignore_errors=True)  # some are just going

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        assert answer, (self.folder / "said").read_text()[-4000:]
        return answer


def pid_of(part: str, said: str) -> int | None:
    """The process of a part's actor, which Ray writes before its lines; the newest."""
    found = re.findall(rf"\({part} pid=(\d+)", said)
    return int(found[-1]) if found else None


def _is_part(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        return "ps_worker.cli" in words or any(word.startswith("paramserver.cli.") for word in words)
    return False
