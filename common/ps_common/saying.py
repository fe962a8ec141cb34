"""Lines for a person on standard error, whose reader may go away: the run must not go with it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line to `stream`, by default standard error; nobody may be there to read it.

    Some of it a peer may have said: it does not move the cursor.
    """
    stream = stream or sys.stderr
    with reader_may_be_gone(stream):
        print(printable(line, besides="\n\t"), file=stream, flush=True)


def printable(text: str, besides: str = "") -> str:
    """A text of a peer as it may stand in a log or on a terminal: without what would move the cursor.

    besides: characters that may stand in it, too.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in besides else "\N{REPLACEMENT CHARACTER}" for c in text)


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
