"""The ledger's files: whatever kills a master, what is left can be gone on from and verified."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paramserver import checkpoint, ledger, saving
from paramserver.effects import Position
from paramserver.ledger import Commit, Header, Ledger, bring, follow, read_header, segments_of
from paramserver.verify import find, verify
from ps_common import files, weights_file
from ps_common.errors import CheckpointError
from support_disks import small_disk
from support_ledgers import JOB, SCHEDULE, Start, averaged, run_with_two_starts, snapshot

Contents = dict[str, bytes]  # of a folder, by name


def newest(folder: Path) -> Path:
    return find(folder, lambda text: None)


def header(**changes):
    return Header(**{"run": "run", "term": 1, "job_digest": "j", "chunk_bytes": 64, "servers": 1,
                     "continues": None, **changes})  # fmt: skip


def contents(folder: Path) -> Contents:
    found = {}
    for path in folder.iterdir():
        try:
            found[path.name] = path.read_bytes()
        except FileNotFoundError:  # it went meanwhile, in another thread
            continue
    return found


# -- what is written is read ------------------------------------------------------------------------------


def test_what_is_written_comes_back(tmp_path):
    book = Ledger(tmp_path, header(servers=3))
    assert list(tmp_path.iterdir()) == []
    first = book.commit([averaged(1), averaged(2)], 2, "ab")
    book.append([averaged(3)])
    last = book.commit([averaged(4)], 4, "cd")
    (segment,) = follow(tmp_path, last)
    segment.check()
    lines = [line for _, line in segment.lines()]
    rounds = [line for line in lines if not isinstance(line, Commit)]
    assert rounds == [averaged(version) for version in (1, 2, 3, 4)]
    assert [(line.version, line.weights) for line in lines if isinstance(line, Commit)] == [
        (2, "ab"),
        (4, "cd"),
    ]
    assert segment.header == read_header(segment.path) == header(servers=3)
    assert last.nbytes == segment.path.stat().st_size > first.nbytes
    (shorter,) = follow(tmp_path, first)
    shorter.check()
    assert len(list(shorter.lines())) == 3


def test_a_commit_of_nothing_new_is_one_all_the_same(tmp_path):
    book = Ledger(tmp_path, header())
    positions = [book.commit([], 0, "ab"), book.commit([], 0, "ab")]
    assert positions[0] != positions[1]
    for position in positions:
        next(follow(tmp_path, position)).check()


def test_every_start_has_a_segment_of_its_own_though_its_term_came_before(tmp_path):
    names = {Ledger(tmp_path, header()).name for _ in range(20)}
    assert len(names) == 20


def test_a_full_disk_leaves_nothing_that_counts_and_what_comes_later_follows_on(tmp_path):
    book = Ledger(tmp_path, header())
    book.commit([averaged(1)], 1, "ab")
    before = contents(tmp_path)
    with small_disk(len(before[book.name]) + 100), pytest.raises(OSError, match="File too large"):
        book.commit([averaged(2)], 2, "cd")
    assert contents(tmp_path) != before, "part of it was written"
    last = book.commit([averaged(2), averaged(3)], 3, "cd")
    (segment,) = follow(tmp_path, last)
    segment.check()
    assert [line.version for _, line in segment.lines()] == [1, 1, 2, 3, 3]


def test_a_segment_that_somebody_cut_is_not_gone_on_with(tmp_path):
    book = Ledger(tmp_path, header())
    book.commit([averaged(1)], 1, "ab")
    (tmp_path / book.name).write_bytes(b"")
    with pytest.raises(OSError, match="cut short by somebody else"):
        book.commit([averaged(2)], 2, "cd")


# -- the writer -------------------------------------------------------------------------------------------


def test_rounds_between_checkpoints_are_all_there_though_snapshots_are_superseded(tmp_path):
    start = Start(tmp_path)
    for version in range(1, 10):
        start.average(version)
        start.writer.put(snapshot(version))
    start.end()
    assert verify(newest(tmp_path), None).rounds == tuple(averaged(version) for version in range(1, 10))


def test_many_rounds_are_written_before_the_next_checkpoint_and_not_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "UNITS_AT_ONCE", 5)
    start = Start(tmp_path)
    start.average(7)
    segment, deadline = tmp_path / start.ledger.name, time.monotonic() + 60
    while not segment.exists():
        assert time.monotonic() < deadline, "nothing is written before a checkpoint asks for it"
        time.sleep(0.01)
    path = start.save()
    start.end()
    assert verify(path).units == 19
    assert segment.read_bytes().count(b'"version":') == 7


def test_rounds_that_a_full_disk_refused_are_written_with_the_next_checkpoint(tmp_path):
    start = Start(tmp_path)
    start.average(2).save()
    with small_disk(400):
        start.average(4)
        with pytest.raises(OSError, match="File too large"):
            start.save()
    path = start.average(5).save()
    start.end()
    assert verify(path).snapshot.version == 5


def test_rounds_after_a_snapshot_wait_for_the_next(tmp_path):
    start = Start(tmp_path)
    before = snapshot(2)
    start.average(4)
    start.writer.put(before)  # as if the rounds 3 and 4 had come while it waited
    start.told.get(timeout=60)
    assert verify(newest(tmp_path)).snapshot.version == 2
    start.save()
    start.end()
    assert verify(newest(tmp_path)).snapshot.version == 4


def test_the_ledger_is_on_the_disk_before_the_checkpoint_that_names_it(tmp_path, monkeypatch):
    happened = []
    sync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        happened.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        sync(descriptor)

    def note_replace(path: Path, to: Path) -> Path:
        happened.append(("named", to.name))
        return replace(path, to)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    start = Start(tmp_path)
    start.average(1).save()
    start.average(2).save()
    start.end()
    commits = [at for at, what in enumerate(happened) if what == ("sync", start.ledger.name)]
    named = [at for at, (what, _) in enumerate(happened) if what == "named"]
    folder = happened.index(("sync", tmp_path.name))
    assert commits[0] < folder < named[0] < commits[1] < named[1]


# -- killed at any step -----------------------------------------------------------------------------------


def states_of(folder: Path, action: Callable[[], object]) -> Iterator[Contents]:
    """What a kill leaves in a folder: after every line that is run, and with parts of what was written."""
    watched = {module.__file__ for module in (checkpoint, ledger, weights_file, files)}
    found = [contents(folder)]

    def look() -> None:
        now = contents(folder)
        if now != found[-1]:
            found.append(now)

    def trace(frame, event, argument):
        if frame.f_code.co_filename not in watched:
            return None
        look()
        return trace

    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(None)
    look()
    for before, after in zip(found, [*found[1:], found[-1]], strict=True):
        yield before
        for name, data in after.items():
            if name.startswith("round-"):
                continue  # it is named when it is whole
            start = len(before.get(name, b""))
            for part in (1, len(data) // 2, len(data) - 1):
                if start < part < len(data):
                    yield {**before, name: data[:part]}


def without_thread(start: Start) -> Callable[[int], None]:
    """Saves as the writer's thread does, in this one, where it can be watched."""

    def save(until: int) -> None:
        rounds = [averaged(version) for version in range(start.version + 1, until + 1)]
        start.version = until
        rounds = start.writer._append(rounds[:1]) + rounds[1:]
        left, path, error = start.writer._write(snapshot(until, start.term, start.run), rounds)
        assert (left, path is not None, error) == ([], True, None)

    return save


