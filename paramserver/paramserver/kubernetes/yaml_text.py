"""Plain objects as YAML that people like to read; any reader of YAML 1.1 or 1.2 reads the same from it.

For dicts with texts as keys, lists, texts, whole numbers and truth values. A text is written bare only where
no reader takes it for anything else. See YAML 1.2, 5.1 (printable characters) and 8.1.2 (literal style).
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

_BARE = re.compile(r"[A-Za-z/][A-Za-z0-9_./@-]*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})  # to some no texts
_PLAIN_LINES = re.compile(
    r"[\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff\n]*"
)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def dump_all(documents: Sequence[dict[str, Any]]) -> str:
    """One document after another."""
    return "".join(f"---\n{dump(document)}" for document in documents)


def dump(value: dict[str, Any]) -> str:
    return "\n".join([*_lines_of_dict(value), ""]) if value else "{}\n"


def _lines(value: Any) -> Iterator[str]:
    """A value that has lines of its own."""
    return _lines_of_dict(value) if isinstance(value, dict) else _lines_of_list(value)


def _lines_of_dict(value: dict[str, Any]) -> Iterator[str]:
    for key, one in value.items():
        if isinstance(one, dict | list) and one:
            yield f"{_scalar(key)}:"
            indent = "  " if isinstance(one, dict) else ""
            yield from (f"{indent}{line}" if line else "" for line in _lines(one))
        elif isinstance(one, str) and _is_literal(one):
            yield f"{_scalar(key)}: |{'' if one.endswith(chr(10)) else '-'}"
            yield from (f"  {line}" if line else "" for line in one.removesuffix("\n").split("\n"))
        else:
            yield f"{_scalar(key)}: {_scalar(one)}"


def _lines_of_list(value: list[Any]) -> Iterator[str]:
    for one in value:
        if isinstance(one, dict | list) and one:
            first, *rest = _lines(one)
            yield f"- {first}"
            yield from (f"  {line}" if line else "" for line in rest)
        else:
            yield f"- {_scalar(one)}"


def _is_literal(text: str) -> bool:
    """Whether it is lines that mean the same when they are written as they are."""
    is_plain = _PLAIN_LINES.fullmatch(text) is not None and "\n" in text.removesuffix("\n")
    return is_plain and text[0] not in " \n" and not text.endswith("\n\n")


def _scalar(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            is_bare = _BARE.fullmatch(value) is not None and value.lower() not in _WORDS
            return value if is_bare else f'"{"".join(map(_escaped, value))}"'
        case dict():
            return "{}"
        case list():
            return "[]"
    raise TypeError(f"{type(value).__name__} has no place in YAML of ours")


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if _PLAIN_LINES.fullmatch(character):
        return character
    number = ord(character)
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )
