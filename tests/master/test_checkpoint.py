"""Checkpoints: the newest valid one is found, old ones go, and a failing disk is told."""

import dataclasses
import os
import queue
import threading

import numpy as np
import pytest

from paramserver import checkpoint
from paramserver.checkpoint import KEPT, Writer, checkpoints, name_of, newest, read, write
from paramserver.effects import Snapshot
from ps_common import weights_file
from ps_common.errors import CheckpointError, JobMismatch
from ps_common.layout import Entry, Layout
from support_disks import small_disk

LAYOUT = Layout([Entry("w", (30_000,)), Entry("m", (4,), role="slot")])
JOB = "a" * 64


def snapshot(version: int, job_digest: str = JOB, fill: float | None = None) -> Snapshot:
    vector = LAYOUT.empty()
    LAYOUT.views(vector)["w"][...] = version if fill is None else fill
    return Snapshot(
        layout=LAYOUT,
        vector=vector,
        version=version,
        run="run",
        term=2,
        job={"seed": 3},
        job_digest=job_digest,
        samples=8 * version,
        sums={"loss": [0.1 + version, 8.0]},
        history=[{"epoch": 1, "loss": 0.1}],
        seconds=1.5,
    )


def versions(folder) -> list[int]:
    return [read(path).version for path in checkpoints(folder)]


def test_everything_in_a_snapshot_comes_back_exactly(tmp_path):
    given = snapshot(7)
    got = read(write(tmp_path / "new" / "folder", given), JOB)
    assert got.vector.tobytes() == given.vector.tobytes()
    for field in dataclasses.fields(Snapshot):
        if field.name != "vector":
            assert getattr(got, field.name) == getattr(given, field.name), field.name


def test_the_newest_few_are_kept(tmp_path):
    for version in range(2, 8):
        write(tmp_path, snapshot(version))
    assert versions(tmp_path) == [7, 6, 5]
    assert len(os.listdir(tmp_path)) == KEPT


def test_later_rounds_of_a_former_run_do_not_push_a_new_runs_checkpoints_out(tmp_path):
    for version in (500, 499, 498):
        write(tmp_path, snapshot(version, "b" * 64))
    for version in (1, 2, 3, 4, 5):
        write(tmp_path, snapshot(version))
        assert versions(tmp_path)[3:][0] == version
    assert versions(tmp_path) == [500, 499, 498, 5, 4, 3]
    found = newest(tmp_path, JOB, lambda text: None)
    assert found is not None
    assert found.version == 5


def test_files_of_other_names_are_let_alone(tmp_path):
    others = [
        "model.safetensors",
        "round-1.safetensors",
        "round-0000000001.safetensors.old",
        ".round-0000000009.tmp",
    ]
    for name in others:
        (tmp_path / name).write_text("mine")
    for version in range(9):
        write(tmp_path, snapshot(version))
    assert set(os.listdir(tmp_path)) == {*others, *(name_of(v) for v in (6, 7, 8))}


def test_the_newest_valid_one_is_taken_and_each_skipped_is_named_with_its_reason(tmp_path):
    for version in (3, 4, 5):
        write(tmp_path, snapshot(version))
    damaged = tmp_path / name_of(5)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    weights_file.write(tmp_path / name_of(6), LAYOUT, LAYOUT.empty(), {"job": {}, "metrics": {}})
    weights_file.write(
        tmp_path / name_of(7), LAYOUT, LAYOUT.empty(), {**meaning(snapshot(7)), "version": "seven"}
    )
    other = snapshot(8, "b" * 64)
    weights_file.write(tmp_path / name_of(8), LAYOUT, other.vector, meaning(other))
    (tmp_path / name_of(9)).write_bytes(b"")
    skipped: list[str] = []
    found = newest(tmp_path, JOB, skipped.append)
    assert found is not None
    assert found.version == 4
    assert len(skipped) == 5
    for text, (version, reason) in zip(
        skipped,
        [(9, "damaged"), (8, "of another job (digest bbbbbbbbbbbb"), (7, "version is 'seven'"),
         (6, "is no checkpoint"), (5, "damaged")],
        strict=True,
    ):  # fmt: skip
        assert text.startswith("skipped a checkpoint: ")
        assert name_of(version) in text
        assert reason in text


