"""Frames to messages and back: the only place that packs or unpacks a header.

Decoding believes nothing: the number of frames, the size of the header, the kind, the number of fields,
each field's type and bounds and the number of payload frames are checked here. What a value means
(is there such a round, does the payload fit the layout) the machines check.
"""

import dataclasses
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgpack
import xxhash

from ps_common.errors import Malformed
from ps_common.messages import (
    FRAMES_MAX,
    HEADER_BYTES,
    KINDS,
    LISTS_MAX,
    PROTOCOL,
    SMALL_HEADER_BYTES,
    Bound,
    Join,
    Look,
    Message,
    Order,
)

Buffer = bytes | bytearray | memoryview
TEXT_MAX = 256  # characters of one text of several
_CODES = {cls: code for code, cls in KINDS.items()}
# As msgpack writes them, https://github.com/msgpack/msgpack/blob/master/spec.md
_SHORT_LISTS, _LIST_16 = range(0x90, 0xA0), 0xDC
_OPENING = bytes([*range(0x80, 0xA0), *range(0xC7, 0xCA), *range(0xD4, 0xD9), *range(0xDC, 0xE0)])


def checksum(*payloads: Any) -> int:
    """xxh3-64 over payload frames in order; each is any object with the buffer protocol."""
    if len(payloads) == 1:
        return xxhash.xxh3_64_intdigest(payloads[0])
    digest = xxhash.xxh3_64()
    for payload in payloads:
        digest.update(payload)
    return digest.intdigest()


def encode(message: Message) -> bytes:
    """The header frame of a message."""
    values = [getattr(message, name) for name, _ in _FIELDS[type(message)]]
    packed: bytes = msgpack.packb([_CODES[type(message)], *values], use_bin_type=True)
    return packed


