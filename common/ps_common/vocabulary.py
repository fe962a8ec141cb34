"""Objects as plain data, from a closed vocabulary.

A job travels as data, never as code. Each layer, loss, optimizer and metric is a frozen dataclass that
has been entered here with `@word`; its plain form is its name and its fields. Only entered words are
ever built from plain data, so nothing a peer sends can name anything else. A user's own classes have a
plain form too (it enters the job's digest) but cannot be built from it: they need the job's file.
"""

import dataclasses
import inspect
import io
import types
from typing import Any, TypeVar

import numpy as np

from ps_common.errors import ParamserverError, PeerError, UsageError

Plain = Any  # None | bool | int | float | str | list[Plain] | dict[str, Plain]

DEPTH_MAX = 64  # of lists and dicts within each other; layers within layers within layers are a dozen

_words: dict[str, type] = {}
_T = TypeVar("_T", bound=type)
_NOT_PLAIN = (type, np.ndarray, np.generic, io.IOBase, types.ModuleType)


def word(cls: _T) -> _T:
    """Class decorator: enter a frozen dataclass into the vocabulary under its own name."""
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls.__name__} is no dataclass: a word is its name and its fields")
    if _words.setdefault(cls.__name__, cls) is not cls:
        raise TypeError(f"{cls.__name__} is in the vocabulary already")
    return cls


def is_word(obj: object) -> bool:
    return _words.get(type(obj).__name__) is type(obj)


def to_plain(obj: object) -> Plain:
    """The plain form of a value: numbers, strings, lists and dicts only.

    Raises `UsageError` for what has none (a function, an open file, an array).
    """
    if isinstance(obj, np.number | np.bool_):
        obj = obj.item()
    if obj is None or isinstance(obj, bool | float | str):
        return obj
    if isinstance(obj, int) and -(2**63) <= obj < 2**64:  # what msgpack can hold
        return obj
    if isinstance(obj, list | tuple):
        return [to_plain(item) for item in obj]
    if isinstance(obj, dict):
        return {str(key): to_plain(value) for key, value in obj.items()}
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        fields = {f.name: to_plain(getattr(obj, f.name)) for f in dataclasses.fields(obj)}
        kind = type(obj).__name__ if is_word(obj) else f"own:{type(obj).__name__}"
        return {"kind": kind, **fields}
    if type(obj).__module__ != "builtins" and not inspect.isroutine(obj) and not isinstance(obj, _NOT_PLAIN):
        return {"kind": f"own:{type(obj).__name__}"}
    raise UsageError(
        f"a job holds {obj!r}, which cannot travel as plain data; "
        "use numbers, strings, lists, the layers and losses that ship with paramserver, or a dataclass"
    )


def has_own_code(plain: Plain) -> bool:
    """Whether a plain form names a class that is not in the vocabulary."""
    if isinstance(plain, list):
        return any(has_own_code(item) for item in plain)
    if isinstance(plain, dict):
        kind = plain.get("kind")
        return (isinstance(kind, str) and kind.startswith("own:")) or any(map(has_own_code, plain.values()))
    return False


def from_plain(plain: Plain) -> Any:
    """Build the object a plain form describes. Raises `PeerError` for anything outside the vocabulary."""
    return _build(plain, DEPTH_MAX)


def _build(plain: Plain, depth: int) -> Any:
    if not isinstance(plain, list | dict):
        return plain
    if depth == 0:  # whoever builds a network of it goes as deep
        raise PeerError(f"a job's description is nested too deep: {DEPTH_MAX} levels are allowed")
    if isinstance(plain, list):
        return tuple(_build(item, depth - 1) for item in plain)
    if "kind" not in plain:
        return {key: _build(value, depth - 1) for key, value in plain.items()}
    kind = plain["kind"]
    cls = _words.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise PeerError(f"a job's description names {kind!r}, which is not in the vocabulary of this version")
    names = {f.name for f in dataclasses.fields(cls)}
    given = {key: _build(value, depth - 1) for key, value in plain.items() if key != "kind"}
    unknown = [key for key in given if key not in names]
    if unknown:
        raise PeerError(f"{kind} has no field {unknown[0]!r}; it has {sorted(names)}")
    try:
        return cls(**given)
    except (TypeError, ValueError, ParamserverError) as error:
        raise PeerError(f"{kind} cannot be built from {sorted(given)}: {error}") from error
