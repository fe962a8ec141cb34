"""A process of a local cluster: its role, how it ended, and whether it is one to start again.

It decides who was killed, as opposed to asked to end by the cluster, or ended by an error of its own. It must
not know what the process does.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

PAUSES = (signal.SIGSTOP, signal.SIGCONT)  # signals that end nobody


@dataclasses.dataclass
class Child:
    """One role and the process that fills it now.

    arguments: of Python, but for the one that lets it leave with this process.
    log: where its standard error goes; None: to this process's.
    """

    name: str
    arguments: Sequence[str]
    log: Path | None
    process: subprocess.Popen[bytes]
    restarts: int = 0  # because it was killed
    is_asked: bool = False  # the cluster itself was told to end it

    @classmethod
    def start(cls, name: str, arguments: Sequence[str], log: Path | None) -> Self:
        return cls(name, arguments, log, _started(arguments, log, "wb"))

    def start_again(self) -> None:
        """The same command once more; its log goes on."""
        self.process = _started(self.arguments, self.log, "ab")

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    @property
    def was_killed(self) -> bool:
        """Whether a signal ended it that the cluster did not send."""
        code = self.process.poll()
        return code is not None and code < 0 and not self.is_asked

    @property
    def has_failed(self) -> bool:
        """Whether it ended by itself with an error."""
        code = self.process.poll()
        return code is not None and code > 0

    @property
    def exit_code(self) -> int:
        """How it ended, as a shell counts: 128 and the number of the signal that ended it."""
        code: int = self.process.returncode
        return code if code >= 0 else 128 - code

    def send(self, how: signal.Signals) -> None:
        """Send it a signal; who is sent SIGKILL is gone afterwards."""
        self.is_asked |= how not in PAUSES
        if self.is_alive:
            os.kill(self.process.pid, how)
        if how == signal.SIGKILL:
            self.process.wait()


def _started(arguments: Sequence[str], log: Path | None, mode: str) -> subprocess.Popen[bytes]:
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(log.open(mode)) if log is not None else None
        return subprocess.Popen(
            [sys.executable, "-P", *arguments, "--leave-with", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stderr=stream,
            process_group=0,
        )
