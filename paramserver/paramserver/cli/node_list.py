"""Slurm's short form of many host names: `rack[1-2]n[01-03,07],login` is nine of them."""

import itertools
import re
from collections.abc import Iterator, Sequence

from ps_common.errors import UsageError

_ITEM = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")  # up to a comma that is in no bracket
_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def hosts(text: str) -> Iterator[str]:
    """The names, in order, one after another: there may be many. Raises `UsageError` for no such list."""
    items = _ITEM.findall(text)
    if not items or ",".join(items) != text:
        raise UsageError(f"the node list {text!r} is not of the form node[01-03,07],other")
    for item in items:
        parts = [(part[2],) if part[1] is None else _numbers(part[1]) for part in _PART.finditer(item)]
        yield from map("".join, itertools.product(*parts))


def _numbers(ranges: str) -> Sequence[str]:
    """ "01-03,07" as 01, 02, 03, 07: with the zeros that it has."""
    numbers = []
    for text in ranges.split(","):
        match = _RANGE.fullmatch(text)
        if match is None:
            raise UsageError(f"[{ranges}] in a node list is not of the form [01-03,07]")
        first, last = match[1], match[2] or match[1]
        numbers += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return numbers
