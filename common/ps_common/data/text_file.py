"""Text as samples for a language model: windows of characters (or bytes), each with the one that follows it.

It decides which integer a character is and where windows lie. Every character is kept as its number in
the vocabulary, one byte for up to 256 kinds; windows are views of that, made when they are read. It
does not split words, change case or drop what it does not know.
"""

import codecs
import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from ps_common.arrays import HostArray
from ps_common.data.npy_file import StrPath, open_file
from ps_common.data.progress_bar import progress
from ps_common.data.source import Columns, Rows
from ps_common.errors import DataError, UsageError
from ps_common.fields import Field
from ps_common.vocabulary import Plain

BLOCK = 1 << 20  # bytes or characters turned into numbers at once
_Codes = npt.NDArray[np.uint32]  # code points (or bytes), one a token
_Stream = Generator[_Codes, None, None]
_Blocks = Callable[[], _Stream]
_BYTES = "".join(map(chr, range(256)))  # the vocabulary of bytes: each is its own number


class Text(Columns):
    """Windows of a text. `vocabulary`: the distinct characters; a character's id is its place in it."""

    vocabulary: str
    tokens: str

    def __init__(
        self,
        ids: HostArray,
        vocabulary: str,
        tokens: str,
        windows: tuple[int, int],
        dtype: np.dtype[Any],
        description: dict[str, Plain],
        origin: str,
    ) -> None:
        length, stride = windows
        x, y = (sliding_window_view(part, length)[::stride] for part in (ids[:-1], ids[1:]))
        super().__init__(x, y, description, origin)
        self.vocabulary, self.tokens = vocabulary, tokens
        self.fields = tuple(Field(field.name, dtype.name, field.shape) for field in self.fields)
        self._dtype = dtype

    def read(self, rows: Rows) -> tuple[HostArray, ...]:
        return tuple(values.astype(self._dtype) for values in super().read(rows))

    def encode(self, text: str) -> HostArray:
        """The ids of a text, shape (tokens,). Raises `DataError` for a character out of the vocabulary."""
        blocks = _of_bytes(text.encode()) if self.tokens == "bytes" else _of_text(text)
        return _numbered(blocks, self.vocabulary, "the text").astype(self._dtype)

    def decode(self, ids: npt.ArrayLike) -> str:
        """The text of ids, shape (tokens,); bytes that are no UTF-8 become U+FFFD."""
        numbers = np.asarray(ids)
        if self.tokens == "bytes":
            return numbers.astype(np.uint8).tobytes().decode(errors="replace")
        return "".join(self.vocabulary[i] for i in numbers.tolist())


def text(
    path: StrPath | Sequence[StrPath],
    *,
    length: int,
    stride: int | None = None,
    vocabulary: str | None = None,
    tokens: Literal["characters", "bytes"] = "characters",
    part: Sequence[float] = (0.0, 1.0),
    dtype: str = "int64",
) -> Text:
    """Windows of UTF-8 text files: x are `length` tokens, y the same one further; both (length,) of `dtype`.

    Several files are read end to end, with nothing between them. A window begins every `stride` tokens,
    by default every `length`, so that each token is predicted once. `vocabulary` holds the distinct
    characters, an id is a place in it; None: all characters of the files, in the order of their code
    points. tokens="bytes" takes bytes instead, whose ids are themselves, 256 in all.

    `part` is the stretch of the text that is used, as fractions: (0, 0.9) to train and (0.9, 1) to test
    share no token and, as the vocabulary is always that of the whole text, the ids.

    >>> train = text("poems.txt", length=64, part=(0, 0.9))  # doctest: +SKIP
    >>> test = text("poems.txt", length=64, part=(0.9, 1))  # doctest: +SKIP
    >>> model = nn.Sequential(nn.Embedding(len(train.vocabulary), 32), ...)  # doctest: +SKIP

    Raises `DataError` for a file that is missing or no UTF-8 text, a part shorter than `length` + 1 and a
    character that is not in the vocabulary (with its position), `UsageError` for settings that cannot be.
    """
    files = _files(path)
    told: dict[str, Plain] = {"kind": "text", "path": [str(file) for file in files]}
    origin = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"

    def blocks() -> _Stream:
        return _of_files(files, tokens)

    return _windows(blocks, told, origin, length, stride, vocabulary, tokens, part, dtype)


def characters(
    content: str,
    *,
    length: int,
    stride: int | None = None,
    vocabulary: str | None = None,
    part: Sequence[float] = (0.0, 1.0),
    dtype: str = "int64",
) -> Text:
    """Windows of a text in memory, otherwise as `text`: characters(datasets.text("shakespeare"), length=64).

    It cannot be opened on another machine: let the master send the samples (stream mode) or use `text`.
    """
    if not isinstance(content, str):
        raise UsageError(f"the text is a {type(content).__name__}; give a str, or paths to data.text")
    told: dict[str, Plain] = {"kind": "characters"}
    blocks = _of_text(content)
    return _windows(blocks, told, "the text", length, stride, vocabulary, "characters", part, dtype)


