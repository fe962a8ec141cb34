"""The ledger of a run: files beside its checkpoints that say of every round what was averaged.

Every start of a master has a segment of its own, lines of JSON:

    {"format", "run", "term", ..., "continues": the position it goes on from, or null}
    {"version": 7, "units": [[round, shard, worker, incarnation, samples, digest, verdict], ...]}
    {"commit": 7, "weights": digest of the vector at this version, "chain": digest of all before this line}

A checkpoint names its position: a segment, how many bytes of it, and a digest over these and all that they
continue. So bytes are only ever appended, and what stands behind the last position is void: it is of rounds
that the next start does again, and writes into its own segment. A segment's name is never used twice, for
a term comes again when it was not saved, or when an older checkpoint is gone on from.
"""

import dataclasses
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import xxhash

from paramserver.effects import Averaged, Contribution, Position
from ps_common.errors import CheckpointError
from ps_common.files import fsync

FORMAT = "paramserver-ledger-1"
LINE_BYTES_MAX = 2**30  # a file that is none must not fill memory
_NAME = re.compile(r"ledger-([\w.-]{1,64})-(\d{10,})-([0-9a-f]{8})\.jsonl")
_READ_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class Header:
    """The first line of a segment. The digests of contributions depend on chunk_bytes and servers."""

    run: str
    term: int
    job_digest: str
    chunk_bytes: int
    servers: int  # that average; 1: the master alone, or one server
    continues: Position | None  # None: the segment begins with the first round


@dataclasses.dataclass(frozen=True)
class Commit:
    """The weights at a version, as the checkpoint beside has them; chain: digest of all before this line."""

    version: int
    weights: str
    chain: str


class Ledger:
    """The segment of one start of a master, begun with the first commit or rounds that are written."""

    def __init__(self, folder: Path, header: Header) -> None:
        self.folder = folder
        self.name = f"ledger-{header.run}-{header.term:010d}-{secrets.token_hex(4)}.jsonl"
        self._header = header
        self._nbytes = 0  # that stand in the file for good
        self._chain = _chain_after(header.continues)

    @property
    def is_begun(self) -> bool:
        return self._nbytes > 0

    def append(self, rounds: Iterable[Averaged]) -> None:
        """Write rounds that no checkpoint follows yet. Raises `OSError`; nothing of them counts then."""
        self._write(self._text(rounds))

    def commit(self, rounds: Iterable[Averaged], version: int, weights: str) -> Position:
        """Write the rounds up to a version and its weights' digest, for good: the position of its checkpoint.

        Raises `OSError`; nothing of it counts then.
        """
        text = self._text(rounds)
        chain = self._chain.copy()
        chain.update(text)
        self._write(text + _line({"commit": version, "weights": weights, "chain": chain.hexdigest()}))
        return Position(self.name, self._nbytes, self._chain.hexdigest())

    def _text(self, rounds: Iterable[Averaged]) -> bytes:
        lines = [] if self.is_begun else [_line({"format": FORMAT, **dataclasses.asdict(self._header)})]
        lines += [
            _line({"version": one.version, "units": [_values(unit) for unit in one.units]}) for one in rounds
        ]
        return b"".join(lines)

    def _write(self, text: bytes) -> None:
        path = self.folder / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as file:
            if os.fstat(file.fileno()).st_size < self._nbytes:
                raise OSError(f"{path} was cut short by somebody else")
            file.seek(self._nbytes)  # over what a write that failed has left
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if not self.is_begun:
            fsync(self.folder)
        self._nbytes += len(text)
        self._chain.update(text)


@dataclasses.dataclass(frozen=True)
class Segment:
    """A segment as far as it counts: `stop` bytes, with the chain digest there."""

    path: Path
    header: Header
    stop: int
    chain: str

    def lines(self) -> Iterator[tuple[int, Averaged | Commit]]:
        """Where each line after the header begins, and what it says. Raises `CheckpointError`."""
        with _opened(self.path) as file:
            at = len(file.readline())
            while at < self.stop:
                line = file.readline(self.stop - at)
                if not line.endswith(b"\n"):
                    raise CheckpointError(f"{self.path}, byte {at:,}: the ledger ends within a line")
                try:
                    yield at, _round_or_commit(_object(line))
                except (KeyError, TypeError, ValueError) as error:
                    text = f"{self.path}, byte {at:,}: this is no line of a ledger: {error}"
                    raise CheckpointError(text) from error
                at += len(line)

    def check(self) -> None:
        """Raise `CheckpointError` where the bytes are not those that were committed, and say which."""
        chain = _chain_after(self.header.continues)
        at = good = 0
        is_wrong = False
        with _opened(self.path) as file:
            while at < self.stop and (line := file.readline(self.stop - at)):
                is_wrong = _says_chain(line) not in (None, chain.hexdigest())
                chain.update(line)
                at += len(line)
                if is_wrong:
                    break
                good = at if _says_chain(line) else good
        if at < self.stop and not is_wrong:
            raise CheckpointError(
                f"{self.path} is cut short: it has {at:,} bytes, and {self.stop:,} were committed"
            )
        if is_wrong or chain.hexdigest() != self.chain:
            raise CheckpointError(
                f"{self.path} is not what was committed: its chain digest is wrong between bytes "
                f"{good:,} and {at:,}"
            )


