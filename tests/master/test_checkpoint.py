"""Checkpoints: the newest valid one is found, and old ones go."""

import dataclasses
import os

import numpy as np
import pytest

from paramserver import checkpoint
from paramserver.checkpoint import KEPT, checkpoints, name_of, newest, read, write
from paramserver.effects import Position, Snapshot
from ps_common import weights_file
from ps_common.errors import CheckpointError, JobMismatch
from support_checkpoints import JOB, LAYOUT, snapshot, versions


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


def test_nothing_is_written_into_a_snapshot(tmp_path):
    given = snapshot(1, fill=np.pi)
    before = given.vector.tobytes()
    given.vector.flags.writeable = False
    checkpoint.write(tmp_path, given)
    assert given.vector.tobytes() == before


# -- whose a folder is ------------------------------------------------------------------------------------


def test_checkpoints_of_another_run_or_job_are_never_removed(tmp_path):
    others = [dataclasses.replace(snapshot(1), run="other"), snapshot(2, "b" * 64)]
    for one in others:
        write(tmp_path, one)
    (tmp_path / name_of(3)).write_bytes(b"damaged: nobody's")
    for version in range(4, 10):
        write(tmp_path, snapshot(version))
    left = [int(path.stem.removeprefix("round-")) for path in checkpoints(tmp_path)]
    assert left == [9, 8, 7, 3, 2, 1]


def test_a_checkpoint_that_another_run_has_replaced_is_the_others(tmp_path):
    for version in (1, 2, 3):
        write(tmp_path, snapshot(version))
    write(tmp_path, dataclasses.replace(snapshot(2), run="other"))
    for version in (4, 5, 6):
        write(tmp_path, snapshot(version))
    assert versions(tmp_path) == [6, 5, 4, 2]


def test_a_ledgers_position_comes_back(tmp_path):
    position = Position("ledger-run-0000000002-0123abcd.jsonl", 17, "ab")
    given = dataclasses.replace(snapshot(1), ledger=position)
    assert read(write(tmp_path, given)).ledger == position


@pytest.mark.parametrize("run", ["", "../x", "a/b", "x" * 65, "a b"])
def test_a_run_whose_name_could_be_no_files_is_refused(tmp_path, run):
    path = tmp_path / name_of(1)
    weights_file.write(path, LAYOUT, LAYOUT.empty(), {**meaning(snapshot(1)), "run": run})
    with pytest.raises(CheckpointError, match="run is"):
        read(path)
