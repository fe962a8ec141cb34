"""Exact moments at which a process of a test is killed or stopped: by itself, see striking/sitecustomize.py.

with Strike("sent", "Chunk(", 2).armed(signal.SIGKILL):
    cluster.start_worker()          # killed when it has sent its second chunk
"""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

from processes.world import eventually

FOLDER = Path(__file__).with_name("striking")


@dataclasses.dataclass(frozen=True)
class Strike:
    """One moment in the life of a process.

    point: "sent" or "received", of messages; or "module:function", of calls.
    holding: what the message, or the arguments of the call, say when they are printed.
    count: how many such there are before this one, and this one.
    is_before: before it is sent, or before the call, instead of after.
    """

    point: str
    holding: str = ""
    count: int = 1
    is_before: bool = False

    @contextlib.contextmanager
    def armed(self, *how: signal.Signals) -> Iterator[None]:
        """Whoever is started within this is struck by these signals when its moment comes."""
        path = os.pathsep.join(filter(None, (str(FOLDER), os.environ.get("PYTHONPATH"))))
        strike = json.dumps(dataclasses.asdict(self) | {"signals": [one.name for one in how]})
        before = {name: os.environ.get(name) for name in ("PYTHONPATH", "STRIKE")}
        os.environ.update(PYTHONPATH=path, STRIKE=strike)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def await_strike(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Wait until a process was struck: is dead, or stopped."""
    if how == signal.SIGKILL:
        assert process.wait(60) == -how
    else:
        one = psutil.Process(process.pid)
        eventually(lambda: one.status() == psutil.STATUS_STOPPED, f"process {process.pid} is stopped")
