"""A part of a run on Ray: an actor with one process of ours as its child, on whichever node Ray has put it.

The process has an interpreter of its own, so everything is as it is under other launchers, and its lines go
on to the driver. One that was killed is started again here. When the actor is gone its child leaves by
itself, and Ray starts the actor again, on this node or another. It must not know what the process does.
"""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray

from paramserver.children import Child
from paramserver.ray.board import Posted
from paramserver.ray.roles import Role
from paramserver.reserved_port import ReservedPort
from ps_common import address
from ps_common.saying import say
from ps_common.signals import ASK_TO_SAVE, ASK_TO_STOP, PREEMPTED

POLL_S = 0.05
TAIL_BYTES = 4000  # of the log, to show why a run has failed
READ_BYTES = 1 << 20  # of the log at once


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a part has ended. tail: of its log. record, model: what a master wrote at the end."""

    name: str
    exit_code: int
    tail: str = ""
    record: dict[str, Any] | None = None
    model: bytes | None = dataclasses.field(default=None, repr=False)


class Part:
    """An actor; what it is to do comes with `run`, which Ray calls again after a restart."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._child: Child | None = None
        self._given: tuple[str, ...] = ()  # the addresses that it was started with
        self._address: str | None = None  # where it listens
        self._has_listened = False  # an earlier actor of this part, or an earlier process of this one
        self._starts = 0
        self._saves = 0
        self._is_asked = False
        self._shown_bytes = 0

    def __repr__(self) -> str:  # Ray writes it before each line of the log
        return self._name

    def run(self, role: Role, board: Any, restarts: int) -> Outcome:
        """Be the part, until its process ends by itself or the run is over.

        board: the actor of the run's board. restarts: how often a killed process is started again.
        """
        self._role, self._board, self._restarts = role, board, restarts
        node: Any = ray.util  # its types do not say what it returns
        self._port = ReservedPort(address.join(node.get_node_ip_address(), 0))  # of all its lives
        with tempfile.TemporaryDirectory(prefix="paramserver-") as name, contextlib.closing(self._port):
            self._folder = Path(name)
            self._write_keys()
            try:
                code = self._run()
                return self._outcome(code)
            finally:
                if self._child is not None:
                    self._child.send(signal.SIGKILL)

    def _run(self) -> int:
        posted: Posted = ray.get(self._board.look.remote(self._role.name, None, None))
        self._has_listened = self._role.name in posted.addresses
        looking = self._look(posted)
        while (code := self._step(posted)) is None:
            if self._finds_address():
                looking = self._look(posted)
            if ray.wait([looking], timeout=POLL_S)[0]:
                posted = ray.get(looking)
                looking = self._look(posted)
        return code

    def _look(self, known: Posted) -> Any:
        return self._board.look.remote(self._role.name, self._address, known)

    def _step(self, posted: Posted) -> int | None:
        """Act on what stands on the board and what has become of the process; the exit code at the end."""
        self._show()
        child, needs = self._child, self._role.needs(posted.addresses)
        if posted.is_over:
            return 0 if child is None else self._leave(child)
        if child is None:
            if posted.is_stopping:
                return 0
            if needs is not None and self._role.may_start():
                self._start(needs)
        elif not child.is_alive:
            if posted.is_stopping or not self._may_start_again(child):
                return child.exit_code
            self._tell_restart(child)
            self._start(needs or self._given)
        elif needs is not None and needs != self._given:
            say(f"{self._role.name}: {' '.join(needs)} instead of {' '.join(self._given)}: starting again")
            self._leave(child)
            self._start(needs)
        elif self._role.ends_the_run:
            self._pass_on(posted, child)
        return None

    # -- its process ----------------------------------------------------------------------------------

    def _start(self, needs: tuple[str, ...]) -> None:
        self._end_log()
        self._starts += 1
        self._given = needs
        (self._folder / "address").unlink(missing_ok=True)
        self._is_asked = False
        is_first = not self._has_listened and self._starts == 1
        command = self._role.command(needs, self._folder, self._port.url, is_first)
        restarts = 0 if self._child is None else self._child.restarts
        self._child = Child.start(self._role.name, command, self._log)
        self._child.restarts = restarts

    def _may_start_again(self, child: Child) -> bool:
        """Whether it was killed, or left to be started again."""
        is_called_for = child.was_killed or child.exit_code == PREEMPTED
        return is_called_for and child.restarts < self._restarts

    def _tell_restart(self, child: Child) -> None:
        child.restarts += 1
        number = f"{child.restarts} of {self._restarts}"
        say(f"{child.name} ended with {child.exit_code}; starting it again ({number} times)")

    def _pass_on(self, posted: Posted, child: Child) -> None:
        """The driver's wishes; a process that has not come so far to have heard them is asked later."""
        if not (self._folder / "address").exists():
            return
        if posted.is_stopping and not self._is_asked:
            self._is_asked = True
            child.process.send_signal(ASK_TO_STOP)
        if posted.saves > self._saves:
            self._saves = posted.saves
            child.process.send_signal(ASK_TO_SAVE)

    def _leave(self, child: Child) -> int:
        """Ask it to leave, and kill it where it does not; its exit code."""
        child.is_asked = True
        if child.is_alive:
            child.process.terminate()
        try:
            child.process.wait(self._role.leave_s)
        except subprocess.TimeoutExpired:
            child.send(signal.SIGKILL)
        return child.exit_code

    def _finds_address(self) -> bool:
        """Whether the process listens somewhere else than before."""
        before = self._address
        if self._role.listens:
            with contextlib.suppress(FileNotFoundError):  # not yet, or it is over
                self._address = (self._folder / "address").read_text()
        return self._address != before

    # -- files ----------------------------------------------------------------------------------------

    def _write_keys(self) -> None:
        """What was handed to this part, and nobody else can read here."""
        keys = self._folder / "keys"
        for name, content in self._role.keys.items():
            path = keys / name
            for folder in (keys, path.parent):  # not as `parents` would, as open as the umask lets it
                folder.mkdir(mode=0o700, exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(content)

    @property
    def _log(self) -> Path:
        return self._folder / f"log-{self._starts}"

    def _show(self, is_last: bool = False) -> None:
        """Hand on the whole lines that the process has written since; Ray brings them to the driver."""
        if self._child is None:
            return
        with self._log.open("rb") as stream:
            stream.seek(self._shown_bytes)
            text = stream.read(READ_BYTES)
        text = text if is_last or len(text) == READ_BYTES else text[: text.rfind(b"\n") + 1]
        self._shown_bytes += len(text)
        if text:
            sys.stderr.write(text.decode(errors="replace"))
            sys.stderr.flush()

    def _end_log(self) -> None:
        self._show(is_last=True)
        self._shown_bytes = 0

    def _outcome(self, code: int) -> Outcome:
        self._show(is_last=True)
        tail, record, model = "", None, None
        if self._child is not None:
            tail = self._log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        if (path := self._folder / "record.json").exists():
            record = json.loads(path.read_text())
        if (path := self._folder / "model.safetensors").exists():
            model = path.read_bytes()
        return Outcome(self._role.name, code, tail, record, model)
