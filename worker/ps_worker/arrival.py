"""Bytes that are on their way to the host: what to wait for before some of them may be read.

A GPU copies a vector to the host piece by piece, in order, while the first pieces are sent already. It must
not know what a mark is: anything with `synchronize()`, which comes back when its piece is there.
"""

import bisect
import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol


class Mark(Protocol):
    def synchronize(self) -> Any:
        """Come back when what was asked for before this mark is done."""


@dataclasses.dataclass(frozen=True)
class Arrival:
    """Where each piece ends, in bytes from the start of the vector, and its mark. No pieces: all is there."""

    ends: Sequence[int] = ()
    marks: Sequence[Mark] = ()

    def wait(self, stop: int | None = None) -> None:
        """Come back when the bytes before `stop` are there; None: all.

        Pieces come in order, so the last of them is all there is to wait for.
        """
        if self.marks:
            last = len(self.ends) - 1
            place = last if stop is None else min(bisect.bisect_left(self.ends, stop), last)
            self.marks[place].synchronize()


HERE = Arrival()
