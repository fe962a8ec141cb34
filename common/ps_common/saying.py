"""Lines for a person on standard error, whose reader may go away: the run must not go with it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line to `stream`, by default standard error; nobody may be there to read it."""
    stream = stream or sys.stderr
    with reader_may_be_gone(stream):
        print(line, file=stream, flush=True)


@contextlib.contextmanager
def reader_may_be_gone(stream: TextIO) -> Iterator[None]:
    """Within it, a write that fails (a closed pipe, a full disk) sends what follows into nothing."""
    try:
        yield
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
