"""One round's average: whatever comes in whatever order, the bits are those of the naive average."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paramserver.averaging.rounds import Vectors
from ps_common.errors import PeerError
from ps_common.layout import Entry, Layout
from ps_common.shared_memory import SharedMemory
from support_layouts import layouts
from support_rounds import SMALL, Case


@settings(deadline=None, max_examples=120)
@given(
    layouts(most=4).filter(lambda layout: layout.nbytes > 0),
    st.lists(st.integers(1, 300), min_size=1, max_size=5),
    st.integers(1, 4),
    st.integers(0, 600),
    st.data(),
)
def test_any_order_within_the_grants_gives_the_naive_average_within_the_budget(
    layout, samples, window, budget, data
):
    case = Case(layout, samples, window, budget, seed=len(samples))
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    waiting = list(case.shards)
    rng.shuffle(waiting)
    losses = data.draw(st.integers(0, 4))
    while not case.round.is_closed:
        can = [(shard, index) for shard, chunks in case.may.items() for index in chunks]
        assert can or waiting, "every announced shard sent what it may, and the round stands still"
        if waiting and (not can or rng.random() < 0.2):
            case.announce(waiting.pop())
        elif losses and case.may and rng.random() < 0.2:
            losses -= 1
            lost = rng.choice(sorted(case.may))
            case.withdraw(lost)
            waiting.append(lost)
        else:
            shard, index = rng.choice(sorted(can))
            case.send(shard, index)
            case.send(shard, index)  # and once more
        assert case.held_bytes() <= budget
        assert all(len(chunks) <= window for chunks in case.may.values())
    case.assert_right()


def test_every_permutation_of_arrivals_gives_the_same_bits():
    layout = Layout([Entry("w", (7,)), Entry("h", (5,), "float16", "slot")])
    digests = set()
    for order in itertools.permutations(range(6)):  # 3 shards of 2 chunks
        case = Case(layout, [3, 5, 8], window=2)
        for shard in case.shards:
            case.announce(shard)
        for at in order:
            case.send(case.shards[at // 2], at % 2)
        case.assert_right()
        digests.add(case.round.out.tobytes())
    assert len(digests) == 1


def test_the_order_of_the_shards_is_the_order_of_summing():
    parts = [np.float32([1.0]), np.float32([1e8]), np.float32([-1e8])]  # backwards the sum is 1
    layout = Layout([Entry("w", (1,))])
    results = []
    for order in ((0, 1, 2), (2, 1, 0)):
        case = Case(layout, [1, 1, 1])
        for shard, part in zip(case.shards, parts, strict=True):
            case.vectors[shard][...] = part.view(np.uint8)
        for at in order:
            case.announce(case.shards[at])
        for at in order:
            case.send(case.shards[at], 0)
        results.append(case.layout.views(case.round.out)["w"].item())
    assert results == [0.0, 0.0]


def test_a_chunk_is_averaged_as_soon_as_every_shard_has_sent_it():
    case = Case(SMALL, [1, 3])
    for shard in case.shards:
        case.announce(shard)
        case.send(shard, 1)
    (span,) = [span for span in case.spans if span.index == 1]
    assert span.of(case.round.out).tobytes() == span.of(case.mean()).tobytes()
    assert not case.round.is_closed
    assert not case.round.is_delivered(case.shards[0])


def test_the_first_shard_is_always_granted_its_window_and_the_next_only_within_the_budget():
    case = Case(SMALL, [1, 1], window=2, budget=64)
    second, first = case.shards[1], case.shards[0]
    case.announce(second)
    assert case.may == {second: {0}}
    case.send(second, 0)
    assert case.may == {second: set()}  # 64 bytes are held
    case.announce(first)
    assert case.may == {second: set(), first: {0, 1}}
    case.send(first, 0)  # what was held is summed
    assert case.may[first] == {1, 2}


def test_a_shard_in_turn_is_granted_though_the_budget_is_none():
    case = Case(SMALL, [1, 1], window=4, budget=0)
    case.announce(case.shards[1])
    assert case.may == {case.shards[1]: set()}
    case.announce(case.shards[0])
    assert case.may == {case.shards[1]: set(), case.shards[0]: {0, 1, 2, 3}}
    case.send(case.shards[0], 2)
    assert case.may[case.shards[1]] == {2}


def test_a_contribution_that_may_send_nothing_is_blocked_until_there_is_room():
    case = Case(SMALL, [1, 1], window=2, budget=64)
    first, second = case.shards
    assert not case.round.is_blocked(second)  # it is not announced
    assert case.round.free_bytes == 64
    case.announce(second)
    assert (case.round.granted(second), case.round.free_bytes) == ((0,), 0)
    assert not case.round.is_blocked(second)
    case.send(second, 0)
    assert (case.round.granted(second), case.round.free_bytes) == ((), 0)
    assert case.round.is_blocked(second)
    case.announce(first)
    for index in range(4):
        assert not case.round.is_blocked(first)
        case.send(first, index)
    assert not case.round.is_blocked(first)  # it has sent everything
    assert case.round.granted(second) == (1, 2)
    assert not case.round.is_blocked(second)


def test_what_a_lost_worker_was_granted_is_free_for_the_next():
    case = Case(SMALL, [1, 1], window=2, budget=64)
    for _ in range(3):
        case.announce(case.shards[1])
        assert case.may == {case.shards[1]: {0}}
        case.withdraw(case.shards[1])


def test_what_was_held_and_is_summed_is_free_for_others():
    case = Case(SMALL, [1, 1, 1], window=1, budget=64)
    first, second, third = case.shards
    case.announce(third)
    case.send(third, 0)
    for shard in (first, second):
        case.announce(shard)
        case.send(shard, 0)
        case.withdraw(shard)
    assert case.held_bytes() == 0
    assert case.may == {third: {1}}


def test_who_waits_costs_nothing_while_there_is_no_room_for_a_chunk(monkeypatch):
    """A chunk of any contribution asks what may come next, and thousands may be waiting."""
    looked = []
    case = Case(Layout([Entry("w", (16,))]), [1] * 50, budget=64 * 3 + 60)
    choose = case.round._choose
    monkeypatch.setattr(case.round, "_choose", lambda shard: looked.append(shard) or choose(shard))
    for shard in case.shards[1:]:
        case.announce(shard)
    looked.clear()
    sent = [shard for shard, chunks in case.may.items() if chunks]
    for shard in sent:
        case.send(shard, 0)
    assert len(sent) == 3
    assert len(looked) == 3


def test_chunks_promised_at_the_announcement_may_come_unasked():
    case = Case(SMALL, [1, 1], window=2)
    shard = case.shards[0]
    case.round.announce(shard, granted=range(2))
    assert case.round.grants() == {}
    for index in range(2):
        span = case.spans[index]
        case.round.deliver(shard, index, case.vectors[shard][span.start : span.stop].data)
    assert case.round.grants() == {shard: (2, 3)}


def test_another_worker_goes_on_where_one_was_lost():
    case = Case(SMALL, [2, 3], window=1)
    shard = case.shards[0]
    case.announce(shard)
    case.send(shard, 0)
    case.withdraw(shard)
    with pytest.raises(PeerError, match="was not asked for"):
        case.send(shard, 1)
    case.round.announce(shard, granted=range(2))  # of the first two, one is here
    case.may[shard] = {1}
    case.send(shard, 0)
    case.send(shard, 1)
    assert case.may[shard] == {2}
    for index in (2, 3):
        case.send(shard, index)
    case.announce(case.shards[1])
    for index in range(4):
        case.send(case.shards[1], index)
    case.assert_right()


@pytest.mark.parametrize("nbytes", [0, 63, 65, 128])
def test_a_chunk_of_another_size_is_refused_and_may_come_again(nbytes):
    case = Case(SMALL, [1])
    case.announce(1)
    with pytest.raises(PeerError, match=f"chunk 0 of shard 1 has {nbytes} bytes, not 64"):
        case.round.deliver(1, 0, memoryview(bytes(nbytes)))
    while not case.round.is_closed:
        case.send(1, min(case.may[1]))
    case.assert_right()


@pytest.mark.parametrize(("shard", "index"), [(4, 0), (1, 3), (1, 4), (1, 99), (1, -1), (2, 0), (0, 0)])
def test_a_chunk_that_was_not_asked_for_is_refused(shard, index):
    case = Case(SMALL, [1, 1], window=2)  # shards 1 and 4; only 1 is announced, and granted 0 and 1
    case.announce(1)
    with pytest.raises(PeerError, match=f"chunk {index} of shard {shard} was not asked for"):
        case.round.deliver(shard, index, memoryview(bytes(64)))


def test_a_chunk_that_comes_twice_counts_once():
    case = Case(SMALL, [1])
    case.announce(1)
    case.send(1, 0)
    case.round.deliver(1, 0, memoryview(bytes(64)))  # even with other bytes
    while not case.round.is_closed:
        case.send(1, min(case.may[1]))
    case.round.deliver(1, 0, memoryview(bytes(64)))
    case.assert_right()


def test_a_model_without_elements_is_closed_at_once():
    case = Case(Layout([Entry("w", (0,))]), [1, 2])
    case.announce(1)
    assert case.round.is_delivered(1)
    assert case.round.is_closed


def test_a_vector_is_used_again_only_when_nobody_reads_it():
    memory = SharedMemory(is_shared=False)
    vectors = Vectors(8, memory)
    first = vectors.take()
    assert (first.dtype, first.tolist()) == (np.uint8, [0] * 8)
    memory.pin(read := first[2:4])
    vectors.retire(first)
    second = vectors.take()
    assert second is not first
    del read
    assert vectors.take() is first
    assert vectors.take() is not second


def test_samples_that_come_with_the_contribution_weigh_it_whatever_the_order():
    layout = Layout([Entry("w", (7,)), Entry("h", (5,), "float16", "slot")])
    said = {1: 3, 4: 6, 7: 2}  # by shard
    for order in itertools.permutations(said):
        case = Case(layout, [1, 1, 1], window=2)
        for shard in order:
            case.round.weigh(shard, said[shard])
            case.round.weigh(shard, 99)  # the first counts
            case.announce(shard)
            for index in sorted(case.may[shard]):
                case.send(shard, index)
        case.round.finish()
        for run in layout.runs:
            views = [case.vectors[s][run.start : run.stop].view(run.dtype).astype("float32") for s in said]
            total = views[0] + views[1] * np.float32(2) + views[2] * np.float32(2 / 3)
            mean = (total / np.float32(1 + 2 + 2 / 3)).astype(run.dtype)
            np.testing.assert_array_equal(case.round.out[run.start : run.stop].view(run.dtype), mean)


def test_equal_samples_that_come_with_the_contribution_are_summed_unscaled():
    case = Case(SMALL, [1, 1, 1])
    for shard in case.shards:
        case.round.weigh(shard, 500)
        case.lend(shard)
    case.round.finish()
    case.assert_right()


def test_without_the_first_contribution_the_second_is_the_measure():
    case, other = (Case(SMALL, [1, 1, 1]) for _ in range(2))
    first, second, third = case.shards
    for one, shards in ((case, (second, third)), (other, (second, third))):
        one.round.leave_out(first)
        for shard in shards:
            one.round.weigh(shard, 10 if one is case else 70)
            one.lend(shard)
        one.round.finish()
    assert bytes(case.round.out) == bytes(other.round.out)