def _windows(
    blocks: _Blocks,
    told: dict[str, Plain],
    origin: str,
    length: int,
    stride: int | None,
    vocabulary: str | None,
    tokens: str,
    part: Sequence[float],
    dtype: str,
) -> Text:
    for name, number in (("length", length), ("stride", length if stride is None else stride)):
        if type(number) is not int or number < 1:
            raise UsageError(f"{name} must be an integer of at least 1, not {number!r}")
    first, last = _fractions(part)
    known = _vocabulary(blocks, vocabulary, tokens)
    kind = _id_type(dtype, len(known))
    ids = _numbered(blocks, known, origin)
    cut = ids[int(first * len(ids)) : int(last * len(ids))].copy()
    if len(cut) <= length:
        raise DataError(
            f"{origin} has {len(ids)} {tokens}, its part from {first:g} to {last:g} {len(cut)}: one sample "
            f"takes length + 1 = {length + 1}; use a smaller length or a larger part"
        )
    description = {
        **told,
        "length": length,
        "stride": stride,
        "vocabulary": None if tokens == "bytes" else known,
        "part": [first, last],
        "dtype": kind.name,
    }
    if told["kind"] == "text":
        description["tokens"] = tokens
    return Text(cut, known, tokens, (length, stride or length), kind, description, origin)


def _files(path: StrPath | Sequence[StrPath]) -> list[Path]:
    paths: list[StrPath] = [path] if isinstance(path, str | os.PathLike) else list(path)
    if not paths:
        raise UsageError("text needs at least one file; the list of paths is empty")
    return [Path(one).absolute() for one in paths]


def _fractions(part: Sequence[float]) -> tuple[float, float]:
    """The part as two floats. Raises `UsageError` unless 0 <= first < last <= 1."""
    try:
        first, last = map(float, part)
    except (TypeError, ValueError):
        first, last = 1.0, 0.0
    if not 0 <= first < last <= 1:
        raise UsageError(
            f"part must be two fractions, such as (0, 0.9), with 0 <= first < last <= 1: {part!r}"
        )
    return first, last


def _id_type(dtype: str, kinds: int) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if kind.kind not in "iu" or not kind.isnative or np.iinfo(kind).max < kinds - 1:
        raise UsageError(f"dtype must be an integer type that holds {kinds} ids, not {dtype!r}")
    return kind


def _vocabulary(blocks: _Blocks, given: str | None, tokens: str) -> str:
    if tokens not in ("characters", "bytes"):
        raise UsageError(f"tokens must be 'characters' or 'bytes', not {tokens!r}")
    if tokens == "bytes":
        if given is not None:
            raise UsageError("bytes have a vocabulary of their own, the numbers 0 to 255: give none")
        return _BYTES
    if given is None:
        found: set[int] = set()
        with contextlib.closing(blocks()) as stream:
            for codes in stream:
                found.update(np.flatnonzero(np.bincount(codes)).tolist())
        return "".join(map(chr, sorted(found)))
    if not isinstance(given, str) or not given or len(set(given)) != len(given):
        raise UsageError(
            f"the vocabulary must be a str of distinct characters, at least one, not {given!r:.80}"
        )
    return given


def _numbered(blocks: _Blocks, vocabulary: str, origin: str) -> HostArray:
    """Each token's place in the vocabulary, in the smallest unsigned type that holds it."""
    codes_known = _codes(vocabulary)
    number_of = np.full(int(codes_known.max(initial=0)) + 2, len(vocabulary), np.uint32)  # else: unknown
    number_of[codes_known] = np.arange(len(vocabulary))
    small = np.min_scalar_type(max(len(vocabulary) - 1, 0))
    parts: list[HostArray] = []
    done = 0
    with contextlib.closing(blocks()) as stream:
        for codes in stream:
            numbers = number_of[np.minimum(codes, len(number_of) - 1)]
            if codes.size and int(numbers.max()) == len(vocabulary):
                at = int(np.argmax(numbers))
                code = int(codes[at])
                raise DataError(
                    f"{origin}: character {chr(code)!r} (U+{code:04X}) at position {done + at} is not in the "
                    f"vocabulary of {len(vocabulary)} characters; add it, or give no vocabulary to use the "
                    "text's own"
                )
            parts.append(numbers.astype(small))
            done += len(codes)
    return np.concatenate(parts) if parts else np.empty(0, small)


def _codes(characters: str) -> _Codes:
    """The code points of a str; a half of a surrogate pair is one of its own."""
    return np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)


def _of_text(content: str) -> _Blocks:
    def blocks() -> _Stream:
        for at in range(0, len(content), BLOCK):
            yield _codes(content[at : at + BLOCK])

    return blocks


def _of_bytes(content: bytes) -> _Blocks:
    def blocks() -> _Stream:
        yield np.frombuffer(content, np.uint8).astype(np.uint32)

    return blocks


def _of_files(files: list[Path], tokens: str) -> _Stream:
    """The tokens of files, one after another; a byte order mark at the beginning of a file is none."""
    sizes = [_size(file) for file in files]
    with progress("reading text", sum(sizes)) as show:
        for number, file in enumerate(files):
            decoder = codecs.getincrementaldecoder("utf-8-sig")()
            done = 0
            with open_file(file) as stream:
                while raw := stream.read(BLOCK):
                    done += len(raw)
                    if tokens == "bytes":
                        yield np.frombuffer(raw, np.uint8).astype(np.uint32)
                    else:
                        yield _decoded(decoder, raw, file, done)
                    show(sum(sizes[:number]) + done)
            if tokens == "characters":
                yield _decoded(decoder, b"", file, done)


def _size(file: Path) -> int:
    with open_file(file) as stream:
        return stream.seek(0, 2)


def _decoded(decoder: codecs.IncrementalDecoder, raw: bytes, file: Path, done: int) -> _Codes:
    """The code points of the next bytes, which end `done` bytes into the file; none are its end."""
    try:
        return _codes(decoder.decode(raw, final=not raw))
    except UnicodeDecodeError as error:
        at = done - len(error.object) + error.start  # what is left of the block before is in the object, too
        raise DataError(
            f"{file} is no UTF-8 text: {error.reason} at byte {at}; convert it to UTF-8, or read it with "
            "tokens='bytes'"
        ) from error
