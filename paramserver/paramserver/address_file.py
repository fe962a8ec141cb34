"""Where the processes of one start find their master: a file that holds its address and which start it is of.

What is left of an earlier start must mislead nobody. A launcher that numbers its starts is believed by its
number; where numbers are used again, an address at which nobody listens is none yet.
"""

import contextlib
import os
import socket
from pathlib import Path

from ps_common import address
from ps_common.errors import UsageError
from ps_common.files import write_whole

CONNECT_TIMEOUT_S = 2.0


def publish(path: Path, url: str, run: str) -> None:
    """Say that the master of the start `run` is at `url`. Raises `UsageError` where it cannot be said."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{url}\n{run}\n")
    except OSError as error:
        raise UsageError(f"--address-file {path} cannot be written: {error.strerror or error}") from error


def withdraw(path: Path, url: str, run: str) -> None:
    """Take it back, if it is what the file says still."""
    with contextlib.suppress(OSError):
        if path.read_text() == f"{url}\n{run}\n":
            path.unlink()


def find(path: Path, run: str, owner: int | None = None) -> str | None:
    """The address of the master of the start `run`, if it listens already.

    owner: the user whose file it must be, for a folder where anybody may write.
    """
    try:
        with path.open() as file:
            is_whose = owner in (None, os.fstat(file.fileno()).st_uid)
            url, _, rest = file.read(4096).partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return url if is_whose and rest == f"{run}\n" and _is_answered(url) else None


def _is_answered(url: str) -> bool:
    parts = address.split(url)
    if parts is None:
        return False
    with contextlib.suppress(OSError), socket.create_connection(parts, CONNECT_TIMEOUT_S):
        return True
    return False
