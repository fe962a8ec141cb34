"""Inputs that are kept: one message of each kind, and whatever has once found something.

A found input is a file of lines: `#` and what it found; then a frame a line, in hexadecimal.
"""

from collections.abc import Iterator
from pathlib import Path

from ps_common import messages as m
from security.fuzzing.mutation import Frames
from security.fuzzing.seeds import seed_of

FOLDER = Path(__file__).with_name("corpus")


def seeds() -> Iterator[tuple[str, Frames]]:
    """One of each kind that there is, by its name."""
    for kind in m.KINDS.values():
        yield kind.__name__, seed_of(kind)


def found() -> Iterator[tuple[str, Frames]]:
    for path in sorted(FOLDER.glob("*.frames")):
        yield path.stem, read(path)


def read(path: Path) -> Frames:
    lines = path.read_text().splitlines()
    return [bytes.fromhex(line) for line in lines if not line.startswith("#")]
