"""A round by a robust rule: whatever comes in whatever order and way, the bits are those of the naive one."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paramserver.averaging import rounds
from paramserver.averaging.gathered import GatheredRound
from ps_common import rules
from ps_common.layout import Entry, Layout
from ps_common.wire import checksum
from support_averages import random_vectors
from support_layouts import layouts
from support_robust import naive_average

SMALL = Layout([Entry("w", (40,)), Entry("m", (20,), "float16", "slot")])  # chunks of 16, 16 and 8; of 20
RULES = [
    rules.Median(),
    rules.TrimmedMean(1),
    rules.TrimmedMean(2),
    rules.Krum(1),
    rules.MultiKrum(1, 3),
    rules.ClippedMean(),
    rules.ClippedMean(0.5),
]
COUNT = 6


class Case:
    """A round and the contributions to it."""

    def __init__(self, rule, layout=SMALL, count=COUNT, seed=0, window=2):
        self.rule, self.layout = rule, layout
        self.base, *vectors = random_vectors(layout, count + 1, seed)
        self.shards = [3 * i + 1 for i in range(count)]
        self.vectors = dict(zip(self.shards, vectors, strict=True))
        self.spans = layout.chunks(64)
        out = layout.empty()
        out[...] = 255
        self.round = GatheredRound(
            rule, self.base, self.shards, range(1, count + 1), self.spans, out, window, keeps_digests=True
        )
        self.may = {}

    def announce(self, shard):
        self.round.announce(shard)
        self.may[shard] = set()
        self.take_grants()

    def take_grants(self):
        for shard, chunks in self.round.grants().items():
            self.may[shard] |= set(chunks)

    def send(self, shard, index):
        span = self.spans[index]
        payload = self.vectors[shard][span.start : span.stop].data
        closed = self.round.deliver(shard, index, payload, checksum(payload) if index % 2 else None)
        self.may[shard].discard(index)
        self.take_grants()
        return closed

    def send_all(self, shard):
        self.announce(shard)
        while self.may[shard]:
            self.send(shard, min(self.may[shard]))

    def assert_right(self, *vectors):
        expected = naive_average(self.rule, self.layout, list(self.vectors.values()), self.base)
        views = self.layout.views(expected)
        for vector in (self.round.out, *vectors):
            for name, view in self.layout.views(vector).items():
                assert view.tobytes() == views[name].tobytes(), name
        sums = [[checksum(v[s.start : s.stop].data) for s in self.spans] for v in self.vectors.values()]
        expected_digests = tuple(f"{checksum(np.array(one, '<u8').data):016x}" for one in sums)
        assert self.round.digests() == expected_digests
        assert all(self.round.is_chunk_closed(span.index) for span in self.spans)
        assert (self.round.held_bytes, self.round.granted_bytes) == (0, 0)


@settings(deadline=None, max_examples=100)
@given(
    layouts(most=4).filter(lambda layout: layout.nbytes > 0),
    st.sampled_from(RULES),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_any_order_and_any_way_give_the_naive_average(layout, rule, window, seed):
    case, rng = Case(rule, layout, seed=seed, window=window), random.Random(seed)
    waiting, losses = case.shards[:], rng.randint(0, 3)
    rng.shuffle(waiting)
    while not case.round.is_closed:
        can = [(shard, index) for shard, chunks in case.may.items() for index in chunks]
        assert can or waiting, "every announced shard sent what it may, and the round stands still"
        if waiting and (not can or rng.random() < 0.3):
            shard = waiting.pop()
            if rng.random() < 0.5:
                vector = case.vectors[shard].copy()
                case.round.lend(shard, vector)
                if rng.random() < 0.5:
                    assert not case.round.absorb(shard) or case.round.is_closed
                    case.round.keep(shard)
                    vector[...] = 255
            else:
                case.announce(shard)
        elif losses and can and rng.random() < 0.1:
            losses -= 1
            lost = rng.choice(sorted(shard for shard, _ in can))
            case.round.withdraw(lost)
            del case.may[lost]
            waiting.append(lost)
        else:
            case.send(*rng.choice(sorted(can)))
        assert not any(map(case.round.is_blocked, case.shards)), "nobody waits for a turn"
        assert case.round.free_bytes >= layout.nbytes
    case.round.finish()
    case.assert_right()


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_order_of_arrival_and_threads_change_no_bit(rule):
    outs = set()
    for seed in range(4):
        case = Case(rule)
        order = random.Random(seed).sample(case.shards, COUNT)
        for shard in order[:3]:
            case.round.lend(shard, case.vectors[shard].copy())
        for shard in order[3:]:
            case.send_all(shard)
        with ThreadPoolExecutor(3) as pool:
            case.round.finish(spread=pool.map)
        case.assert_right()
        outs.add(case.round.out.tobytes())
    assert len(outs) == 1


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_average_is_copied_to_vectors_that_are_none_and_that_are_one_of_the_parts(rule):
    case = Case(rule)
    lent = {shard: vector.copy() for shard, vector in case.vectors.items()}
    for shard, vector in lent.items():
        case.round.lend(shard, vector)
    mirrors = [SMALL.empty(), lent[case.shards[0]], lent[case.shards[4]]]
    case.round.finish(mirrors)
    case.assert_right(*mirrors)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_only_a_rule_of_coordinates_closes_a_chunk_before_all_is_here(rule):
    case = Case(rule, window=9)
    for shard in case.shards[1:]:
        case.send_all(shard)
    case.announce(case.shards[0])
    assert case.send(case.shards[0], 2) is not rule.is_whole
    assert [case.round.is_chunk_closed(i) for i in range(4)] == [False, False, not rule.is_whole, False]
    for index in (0, 1, 3):
        case.send(case.shards[0], index)
    case.round.finish()
    case.assert_right()


def test_every_contribution_counts_alike_whatever_its_samples():
    case = Case(rules.TrimmedMean(1))
    for shard in case.shards:
        case.round.weigh(shard, 10**9)
        case.send_all(shard)
    case.assert_right()


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("lie", [3e38, -3e38, np.inf, np.nan])
def test_one_outlier_does_not_move_the_average_out_of_reach(rule, lie, monkeypatch):
    monkeypatch.setattr(rounds, "is_finite", lambda part: True)  # or such a one would not come in at all
    layout = Layout([Entry("w", (40,))])
    case = Case(rule, layout)
    honest = np.array([layout.views(v)["w"] for v in list(case.vectors.values())[1:]])
    layout.views(case.vectors[case.shards[0]])["w"][...] = lie
    for shard in case.shards:
        case.send_all(shard)
    case.round.finish()
    average = layout.views(case.round.out)["w"]
    bound = np.linalg.norm(honest, axis=1).max() + np.linalg.norm(layout.views(case.base)["w"])
    assert np.linalg.norm(average) <= bound
