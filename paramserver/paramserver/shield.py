"""What a signal must not leave half done: a child that is started, and that nobody knows of yet.

A signal handler may raise wherever the main thread is, so that whatever it waits for ends now. Within a
shield that is put off until its end. It must not know which signal it is, or what is done.
"""

from types import TracebackType
from typing import Self


class Shield:
    """A block, entered again and again by the main thread, within which `throw` waits for the end."""

    def __init__(self) -> None:
        self._depth = 0
        self._thrown: BaseException | None = None

    def throw(self, error: BaseException) -> None:
        """Called by a signal handler: raise, but within the shield only when it is left."""
        if self._depth == 0:
            raise error
        self._thrown = error

    def __enter__(self) -> Self:
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0 and self._thrown is not None:
            thrown, self._thrown = self._thrown, None
            raise thrown