@pytest.mark.parametrize("has_begun", [False, True])
def test_killed_at_any_step_of_saving_it_goes_on_and_verifies(tmp_path, has_begun):
    folder = tmp_path / "kept"
    if has_begun:
        run_with_two_starts(folder)
    start = Start.again(folder) if has_begun else Start(folder)
    save = without_thread(start)
    first = start.version

    def train() -> None:
        for version in range(first + 1, SCHEDULE.rounds + 1):
            save(version)

    count = 0
    for count, state in enumerate(states_of(folder, train), 1):  # noqa: B007
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for name, data in state.items():
            (copy / name).write_bytes(data)
        if checkpoint.checkpoints(copy):
            verify(newest(copy))  # as it was left
        for _ in range(2):  # and again, killed right after it began
            again = Start.again(copy)
            again.average(min(again.version + 1, SCHEDULE.rounds))
            again.writer._append([averaged(again.version)])  # void, unless it is saved
            again.end()
        last = Start.again(copy)
        path = last.average(SCHEDULE.rounds).save()
        last.end()
        assert verify(path).units == 3 * 8
        assert not list(copy.glob(".*")), "what was half written is gone"
        used = {segment.path for one in checkpoint.checkpoints(copy) for segment in verify(one).segments}
        assert set(segments_of(copy, "run")) == used, "segments that are of no use are left"
    assert count > 20, "too few steps were seen"
    start.end()


