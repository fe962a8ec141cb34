"""A bar on a terminal while something long is read; nothing where nobody watches or a read is short.

It only shows: what is read, and in which steps, is the reader's. Bars are drawn on standard error, at most
one at a time, and are gone when the read is over.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

SHORT_S = 1.0  # what takes less shows nothing: a bar that flashes by tells nobody anything
_drawing = threading.Lock()  # rich draws one live display at a time


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Within it, call what it yields with how much of `total` is done by now (bytes, rows, samples)."""
    if not sys.stderr.isatty() or not _drawing.acquire(blocking=False):
        yield lambda _: None
        return
    bar = _Bar(what, total)
    try:
        yield bar.show
    finally:
        bar.close()
        _drawing.release()


class _Bar:
    """Comes up when `SHORT_S` have passed and the work is not done."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._begins_at = time.monotonic() + SHORT_S
        self._stack = contextlib.ExitStack()
        self._update: Callable[[int], None] | None = None

    def show(self, done: int) -> None:
        if self._update is None:
            if time.monotonic() < self._begins_at or done >= self._total:
                return
            self._update = self._open()
        self._update(done)

    def close(self) -> None:
        self._stack.close()

    def _open(self) -> Callable[[int], None]:
        import rich.console
        import rich.errors
        import rich.progress  # 60 ms, and few reads are long

        columns = (
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TimeRemainingColumn(),
        )
        console = rich.console.Console(stderr=True)
        try:
            bar = self._stack.enter_context(rich.progress.Progress(*columns, console=console, transient=True))
        except rich.errors.LiveError:  # the run's own live table is on the screen
            return lambda _: None
        task = bar.add_task(self._what, total=self._total)
        return lambda done: bar.update(task, completed=done)
