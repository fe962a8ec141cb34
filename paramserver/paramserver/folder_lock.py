"""A folder of checkpoints is one master's at a time."""

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from ps_common.errors import UsageError


class FolderLock:
    """Sees to it that a folder is one master's at a time; the system lets go of it when that is killed.

    Raises `UsageError` on entry where another has it. A file system that knows no locks is nobody's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / ".lock"
        self._descriptor = -1

    def __enter__(self) -> Self:
        while not self._is_current:
            self.close()
            try:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                text = f"--checkpoint {self._folder}: {self._path.name} cannot be opened: {error.strerror}"
                raise UsageError(text) from error
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(self._descriptor, 20, 0).decode(errors="replace").strip()
                self.close()
                raise UsageError(
                    f"--checkpoint {self._folder} is in use by a running master (pid {holder or 'unknown'}); "
                    "wait for it, stop it, or use another folder"
                ) from None
            except OSError:
                break
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()
        self.close()

    @property
    def _is_current(self) -> bool:
        """Whether what is locked is the file of that name: who had it before may have removed it."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return self._descriptor >= 0 and os.path.samestat(os.fstat(self._descriptor), there)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
