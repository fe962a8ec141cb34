"""Refuse a misspelt name with the nearest right one: commands, data sets and settings all do."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to end a message with: the name most like `name`, or else all that are known.

    >>> nearest("mnist5k", ["digits", "mnist-5k"])
    "; did you mean 'mnist-5k'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(names)}"