def meaning(given: Snapshot) -> dict:
    return {k: v for k, v in vars(given).items() if k not in ("layout", "vector")}


def test_no_checkpoint_is_none(tmp_path):
    assert newest(tmp_path, JOB, pytest.fail) is None
    assert newest(tmp_path / "gone", JOB, pytest.fail) is None


def test_one_asked_for_by_name_must_be_of_the_job_and_whole(tmp_path):
    path = write(tmp_path, snapshot(3))
    assert read(path).version == 3
    with pytest.raises(JobMismatch, match=r"is of another job.*--resume never") as caught:
        read(path, "b" * 64)
    assert caught.value.exit_code == 76
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError):
        read(path, JOB)


@pytest.mark.parametrize(
    ("name", "value"),
    [("version", None), ("term", "2"), ("samples", 1.0), ("run", 3), ("job_digest", None), ("job", []),
     ("sums", None), ("history", {}), ("seconds", "1"), ("vector", []), ("more", 1)],
)  # fmt: skip
def test_a_whole_file_with_a_value_that_no_run_has_is_refused(tmp_path, name, value):
    path = tmp_path / name_of(1)
    weights_file.write(path, LAYOUT, LAYOUT.empty(), {**meaning(snapshot(1)), name: value})
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        read(path, JOB)


class Told:
    """What a writer reports, from its thread."""

    def __init__(self):
        self.reports = queue.SimpleQueue()
        self.may_go_on = threading.Event()

    def __call__(self, path, error):
        self.reports.put((path and path.name, error))
        assert self.may_go_on.wait(60)

    def next(self):
        return self.reports.get(timeout=60)


def test_of_several_snapshots_that_wait_the_last_is_written(tmp_path):
    told = Told()
    writer = Writer(tmp_path, told)
    writer.put(snapshot(1))
    assert told.next() == (name_of(1), None)
    for version in (2, 3, 4):  # the thread is held back in its report of the first
        writer.put(snapshot(version))
    told.may_go_on.set()
    assert told.next() == (name_of(4), None)
    assert writer.close(60)
    assert versions(tmp_path) == [4, 1]


def test_closing_writes_what_waits(tmp_path):
    told = Told()
    writer = Writer(tmp_path, told)
    writer.put(snapshot(1))
    told.next()
    writer.put(snapshot(2))
    writer.put(snapshot(3))
    assert not writer.close(0)  # it is held back
    told.may_go_on.set()
    assert writer.close(60)
    assert versions(tmp_path) == [3, 1]


def test_a_full_disk_is_told_and_the_next_snapshot_is_written_again(tmp_path):
    told = Told()
    told.may_go_on.set()
    writer = Writer(tmp_path, told)
    with small_disk(50_000):
        writer.put(snapshot(1))
        path, error = told.next()
    assert path is None
    assert isinstance(error, OSError)
    assert os.listdir(tmp_path) == []
    writer.put(snapshot(2))
    assert told.next() == (name_of(2), None)
    assert writer.close(60)


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "taken").write_text("mine")
    told = Told()
    told.may_go_on.set()
    writer = Writer(tmp_path / "taken", told)
    writer.put(snapshot(1))
    assert isinstance(told.next()[1], OSError)
    assert writer.close(60)


def test_nothing_is_written_into_a_snapshot(tmp_path):
    given = snapshot(1, fill=np.pi)
    before = given.vector.tobytes()
    given.vector.flags.writeable = False
    checkpoint.write(tmp_path, given)
    assert given.vector.tobytes() == before


def test_what_a_killed_master_left_half_written_is_removed(tmp_path):
    leftover = tmp_path / f".{name_of(3)}.4711.partial"
    leftover.write_bytes(b"half")
    kept = checkpoint.write(tmp_path, snapshot(2))
    assert Writer(tmp_path, Told()).close(60)
    assert os.listdir(tmp_path) == [kept.name]
