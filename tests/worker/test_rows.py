"""The rows of a shard, wherever they lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common import data
from ps_common.shards import Shards
from ps_worker import rows as rows_module
from ps_worker.rows import FileRows, HeldRows, ShardRows

X = np.arange(60, dtype=np.float32).reshape(20, 3)
Y = np.arange(20, dtype=np.int64)
SOURCE = data.arrays(X, Y)


def both(shards: Shards, shard: int) -> list[ShardRows]:
    """The shard held in memory, and read from its source."""
    return [HeldRows(SOURCE.read(shards.rows(shard))), FileRows(SOURCE, shards, shard)]


SHARDS = st.one_of(st.integers(1, 20), st.just((5, 9, 6)), st.just((20,)))


@settings(deadline=None, max_examples=40)
@given(SHARDS, st.data())
def test_samples_are_taken_by_their_number_in_the_shard_in_the_order_asked(shards, draw):
    cut = Shards.of(20, shards)
    shard = draw.draw(st.integers(0, cut.count - 1))
    indices = np.array(draw.draw(st.lists(st.integers(0, cut.size(shard) - 1), max_size=9)), np.int64)
    for rows in both(cut, shard):
        x, y = rows.take(indices)
        assert y.tolist() == Y[cut.rows(shard)][indices].tolist()
        assert x.tolist() == X[cut.rows(shard)][indices].tolist()
        assert (x.dtype, y.dtype, x.shape[1:]) == (X.dtype, Y.dtype, (3,))
        assert (rows.size, rows.sample_bytes) == (cut.size(shard), 20)


@pytest.mark.parametrize("at_once", [1, 20, 59, 60, 10**6])
@pytest.mark.parametrize("shards", [1, 3, (5, 9, 6)])
def test_blocks_go_through_every_sample_once_in_order(shards, at_once, monkeypatch):
    monkeypatch.setattr(rows_module, "AT_ONCE_BYTES", at_once)
    cut = Shards.of(20, shards)
    for rows in both(cut, cut.count - 1):
        blocks = list(rows.blocks())
        assert [first for first, _ in blocks] == list(range(0, rows.size, max(1, at_once // 20)))
        together = np.concatenate([y for _, (_, y) in blocks])
        assert together.tolist() == Y[cut.rows(cut.count - 1)].tolist()


def test_a_block_has_no_more_samples_than_asked_for():
    for rows in both(Shards.of(20, 1), 0):
        assert [len(y) for _, (_, y) in rows.blocks(7)] == [7, 7, 6]
        assert [len(y) for _, (_, y) in rows.blocks(50)] == [20]


def test_what_is_taken_may_be_changed():
    for rows in both(Shards.of(20, 2), 0):
        rows.take(np.array([0]))[0][...] = 99
        assert rows.take(np.array([0]))[0].tolist() == [[0, 1, 2]]
