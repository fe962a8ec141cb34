"""Which samples are in which shard."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common.errors import DataError, UsageError
from ps_common.shards import Shards, shuffled

BOUNDED = settings(deadline=None, max_examples=80)
COUNTED = st.integers(1, 300).flatmap(lambda n: st.builds(Shards.of, st.just(n), st.integers(1, n)))
SIZED = st.lists(st.integers(1, 40), min_size=1, max_size=9).map(lambda s: Shards.of(sum(s), tuple(s)))


@BOUNDED
@given(COUNTED | SIZED)
def test_every_sample_is_in_exactly_one_shard(shards):
    rows = [np.arange(shards.samples)[shards.rows(shard)] for shard in range(shards.count)]
    assert sorted(np.concatenate(rows)) == list(range(shards.samples))
    assert [len(part) for part in rows] == [shards.size(shard) for shard in range(shards.count)]


@BOUNDED
@given(COUNTED)
def test_counted_shards_are_equal_to_within_one_sample(shards):
    sizes = [shards.size(shard) for shard in range(shards.count)]
    assert max(sizes) - min(sizes) <= 1


def test_sized_shards_cut_the_data_in_file_order():
    shards = Shards.of(16, (5, 9, 2))
    assert [shards.rows(s) for s in range(3)] == [slice(0, 5), slice(5, 14), slice(14, 16)]
    assert [shards.size(s) for s in range(3)] == [5, 9, 2]


def test_counted_shards_deal_the_data_out_like_cards():
    shards = Shards.of(7, 3)
    assert [list(range(7))[shards.rows(s)] for s in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]


@BOUNDED
@given(COUNTED | SIZED, st.data())
def test_rows_between_are_the_shards_own_samples(shards, data):
    shard = data.draw(st.integers(0, shards.count - 1))
    first = data.draw(st.integers(0, shards.size(shard) + 2))
    stop = data.draw(st.integers(0, shards.size(shard) + 5))
    everything = np.arange(shards.samples)
    expected = everything[shards.rows(shard)][first:stop]
    assert everything[shards.rows_between(shard, first, stop)].tolist() == expected.tolist()
    assert [shards.row(shard, first + i) for i in range(len(expected))] == expected.tolist()


def test_more_shards_than_samples_are_refused_with_advice():
    with pytest.raises(DataError, match=r"9 shards of 8 test samples.*--shards 8 or fewer"):
        Shards.of(8, 9, "test")


@pytest.mark.parametrize("sizes", [(5, 9, 1), (5, 9, 3), (17,)])
def test_sizes_that_do_not_add_up_are_refused(sizes):
    with pytest.raises(UsageError, match=f"add up to {sum(sizes)}, but there are 16"):
        Shards.of(16, sizes)


def test_an_epochs_order_is_a_permutation_that_follows_from_names_alone():
    order = shuffled(5, 2, 1, 100)
    assert sorted(order) == list(range(100))
    assert order.tolist() == shuffled(5, 2, 1, 100).tolist()
    others = [shuffled(6, 2, 1, 100), shuffled(5, 3, 1, 100), shuffled(5, 2, 0, 100)]
    assert all(order.tolist() != other.tolist() for other in others)
