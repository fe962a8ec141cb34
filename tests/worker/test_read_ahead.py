"""Reading ahead: the same batches in the same order, failures in their place, and no thread is left."""

import contextlib
import threading

import numpy as np
import pytest

from ps_common import data
from ps_common.errors import DataError
from ps_common.shards import Shards
from ps_worker import read_ahead as read_ahead_module
from ps_worker.read_ahead import FileRowsAhead, read_ahead
from ps_worker.rows import FileRows, HeldRows

X = np.arange(60, dtype=np.float32).reshape(20, 3)
SOURCE = data.arrays(X, np.arange(20))
PARTS = [np.array([i]) for i in range(10)]


class Reads:
    """Keeps what has been read; a read of `bad` fails."""

    def __init__(self, bad=None):
        self.done, self.bad = [], bad
        self.more = threading.Condition()

    def __call__(self, part):
        if part[0] == self.bad:
            raise DataError(f"sample {part[0]} is gone")
        with self.more:
            self.done.append(int(part[0]))
            self.more.notify_all()
        return part[0]

    def wait_for(self, count):
        with self.more:
            assert self.more.wait_for(lambda: len(self.done) >= count, 30)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "reading ahead"] == []


@pytest.mark.parametrize("shards", [1, 3, (5, 9, 6)])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_batches_and_blocks_are_those_that_are_read_without_it(shards, batch_size):
    cut = Shards.of(20, shards)
    for shard in range(cut.count):
        chosen = np.random.default_rng(shard).permutation(cut.size(shard))
        each = [
            FileRowsAhead(SOURCE, cut, shard), FileRows(SOURCE, cut, shard),
            HeldRows(SOURCE.read(cut.rows(shard))),
        ]  # fmt: skip
        ahead, plain, held = (
            [[part.tolist() for part in b] for b in r.batches(chosen, batch_size)] for r in each
        )
        assert ahead == plain == held
        assert [len(y) for _, y in held[:-1]] == [batch_size] * (len(held) - 1)
        assert [i for _, y in held for i in y] == np.arange(20)[cut.rows(shard)][chosen].tolist()
        blocks = [(first, y.tolist()) for first, (_, y) in each[0].blocks()]
        assert blocks == [(first, y.tolist()) for first, (_, y) in each[2].blocks()]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_it_reads_so_many_ahead_and_no_more(ahead):
    reads = Reads()
    with contextlib.closing(read_ahead(reads, PARTS, ahead)) as parts:
        assert next(parts) == 0
        reads.wait_for(ahead + 1)  # it reads on while nobody asks
        assert next(parts) == 1
        reads.wait_for(ahead + 2)
        assert reads.done == list(range(ahead + 2))
    assert len(reads.done) <= ahead + 2


@pytest.mark.parametrize(("bytes_", "sizes"), [(1, [4] * 5), (81, [4, 8, 8]), (10**6, [4, 8, 8])])
def test_small_batches_are_read_together_twice_as_many_each_time(bytes_, sizes, monkeypatch):
    monkeypatch.setattr(read_ahead_module, "TOGETHER_BYTES", bytes_)
    rows, asked = FileRowsAhead(SOURCE, Shards.of(20, 1), 0), []
    take = rows.take
    monkeypatch.setattr(rows, "take", lambda part: (asked.append(len(part)), take(part))[1])
    batches = list(rows.batches(np.arange(20), 4))
    assert asked == sizes
    assert [y.tolist() for _, y in batches] == np.arange(20).reshape(5, 4).tolist()


class Torn(data.Source):
    """A file whose row 13 cannot be read."""

    samples, fields = 20, SOURCE.fields

    def read(self, rows):
        if 13 in rows:
            raise DataError("row 13 is torn")
        return SOURCE.read(rows)

    def plain(self):
        return {"kind": "torn"}


def test_a_batch_that_cannot_be_read_fails_in_its_turn_though_it_is_read_with_others():
    batches = FileRowsAhead(Torn(), Shards.of(20, 1), 0).batches(np.arange(20), 3)
    assert [next(batches)[1].tolist() for _ in range(4)] == np.arange(12).reshape(4, 3).tolist()
    with pytest.raises(DataError, match="row 13 is torn"):
        next(batches)


def test_no_indices_are_no_batches():
    assert list(FileRowsAhead(SOURCE, Shards.of(20, 1), 0).batches(np.array([], np.int64), 4)) == []


def test_a_failure_is_raised_at_the_batch_that_it_belongs_to():
    reads = Reads(bad=4)
    parts = read_ahead(reads, PARTS, ahead=9)
    assert [next(parts) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(DataError, match="sample 4 is gone"):
        next(parts)
    assert reads.done == [0, 1, 2, 3]


def test_who_stops_early_ends_the_thread():
    reads = Reads()
    with contextlib.closing(read_ahead(reads, PARTS)) as parts:
        for part in parts:
            if part == 2:
                break
    assert len(reads.done) <= 5


def test_a_consumer_that_fails_ends_the_thread():
    def consume():
        with contextlib.closing(read_ahead(Reads(), PARTS)) as parts:
            for part in parts:
                raise ValueError(f"no use for {part}")

    with pytest.raises(ValueError, match="no use for 0"):
        consume()