def decode(frames: Sequence[Buffer]) -> Message:
    """The message of a list of frames; payload frames are counted, not read. Raises `Malformed`."""
    if not 1 <= len(frames) <= FRAMES_MAX:
        raise Malformed(f"a message has 1 to {FRAMES_MAX} frames, not {len(frames)}")
    header = frames[0]
    if len(header) > HEADER_BYTES:
        raise Malformed(f"a header has at most {HEADER_BYTES} bytes, not {len(header)}")
    if len(header) > SMALL_HEADER_BYTES:
        _check_large(header)
    try:
        values = msgpack.unpackb(header, use_list=True, strict_map_key=True, raw=False)
    except (ValueError, msgpack.UnpackException, RecursionError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        raise Malformed(f"a header of {len(header)} bytes is not msgpack: {reason}") from error
    if not isinstance(values, list) or not values or type(values[0]) is not int:
        raise Malformed("a header is a list that begins with the message's kind")
    cls = KINDS.get(values[0])
    if cls is None:
        raise Malformed(f"there is no message of kind {values[0]}")
    fields = _FIELDS[cls]
    if cls in _OF_ANOTHER_VERSION and len(values) > 1 and _is_another_version(values[1]):
        return _OF_ANOTHER_VERSION[cls](values[1])
    if len(values) != len(fields) + 1:
        raise Malformed(f"{cls.__name__} has {len(fields)} fields, not {len(values) - 1}")
    least, most = cls.payloads
    if not least <= len(frames) - 1 <= most:
        raise Malformed(f"{cls.__name__} carries {least} to {most} payload frames, not {len(frames) - 1}")
    try:
        return cls(*[check(value) for (_, check), value in zip(fields, values[1:], strict=True)])
    except _BadFieldError as error:
        raise Malformed(f"{cls.__name__}: {error}") from None


def _check_large(header: Buffer) -> None:
    """Raise `Malformed` where a header may not be as large as it is, before anything of it is built.

    All bytes that begin a list, a dict or an extension are counted as if they did: other values of theirs in
    numbers and texts count too, so no header has more of them than that.
    """
    first = header[0]
    at = 1 if first in _SHORT_LISTS else 3 if first == _LIST_16 else len(header)  # where the kind stands
    cls = KINDS.get(header[at]) if at < len(header) else None
    if cls is None or len(header) > cls.header_bytes:
        which = "this kind" if cls is None else cls.__name__
        raise Malformed(f"a header of {which} has at most {SMALL_HEADER_BYTES} bytes, not {len(header)}")
    lists = len(header) - len(bytes(header).translate(None, _OPENING))
    if lists > LISTS_MAX:
        raise Malformed(f"a header has at most {LISTS_MAX} lists and dicts, this one may have {lists}")


def _is_another_version(protocol: Any) -> bool:
    return type(protocol) is int and 0 <= protocol < 2**31 and protocol != PROTOCOL


class _BadFieldError(Exception):
    pass


Check = Callable[[Any], Any]


def _check_of(name: str, annotation: Any) -> Check:
    """The check of one field, made once from its annotation."""
    bound = Bound(0, 0)
    if typing.get_origin(annotation) is Annotated:
        annotation, bound = typing.get_args(annotation)
    least, most = bound.least, bound.most

    def refuse(value: Any) -> typing.NoReturn:
        raise _BadFieldError(f"{name} must be {_words(annotation, bound)}, not {_brief(value)}")

    def check_int(value: Any) -> int:
        return value if type(value) is int and least <= value <= most else refuse(value)

    def check_float(value: Any) -> float:
        return value if type(value) is float and least <= value <= most else refuse(value)  # NaN is not

    def check_bool(value: Any) -> bool:
        return value if type(value) is bool else refuse(value)

    def check_str(value: Any) -> str:
        return value if type(value) is str and least <= len(value) <= most else refuse(value)

    def check_numbers(value: Any) -> tuple[int, ...]:
        if type(value) is not list or not least <= len(value) <= most:
            refuse(value)
        if not all(type(item) is int and 0 <= item < 2**31 for item in value):
            refuse(value)
        if bound.are_distinct and len(set(value)) < len(value):
            raise _BadFieldError(f"{name} must name each number once")
        return tuple(value)

    def check_bytes(value: Any) -> bytes:
        return value if type(value) is bytes and least <= len(value) <= most else refuse(value)

    def check_texts(value: Any) -> tuple[str, ...]:
        if type(value) is not list or not least <= len(value) <= most:
            refuse(value)
        if not all(type(item) is str and len(item) <= TEXT_MAX for item in value):
            refuse(value)
        return tuple(value)

    checks: dict[Any, Check] = {
        bytes: check_bytes,
        tuple[str, ...]: check_texts,
        int: check_int,
        float: check_float,
        bool: check_bool,
        str: check_str,
        tuple[int, ...]: check_numbers,
        Any: lambda value: value,
    }
    return checks[annotation]


def _words(annotation: Any, bound: Bound) -> str:
    kind = getattr(annotation, "__name__", "") if annotation in (int, float, bool, str, bytes) else "list"
    if annotation is bool:
        return "bool"
    of = "" if annotation in (int, float) else " of length"
    return f"{kind}{of} {bound.least:g} to {bound.most:g}"


def _brief(value: Any) -> str:
    if isinstance(value, str | bytes | list | dict):
        return f"{type(value).__name__} of length {len(value)}"
    if isinstance(value, bool | int | float | None):
        return repr(value)
    return type(value).__name__  # an extension type may be as long as the header


def _fields_of(cls: type[Message]) -> tuple[tuple[str, Check], ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return tuple((f.name, _check_of(f.name, hints[f.name])) for f in dataclasses.fields(cls))  # type: ignore[arg-type]


# No more than the version can be read of these, nor need be.
_OF_ANOTHER_VERSION: dict[type[Message], Callable[[int], Message]] = {
    Join: lambda protocol: Join(protocol, "", "", 0, "", "", ""),
    Look: Look,
    Order: lambda protocol: Order(protocol, 0, ""),
}
_FIELDS = {cls: _fields_of(cls) for cls in KINDS.values()}
