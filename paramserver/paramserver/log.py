"""What a person sees of a run: lines of text or JSON, and a live table on a terminal."""

import json
import sys
import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from paramserver.effects import Note
from paramserver.machine import Master
from paramserver.status import doing_of
from ps_common.saying import printable, reader_may_be_gone, say

REFRESH_S = 0.25


class Log:
    """Prints notes. kind: "text" or "json". quiet: only what is urgent."""

    def __init__(self, kind: str, quiet: bool, stream: TextIO | None = None) -> None:
        self.kind = kind
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._write: Callable[[str], None] = self._write_line

    def show(self, note: Note) -> None:
        """Print a note, if it has text for a person."""
        if not note.text or (self._quiet and not note.urgent):
            return
        if self.kind == "json":
            line = {"at": round(time.time(), 3), "event": note.event, "text": note.text, **note.fields}
            self._write(json.dumps(line, default=str))
        else:
            self._write(printable(note.text, besides="\n\t"))  # some of it a peer may have said

    def through(self, write: Callable[[str], None] | None) -> None:
        """Print through `write` from now on (a live display must not be written over); None: directly."""
        self._write = write or self._write_line

    def _write_line(self, line: str) -> None:
        say(line, self._stream)


class LiveDisplay:
    """Round, epoch, loss, metrics, samples a second and each worker, redrawn in place on a terminal."""

    def __init__(self, master: Master, log: Log) -> None:
        self._master = master
        self._log = log
        self._console = Console(
            stderr=True, markup=False, highlight=False, emoji=False
        )  # names are no markup
        self._next_at = 0.0
        self._last = (time.monotonic(), master.progress.samples)
        self._rate = 0.0
        self._live = Live(self._draw(0.0), console=self._console, auto_refresh=False, transient=True)

    def start(self) -> None:
        self._live.start()
        self._log.through(self._print)

    def stop(self) -> None:
        with reader_may_be_gone(sys.stderr):
            self._live.stop()
        self._log.through(None)

    def refresh(self, now: float) -> None:
        """Redraw, if it is time."""
        if now < self._next_at:
            return
        self._next_at = now + REFRESH_S
        before, samples = self._last
        if now - before >= 1.0:
            self._rate = (self._master.progress.samples - samples) / (now - before)
            self._last = (now, self._master.progress.samples)
        with reader_may_be_gone(sys.stderr):
            self._live.update(self._draw(now), refresh=True)

    def _print(self, line: str) -> None:
        with reader_may_be_gone(sys.stderr):
            self._console.print(line)

    def _draw(self, now: float) -> RenderableType:
        master = self._master
        progress, schedule = master.progress, master.job.schedule
        done = max(0, progress.version)
        epoch = min(len(progress.history) + 1, schedule.epochs)
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(f"epoch {epoch} of {schedule.epochs}"),
            ProgressBar(total=schedule.rounds, completed=done, width=40),
            Text(f"round {done} of {schedule.rounds}"),
            Text(f"{self._rate:,.0f} samples/s"),
            Text("  ".join(f"{name} {value:.4f}" for name, value in progress.metrics().items())),
        )
        table = Table(box=None, pad_edge=False)
        for column in ("worker", "device", "doing", "units", "samples"):
            table.add_column(column, justify="right" if column in ("units", "samples") else "left")
        for name, device, doing, units, samples in worker_states(master, now):
            table.add_row(name, printable(device), doing, f"{units:,}", f"{samples:,}")
        return Group(head, table)


def worker_states(master: Master, now: float) -> list[tuple[str, str, str, int, int]]:
    """Name, device, what it does, units and samples of each worker."""
    rows: list[tuple[str, str, str, int, int]] = []
    for member in master.members:
        doing = doing_of(member, master.leasing.of(member))
        if now - member.seen_at > 1.0 and now:
            doing += f", silent for {now - member.seen_at:.0f} s"
        rows.append((member.name, member.join.device, doing, member.units, member.samples))
    return rows
