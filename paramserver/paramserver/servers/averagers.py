"""Averaging servers as processes of this machine: started with the master, started again when they die."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paramserver.reserved_port import ReservedPort
from ps_common import address
from ps_common.errors import TimedOut

START_S = 60.0  # for all of them to listen
LEAVE_S = 2.0  # for each to leave, once asked
POLL_S = 0.01


class Averagers:
    """`count` processes of `ps-average`, which leave with this one.

    bind_host: the interface to listen on. host: what workers reach it by. keys: the folder of keys, if any.
    """

    def __init__(
        self, count: int, bind_host: str, host: str, log_format: str, keys: Path | None = None
    ) -> None:
        self._count = count
        self._bind_host = bind_host
        self._host = host
        self._flags = ["--log-format", log_format, "--quiet", "--leave-with", str(os.getpid())]
        self._flags += [] if keys is None else ["--keys", str(keys)]
        self._flags += [] if address.is_loopback(bind_host) else ["--insecure"]  # as the master was told
        self._processes: list[subprocess.Popen[bytes]] = []
        self._reserved: list[ReservedPort] = []
        self._ports: list[int] = []
        self._known: set[int] = set()  # processes whose end has been told

    def start(self) -> None:
        """Start all, and wait until they listen. Raises `TimedOut`."""
        with tempfile.TemporaryDirectory(prefix="paramserver-") as folder:
            files = [Path(folder) / str(index) for index in range(self._count)]
            for file in files:
                self._reserved.append(ReservedPort(address.join(self._bind_host, 0)))
                self._processes.append(self._spawn(self._reserved[-1].url, "--address-file", str(file)))
            deadline = time.monotonic() + START_S
            while not all(file.exists() for file in files):
                ended = [process.returncode for process in self._processes if process.poll() is not None]
                if ended or time.monotonic() > deadline:
                    self.close()
                    why = f"ended with exit code {ended[0]}" if ended else f"did not listen in {START_S:g} s"
                    raise TimedOut(f"an averaging server {why}; its message is above")
                time.sleep(POLL_S)
            for file in files:
                parts = address.split(file.read_text())
                self._ports.append(parts[1] if parts else 0)

    @property
    def addresses(self) -> tuple[str, ...]:
        """What workers connect to."""
        return tuple(address.join(self._host, port) for port in self._ports)

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """What this process connects to."""
        host = "127.0.0.1" if self._bind_host in address.WILDCARDS else self._bind_host
        return tuple(address.join(host, port) for port in self._ports)

    def ended(self) -> list[tuple[int, str]]:
        """Which have ended since this was last asked, and how."""
        found = []
        for index, process in enumerate(self._processes):
            code = process.poll()
            if code is not None and process.pid not in self._known:
                self._known.add(process.pid)
                how = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
                found.append((index, f"process {process.pid} was {how}" if code < 0 else f"it {how}"))
        return found

    def restart(self, index: int) -> int:
        """End what is left of one and start it again, at the same address; returns its process id."""
        before = self._processes[index]
        before.kill()
        before.wait()
        self._known.add(before.pid)
        self._processes[index] = self._spawn(address.join(self._bind_host, self._ports[index]))
        return self._processes[index].pid

    def close(self) -> None:
        """Ask all to leave, and end those who do not."""
        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + LEAVE_S
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for port in self._reserved:
            port.close()

    def _spawn(self, bind: str, *flags: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "paramserver.cli.average"]
        return subprocess.Popen(
            [*command, "--bind", bind, *self._flags, *flags], stdin=subprocess.DEVNULL, process_group=0
        )
