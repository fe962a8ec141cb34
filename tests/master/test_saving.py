"""Checkpoints are written while rounds go on: the newest counts, and a failing disk is told."""

import os
import queue
import threading

from paramserver import checkpoint
from paramserver.checkpoint import name_of
from paramserver.saving import Writer
from support_checkpoints import snapshot, versions
from support_disks import small_disk


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


def test_what_a_killed_master_left_half_written_is_removed(tmp_path):
    for leftover in (f".{name_of(3)}.4711.partial", ".tmpWWMQbE"):
        (tmp_path / leftover).write_bytes(b"half")
    kept = checkpoint.write(tmp_path, snapshot(2))
    assert Writer(tmp_path, Told()).close(60)
    assert os.listdir(tmp_path) == [kept.name]