# -- which segments stay ----------------------------------------------------------------------------------


def test_segments_of_other_runs_and_other_files_are_let_alone(tmp_path):
    other = Start(tmp_path, run="other")
    other.average(1).save()
    other.end()
    mine = tmp_path / "ledger-mine.jsonl"
    mine.write_text("mine")
    void = Ledger(tmp_path, header())
    void.append([averaged(1)])
    run_with_two_starts(tmp_path)
    assert mine.read_text() == "mine"
    assert not (tmp_path / void.name).exists()
    assert len(segments_of(tmp_path, "other")) == 1
    assert len(segments_of(tmp_path, "run")) == 2


def test_no_segment_goes_while_a_checkpoint_cannot_be_read(tmp_path):
    void = Ledger(tmp_path, header())
    void.append([averaged(1)])
    (tmp_path / checkpoint.name_of(99)).write_bytes(b"damaged")
    run_with_two_starts(tmp_path)
    assert (tmp_path / void.name).exists()


def test_no_segment_goes_while_one_that_is_needed_is_missing(tmp_path):
    path = run_with_two_starts(tmp_path)
    first, second = segments_of(tmp_path, "run")
    first.unlink()
    Start(tmp_path, checkpoint.read(path)).end()
    assert second in segments_of(tmp_path, "run")


def test_an_older_checkpoint_gone_on_from_makes_a_second_branch_and_both_verify(tmp_path):
    newer = run_with_two_starts(tmp_path)
    branch = Start(tmp_path, checkpoint.read(tmp_path / checkpoint.name_of(2)))
    path = branch.average(3).save()
    branch.end()
    assert (verify(path).snapshot.version, verify(newer).snapshot.version) == (3, 7)
    assert verify(path).snapshot.term == verify(newer).snapshot.term == 2


def test_a_ledger_is_taken_along_to_another_folder(tmp_path):
    path = run_with_two_starts(tmp_path / "old")
    new = tmp_path / "new"
    new.mkdir()
    since = checkpoint.read(path)
    (first, second) = segments_of(path.parent, "run")
    second.write_bytes(second.read_bytes() + b"void")
    for _ in range(2):  # the second time it is there
        bring(path.parent, new, since.ledger)
    assert contents(new) == {p.name: p.read_bytes().removesuffix(b"void") for p in (first, second)}
    again = Start(new, since)
    assert verify(again.average(9).save()).units == 3 * 8
    again.end()
    assert len(segments_of(new, "run")) == 3
    assert all(p.read_bytes().startswith(b'{"format"') for p in segments_of(new, "run"))


def test_a_longer_copy_takes_the_place_of_a_shorter_one(tmp_path):
    book = Ledger(tmp_path, header())
    first = book.commit([averaged(1)], 1, "ab")
    new = tmp_path / "new"
    new.mkdir()
    bring(tmp_path, new, first)
    bring(tmp_path, new, book.commit([averaged(2)], 2, "cd"))
    bring(tmp_path, new, first)
    assert contents(new) == {book.name: (tmp_path / book.name).read_bytes()}


# -- what is none -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../ledger-run-0000000001-00000000.jsonl", "ledger-../x-0000000001-00000000.jsonl", "round-1", "",
     "ledger-run-0000000001-00000000.jsonl/..", "ledger-run-1-00000000.jsonl"],
)  # fmt: skip
def test_a_name_that_is_no_segments_is_not_looked_for(tmp_path, name):
    with pytest.raises(ValueError, match="is no name of a segment"):
        next(follow(tmp_path, Position(name, 1, "00")))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"format":"paramserver-ledger-2"}', '{"format":"paramserver-ledger-1"}',
     '{"format":"paramserver-ledger-1","run":"run","term":-1,"job_digest":"","chunk_bytes":1,"servers":1,'
     '"continues":null}', "[" * 100_000, "\xff"],
)  # fmt: skip
def test_a_file_that_is_no_ledger_is_told(tmp_path, text):
    path = tmp_path / "ledger-run-0000000001-00000000.jsonl"
    path.write_text(text + "\n", encoding="latin-1")
    with pytest.raises(CheckpointError, match="byte 0: this is no header of a ledger"):
        read_header(path)


def test_the_job_of_these_tests_has_a_round_in_which_a_shard_sits_out():
    assert [SCHEDULE.units(round_) for round_ in range(3)] == [(0, 1, 2), (0, 1, 2), (0, 2)]
    assert JOB.digest
