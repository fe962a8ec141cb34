"""A file that was changed, cut or made up is refused, runs nothing, and a run goes on from the one before.

Of small files, every byte and every length.
"""

import contextlib
import itertools
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import paramserver
from paramserver import checkpoint
from paramserver.effects import Snapshot
from paramserver.serve import find_snapshot, write_model
from ps_common import weights_file
from ps_common.arrays import Device
from ps_common.errors import CheckpointError
from ps_common.job import Description, Job
from ps_common.vocabulary import from_plain
from ps_worker import nn
from ps_worker.replica import Parts, Replica, Watch
from security.audit import Audit
from support_jobs import job

TINY = job(
    model=nn.Dense(5, 3), loss=nn.SoftmaxCrossEntropy(), optimizer=nn.SGD(0.1), n_test=None, metrics=[]
)
FLIPS = (0x01, 0x80, 0xFF)


def snapshot_of(made: Job, version: int) -> Snapshot:
    """As a run of the job has it after so many rounds."""
    description = made.describe()
    replica = Replica(description, Parts.of(description), Device(), Watch())
    vector = replica.initialise().vector.copy()
    vector.view("float32")[...] += version
    plain, digest = description.to_plain(), description.digest
    return Snapshot(replica.layout, vector, version, "run", 1, plain, digest, 8 * version, {}, [], 0.0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    write_model(path, snapshot_of(TINY, 2), {"loss": 0.5})
    return path


def changed(whole: bytes) -> Iterator[bytes]:
    """The file with every byte changed, one at a time, and cut at every length."""
    for at, byte in enumerate(whole):
        yield whole[:at] + bytes([byte ^ FLIPS[at % len(FLIPS)]]) + whole[at + 1 :]
        yield whole[:at]
    yield whole + b"\0"


def refuse_every_change(path: Path, read: Callable[[], Any], step: int = 1) -> None:
    whole = path.read_bytes()
    read()
    for other in itertools.islice(changed(whole), 0, None, step):
        path.write_bytes(other)
        with pytest.raises(CheckpointError):
            read()
    path.write_bytes(whole)
    read()


def test_a_model_with_any_byte_changed_or_cut_anywhere_is_refused(model: Path) -> None:
    refuse_every_change(model, lambda: paramserver.load(model))


def fall_back(folder: Path) -> None:
    """The newest checkpoint with any byte changed, or cut, is skipped, and the one before is gone on from."""
    description = TINY.describe()
    for version in (1, 2):
        newest = checkpoint.write(folder, snapshot_of(TINY, version))
    assert resumed(folder, description) == (2, [])
    whole = newest.read_bytes()
    for other in list(changed(whole))[::5]:
        newest.write_bytes(other)
        version, told = resumed(folder, description)
        assert version == 1
        assert len(told) == 1
        assert str(newest) in told[0]


def resumed(folder: Path, description: Description) -> tuple[int, list[str]]:
    """Which version `--resume auto` goes on from, and what it says."""
    told: list[str] = []
    found = find_snapshot(folder, "auto", description, told.append)
    assert found is not None
    return found.version, told


def test_a_checkpoint_with_any_byte_changed_or_cut_anywhere_is_skipped_for_the_one_before(
    tmp_path: Path,
) -> None:
    fall_back(tmp_path)


def test_a_checkpoint_asked_for_by_name_is_refused_with_any_byte_changed_or_cut(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path, snapshot_of(TINY, 1))
    refuse_every_change(path, lambda: find_snapshot(None, str(path), TINY.describe(), pytest.fail), 5)


# -- made up: the format's own header says where tensors lie ----------------------------------------------


def with_header(whole: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The file with another header before the same tensors."""
    (size,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + whole[8 + size :]


def offsets(begin: int, end: int) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["weight"].update(data_offsets=[begin, end])


HEADERS: dict[str, Callable[[dict[str, Any]], None]] = {
    "past the end": offsets(2**40, 2**40 + 60),
    "over the end": offsets(60, 120),
    "backwards": offsets(60, 0),
    "empty": offsets(0, 0),
    "overlapping": lambda header: header["bias"].update(header["weight"]),
    "negative": offsets(-60, 0),
    "a number that none is": offsets(0, 2**64),
    "a shape without end": lambda header: header["weight"].update(shape=[2**62, 2**62]),
    "a negative shape": lambda header: header["weight"].update(shape=[-5, -3]),
    "another type": lambda header: header["weight"].update(dtype="F64"),
    "no type": lambda header: header["weight"].update(dtype="object"),
    "a tensor less": lambda header: header.pop("bias"),
    "a tensor more": lambda header: header.update(more=header["weight"]),
    "no metadata": lambda header: header.pop("__metadata__"),
    "metadata that are none": lambda header: header.update(__metadata__={"format": 3}),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_file_whose_offsets_or_shapes_are_made_up_is_refused(model: Path, name: str) -> None:
    model.write_bytes(with_header(model.read_bytes(), HEADERS[name]))
    with pytest.raises(CheckpointError):
        paramserver.load(model)


@pytest.mark.parametrize("size", [0, 2**31, 2**62, 2**64 - 1])
def test_a_header_longer_than_the_file_is_refused(model: Path, size: int) -> None:
    model.write_bytes(struct.pack("<Q", size) + model.read_bytes()[8:])
    with pytest.raises(CheckpointError):
        paramserver.load(model)


# -- made up, with a checksum that is right ---------------------------------------------------------------

HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a word that is none": lambda meaning: meaning["job"].update(model={"kind": "os.system"}),
    "a name of Python's own": lambda meaning: meaning["job"].update(model={"kind": "__class__"}),
    "a field of Python's own": lambda meaning: meaning["job"]["model"].update(__class__="os.system"),
    "layers in layers in layers": lambda meaning: meaning["job"].update(model=nested(200)),
    "a loss that is a layer": lambda meaning: meaning["job"].update(loss=meaning["job"]["model"]),
    "a model that is a plan": lambda meaning: meaning["job"].update(model=meaning["job"]["plan"]),
    "a model of no shape": lambda meaning: meaning["job"]["model"].update(inputs=2**62),
    "no job": lambda meaning: meaning.pop("job"),
    "metrics that are none": lambda meaning: meaning.update(metrics={"loss": "low"}),
    "metrics in a list": lambda meaning: meaning.update(metrics=[1, 2]),
}


def nested(depth: int) -> dict[str, Any]:
    plain: dict[str, Any] = {"kind": "Dense", "inputs": 5, "outputs": 3}
    for _ in range(depth):
        plain = {"kind": "Sequential", "layers": [plain]}
    return plain


def load_made_up(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """A model made up by somebody who knows how checksums are made: refused, and not run."""
    paramserver.load(path)  # so that whatever that imports is imported
    layout, vector, meaning = weights_file.read(path)
    change(meaning)
    weights_file.write(path, layout, vector, meaning)
    with Audit() as audit, contextlib.suppress(CheckpointError, AttributeError):
        paramserver.load(path)
        audit.ran.append("it was taken for a model")
    assert audit.ran == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_model_that_was_made_to_hurt_is_refused_and_runs_nothing(model: Path, name: str) -> None:
    load_made_up(model, HOSTILE[name])


SNAPSHOTS: dict[str, Any] = {
    "version": -1, "term": 0, "samples": -5, "seconds": float("nan"), "sums": {"loss": 3}, "history": [3],
    "done": [-1], "run": "../../etc", "job": [], "ledger": {"segment": "../x", "nbytes": 1, "chain": ""},
}  # fmt: skip


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_checkpoint_that_says_what_no_run_is_at_is_refused(tmp_path: Path, name: str) -> None:
    path = checkpoint.write(tmp_path, snapshot_of(TINY, 1))
    layout, vector, meaning = weights_file.read(path)
    weights_file.write(path, layout, vector, meaning | {name: SNAPSHOTS[name]})
    with pytest.raises(CheckpointError):
        checkpoint.read(path)


# -- broken -----------------------------------------------------------------------------------------------


def test_a_checksum_that_nobody_looks_at_is_seen(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.loads(model.read_bytes()[8 : 8 + struct.unpack("<Q", model.read_bytes()[:8])[0]])
    monkeypatch.setattr(weights_file, "_checksum", lambda *given: said["__metadata__"]["checksum"])
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        refuse_every_change(model, lambda: paramserver.load(model))


def test_not_falling_back_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first(folder: Path, digest: str | None, skipped: Callable[[str], None]) -> Snapshot:
        return checkpoint.read(checkpoint.checkpoints(folder)[0], digest)

    monkeypatch.setattr(checkpoint, "newest", first)
    with pytest.raises(CheckpointError):
        fall_back(tmp_path)


def test_a_vocabulary_that_is_open_is_seen(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word is looked up wherever Python finds it."""

    def build(plain: Any) -> Any:
        return eval(plain["kind"])(plain["text"]) if "text" in plain else from_plain(plain)

    monkeypatch.setattr("ps_worker.model.from_plain", build)
    text = {"kind": "eval", "text": "1 + 1"}
    with pytest.raises(AssertionError, match=r"exec|compile"):
        load_made_up(model, lambda meaning: meaning["job"].update(model=text))