def follow(folder: Path, position: Position) -> Iterator[Segment]:
    """The segments up to a position, back from the newest: who checks one before the next believes nothing.

    Raises `CheckpointError` where there is none.
    """
    at: Position | None = position
    after: int | None = None  # the term that continues it
    while at is not None:
        path = folder / segment_name(at)
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: the ledger is not whole without it")
        header = read_header(path)
        if after is not None and after != header.term + 1:
            raise CheckpointError(f"{path} is of term {header.term}, and term {after} continues it")
        yield Segment(path, header, at.nbytes, at.chain)
        at, after = header.continues, header.term


def read_header(path: Path) -> Header:
    """The first line of a segment. Raises `CheckpointError`."""
    try:
        with _opened(path) as file:
            plain = _object(file.readline(LINE_BYTES_MAX))
        if plain.pop("format", None) != FORMAT:
            raise ValueError("it has another format")
        continues = plain.pop("continues")
        header = Header(**plain, continues=None if continues is None else position_of(continues))
        _require(header, run=str, term=int, job_digest=str, chunk_bytes=int, servers=int)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}, byte 0: this is no header of a ledger: {error}") from error
    return header


def position_of(plain: Any) -> Position:
    """A position as plain data says it. Raises `TypeError` or `ValueError`."""
    position = Position(**plain)
    _require(position, segment=str, nbytes=int, chain=str)
    segment_name(position)
    if position.nbytes < 1:
        raise ValueError(f"a position has 1 byte or more, not {position.nbytes}")
    return position


def segment_name(position: Position) -> str:
    """Raises `ValueError` for what is no name of a segment: it is not looked for."""
    if not _NAME.fullmatch(position.segment):
        raise ValueError(f"{position.segment[:300]!r} is no name of a segment")
    return position.segment


def segments_of(folder: Path, run: str) -> list[Path]:
    """All segments of a run in a folder, whether they count or not."""
    found = ((path, _NAME.fullmatch(path.name)) for path in folder.glob("ledger-*.jsonl"))
    return sorted(path for path, match in found if match is not None and match[1] == run)


def bring(source: Path, folder: Path, position: Position) -> None:
    """Copy what a position stands for to another folder, to go on from it there.

    Raises `CheckpointError` where it is not whole, `OSError` where it cannot be written.
    """
    for segment in follow(source, position):
        to = folder / segment.path.name
        if to.exists() and to.stat().st_size >= segment.stop:
            continue  # names are never used twice, so it is the same
        with _opened(segment.path) as file:
            text = file.read(segment.stop)
        temporary = folder / f".{to.name}.{os.getpid()}.partial"
        temporary.write_bytes(text)
        fsync(temporary)
        temporary.replace(to)
    fsync(folder)


def prune(folder: Path, run: str, positions: Sequence[Position]) -> None:
    """Remove the segments of a run that none of these positions stands on."""
    try:
        needed = {segment.path for position in positions for segment in follow(folder, position)}
    except CheckpointError:
        return  # whoever wants to know what is wrong must find all there is
    for path in segments_of(folder, run):
        if path not in needed:
            path.unlink(missing_ok=True)


def _chain_after(position: Position | None) -> xxhash.xxh3_128:
    return xxhash.xxh3_128(position.chain.encode() if position is not None else b"")


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def _line(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, separators=(",", ":")).encode() + b"\n"


def _values(unit: Contribution) -> list[Any]:
    return [
        unit.round, unit.shard, unit.worker, unit.incarnation, unit.samples, unit.digest, unit.verdict
    ]  # fmt: skip


def _says_chain(line: bytes) -> str | None:
    """What a line says of all before it, if it is a commit."""
    if not line.startswith(b'{"commit":'):
        return None
    try:
        return str(_object(line)["chain"])
    except (KeyError, ValueError):
        return ""


def _object(line: bytes) -> dict[str, Any]:
    try:
        plain = json.loads(line)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(plain, dict):
        raise ValueError(f"it is a {type(plain).__name__}")
    return plain


def _round_or_commit(plain: dict[str, Any]) -> Averaged | Commit:
    if "commit" in plain:
        commit = Commit(plain["commit"], plain["weights"], plain["chain"])
        _require(commit, version=int, weights=str, chain=str)
        return commit
    if not isinstance(plain["units"], list):
        raise ValueError("its units are no list")
    averaged = Averaged(plain["version"], tuple(Contribution(*values) for values in plain["units"]))
    _require(averaged, version=int)
    kinds = {"worker": str, "incarnation": str, "digest": str, "verdict": str}
    for unit in averaged.units:
        _require(unit, round=int, shard=int, samples=int, **kinds)
    return averaged


def _require(what: Any, **kinds: type) -> None:
    """Raise `ValueError` for a field of another type, or a number below 0."""
    for name, kind in kinds.items():
        value = getattr(what, name)
        if type(value) is not kind or (isinstance(value, int) and value < 0):
            raise ValueError(f"{name} is {str(value)[:100]!r}")
