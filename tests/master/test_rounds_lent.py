"""Contributions that lie in memory of others: lent to a round, summed when that is due, and given back."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common.errors import PeerError
from ps_common.layout import Entry, Layout
from support_layouts import layouts
from support_rounds import SMALL, Case

NBYTES = SMALL.nbytes - 32  # of its chunks: 32 bytes between the runs belong to none


def test_what_is_lent_is_delivered_and_stays_where_it_is_until_the_end():
    case = Case(SMALL, [1, 3])
    first, second = case.shards
    case.lend(second)
    assert case.round.is_delivered(second)
    assert not case.round.is_closed
    case.lend(first)
    assert case.round.is_closed
    assert not any(case.round.is_chunk_closed(span.index) for span in case.spans), "nothing is summed yet"
    assert (case.round.held_bytes, case.round.granted_bytes) == (0, 0)
    case.round.finish()
    case.assert_right()


def test_the_average_is_copied_to_vectors_that_are_none_and_that_are_one_of_the_parts():
    case = Case(SMALL, [1, 3, 4])
    for shard in case.shards:
        case.lend(shard)
    mirrors = [SMALL.empty(), case.lent[case.shards[0]], case.lent[case.shards[2]], SMALL.empty()]
    case.round.finish(mirrors)
    case.assert_right(*mirrors)


def test_an_average_that_is_there_already_is_copied_too():
    case = Case(SMALL, [1, 3], window=9)
    first, second = case.shards
    case.announce(second)
    case.send(second, 1)
    case.lend(first)
    case.send(second, 0)  # closed before the end, and another one not
    case.lend(second)
    mirrors = [case.lent[first], case.lent[second]]
    assert [case.round.is_chunk_closed(span.index) for span in case.spans] == [True, False, False, False]
    case.round.finish(mirrors)
    case.assert_right(*mirrors)


def test_memory_is_given_back_when_its_shard_is_in_turn():
    case = Case(SMALL, [1, 1, 1])
    first, second, third = case.shards
    case.lend(second)
    assert not case.absorb(second), "the first is summed before it"
    case.lend(first)
    assert case.absorb(second), "both are in turn now"
    assert case.absorb(first)
    case.lend(third)
    case.round.finish([case.lent[first], case.lent[second]])
    case.assert_right(case.lent[first], case.lent[second])


def test_memory_that_goes_away_is_copied_and_counted_until_it_is_summed():
    case = Case(SMALL, [1, 2])
    first, second = case.shards
    case.lend(second)
    case.keep(second)
    assert case.round.held_bytes == case.held_bytes() == NBYTES
    case.keep(second)
    assert case.round.held_bytes == NBYTES, "a copy is not copied"
    case.lend(first)
    case.absorb(first)
    assert case.round.held_bytes == 0
    case.round.finish()
    case.assert_right()


def test_memory_that_is_summed_already_is_not_copied():
    case = Case(SMALL, [1, 2])
    first, second = case.shards
    case.lend(first)
    case.absorb(first)
    case.keep(first)
    assert case.round.held_bytes == 0
    case.lend(second)
    case.round.finish()
    case.assert_right()


def test_what_a_lost_worker_has_sent_stays_and_the_next_lends_the_rest():
    case = Case(SMALL, [1, 2])
    first, second = case.shards
    case.announce(second)
    case.send(second, 1)
    assert case.round.granted_bytes > 0
    case.lend(second)  # what was granted to the one before is withdrawn
    assert (case.round.granted_bytes, case.round.held_bytes) == (0, 64)
    assert case.round.granted(second) == ()
    case.lend(first)
    case.round.finish()
    case.assert_right()


def test_a_chunk_of_what_is_lent_comes_too_late_and_changes_nothing():
    case = Case(SMALL, [1, 2])
    first, second = case.shards
    case.lend(first)
    assert not case.round.deliver(first, 0, memoryview(bytes(64)))
    with pytest.raises(PeerError, match="was not asked for"):
        case.round.deliver(second, 0, memoryview(bytes(64)))
    case.lend(second)
    case.round.finish()
    case.assert_right()


def test_a_shard_after_lent_ones_is_in_turn_though_nothing_is_summed_yet():
    """Else it would wait for room, and those who fill it for it."""
    case = Case(SMALL, [1, 1, 1], window=4, budget=NBYTES)
    first, second, third = case.shards
    case.announce(third)
    for index in range(4):
        case.send(third, index)
    assert case.round.free_bytes == 0
    case.lend(first)
    case.announce(second)
    assert case.may[second] == {0, 1, 2, 3}
    assert not case.round.is_blocked(second)
    for index in range(4):
        case.send(second, index)
    case.round.finish()
    case.assert_right()


def test_a_shard_that_waits_is_granted_its_chunks_when_those_before_it_are_lent():
    case = Case(SMALL, [1, 1], window=4, budget=0)
    first, second = case.shards
    case.announce(second)
    assert case.round.is_blocked(second)
    case.lend(first)
    assert case.may[second] == {0, 1, 2, 3}


def test_a_model_without_elements_is_lent_absorbed_and_finished():
    case = Case(Layout([Entry("w", (0,))]), [1, 2])
    for shard in case.shards:
        case.lend(shard)
        assert case.absorb(shard)
        case.keep(shard)
    case.round.finish([case.lent[case.shards[0]]])
    assert case.round.is_closed


@settings(deadline=None, max_examples=200)
@given(
    layouts(most=4).filter(lambda layout: layout.nbytes > 0),
    st.lists(st.integers(1, 300), min_size=1, max_size=5),
    st.integers(1, 4),
    st.integers(0, 600),
    st.sampled_from([64, 128, 1024]),
    st.integers(0, 2**32),
)
def test_any_mixture_of_lent_and_sent_in_any_order_absorbed_at_any_moment_gives_the_naive_average(
    layout, samples, window, budget, chunk_bytes, seed
):
    case = Case(layout, samples, window, budget, chunk_bytes, seed=len(samples))
    rng = random.Random(seed)
    waiting = list(case.shards)
    rng.shuffle(waiting)
    losses = rng.randint(0, 4)
    kept = 0
    while not case.round.is_closed:
        can = sorted((shard, index) for shard, chunks in case.may.items() for index in chunks)
        assert can or waiting, "every announced shard sent what it may, and the round stands still"
        move = rng.random()
        if waiting and (not can or move < 0.2):
            shard = waiting.pop()
            rng.choice([case.announce, case.lend])(shard)
        elif case.lent and move < 0.4:
            case.absorb(rng.choice(sorted(case.lent)))
        elif case.lent and move < 0.5:
            kept += layout.nbytes
            case.keep(rng.choice(sorted(case.lent)))
        elif losses and case.may and move < 0.6:
            losses -= 1
            lost = rng.choice(sorted(case.may))
            case.withdraw(lost)
            waiting.append(lost)
        elif can:
            shard, index = rng.choice(can)
            case.send(shard, index)
            case.send(shard, index)  # and once more
        assert case.round.held_bytes == case.held_bytes() <= budget + kept
        assert case.round.granted_bytes == sum(case.spans[i].nbytes for c in case.may.values() for i in c)
    mirrors = [
        *rng.sample(sorted(case.lent.values(), key=id), rng.randint(0, len(case.lent))),
        layout.empty(),
    ]
    with ThreadPoolExecutor(2) as pool:
        case.round.finish(mirrors, rng.choice([map, pool.map]))
    case.assert_right(*mirrors)
    assert case.round.held_bytes == 0


def test_large_chunks_in_several_threads_have_the_bits_of_one():
    """More than a block of each chunk, more chunks than threads; summed in blocks, copied in blocks."""
    layout = Layout([Entry("w", (300_001,)), Entry("h", (70_003,), "float16"), Entry("d", (0,), "float64")])
    outs = []
    for threads in (0, 2, 5):
        case = Case(layout, [3, 1, 2], chunk_bytes=2**19)
        for shard in case.shards:
            case.lend(shard)
        mirrors = [case.lent[case.shards[1]], layout.empty()]
        with ThreadPoolExecutor(max(1, threads)) as pool:
            case.round.finish(mirrors, pool.map if threads else map)
        case.assert_right(*mirrors)
        outs.append(case.round.out.tobytes())
    assert len(set(outs)) == 1


def test_what_fails_while_a_round_is_finished_in_threads_is_told():
    case = Case(SMALL, [1, 1])
    for shard in case.shards:
        case.lend(shard)
    frozen = SMALL.empty()
    frozen.flags.writeable = False
    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="read-only"):
        case.round.finish([frozen], pool.map)
