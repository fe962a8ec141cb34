"""The table of units and the rule that gives them out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paramserver.leases import Lease, Stage, Unit, add_sums, choose_shard

A, B, C = b"a", b"b", b"c"


def lease(stage: Stage, shard: int, number: int = 1, deadline: float = 60.0) -> Lease:
    made = Lease(number, stage.units[shard], A, deadline, 0)
    stage.begin(made)
    return made


def test_a_unit_says_what_it_is():
    assert str(Unit("train", 3, 1)) == "train round 3 shard 1"
    assert str(Unit("evaluate", 3, 1)) == "evaluate round 3 shard 1"
    assert str(Unit("initialise", 0, 0)) == "initialise"


def test_a_unit_is_open_then_leased_then_done():
    stage = Stage("train", 4, (0, 2, 5))
    assert stage.open_shards == (0, 2, 5)
    held = lease(stage, 2, number=7)
    assert (stage.open_shards, stage.leases, stage.lease(7), stage.lease(8)) == ((0, 5), (held,), held, None)
    assert (stage.lease_of_shard(2), stage.lease_of_shard(0)) == (held, None)
    held.sums = {"loss": [1.0, 2.0]}
    stage.finish(held, "w1")
    assert (stage.open_shards, stage.leases, stage.lease(7), stage.lease_of_shard(2)) == (
        (0, 5),
        (),
        None,
        None,
    )
    assert not stage.is_done
    for number, shard in enumerate((0, 5)):
        stage.finish(lease(stage, shard, number), "w1")
    assert stage.is_done


def test_a_unit_that_came_back_is_open_before_those_never_tried():
    stage = Stage("train", 0, range(4))
    first, third = lease(stage, 1, 1), lease(stage, 3, 2)
    stage.reopen(first)
    assert stage.open_shards == (1, 0, 2)
    stage.reopen(third)
    assert stage.open_shards == (3, 1, 0, 2)
    assert stage.leases == ()


@pytest.mark.parametrize(("now", "expired"), [(0.0, []), (9.9, []), (10.0, [1]), (20.0, [1, 2])])
def test_a_lease_expires_at_its_deadline(now, expired):
    stage = Stage("train", 0, range(3))
    lease(stage, 0, 1, deadline=10.0)
    lease(stage, 1, 2, deadline=20.0)
    assert [one.number for one in stage.expired(now)] == expired


@settings(deadline=None, max_examples=50)
@given(st.permutations(range(5)), st.lists(st.floats(-1e9, 1e9), min_size=5, max_size=5))
def test_sums_are_added_in_shard_order_whoever_was_first(order, values):
    stage = Stage("train", 0, range(5))
    for number, shard in enumerate(order):
        done = lease(stage, shard, number)
        done.sums = {"loss": [values[shard], 1.0]}
        stage.finish(done, "w1")
    expected = 0.0
    for value in values:
        expected += value
    assert stage.total() == {"loss": [expected, 5.0]}


def test_adding_sums_leaves_what_was_added_alone():
    first = {"loss": [1.0, 2.0]}
    totals: dict[str, list[float]] = {}
    add_sums(totals, first)
    add_sums(totals, {"loss": [3.0, 4.0], "accuracy": [5.0, 6.0]})
    assert totals == {"loss": [4.0, 6.0], "accuracy": [5.0, 6.0]}
    assert first == {"loss": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("open_shards", "mine", "holders", "busy", "chosen"),
    [
        ((), set(), {}, set(), None),
        ((2, 0, 1), set(), {}, set(), 2),  # nobody holds any: in order
        ((0, 1, 2), {2}, {2: {A}}, set(), 2),  # what I hold before what nobody holds
        ((0, 1, 2), {2, 1}, {1: {A}, 2: {A}}, set(), 1),
        ((0, 1), set(), {0: {B}}, set(), 1),  # what nobody holds before what another holds
        ((0,), set(), {0: {B}}, set(), None),  # its holder comes to it soon
        ((0, 1), set(), {0: {B}, 1: {B}}, set(), 1),  # B has two waiting: the one it would come to last
        ((0, 1), set(), {0: {B}, 1: {C}}, set(), None),
        ((0, 1, 2), set(), {0: {B}, 1: {C}, 2: {B}}, set(), 2),
        ((0, 1), set(), {0: {B}, 1: {B, C}}, set(), 0),  # C waits for shard 1 alone
        ((0,), set(), {0: {B}}, {B}, 0),  # its holder is at another
        ((0,), set(), {0: {B, C}}, {B}, None),  # C is not
    ],
)
def test_an_idle_worker_is_given_the_shard_that_moves_least_data(open_shards, mine, holders, busy, chosen):
    assert choose_shard(open_shards, mine, holders, busy) == chosen


SHARDS = st.sets(st.integers(0, 5))


@settings(deadline=None, max_examples=100)
@given(
    st.permutations(range(6)),
    SHARDS,
    st.dictionaries(st.integers(0, 5), st.sets(st.sampled_from([B, C]))),
    st.sets(st.sampled_from([B, C])),
)
def test_only_an_open_shard_is_chosen_and_a_lone_worker_never_waits(order, mine, holders, busy):
    open_shards = order[:4]
    held = {s: holders.get(s, set()) | ({A} if s in mine else set()) for s in open_shards}
    chosen = choose_shard(open_shards, mine & set(open_shards), held, busy)
    assert chosen is None or chosen in open_shards
    alone = {s: {A} if s in mine else set() for s in open_shards}
    assert choose_shard(open_shards, mine & set(open_shards), alone, busy) is not None


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.integers(0, 5), st.sets(st.sampled_from([A, B, C])), min_size=1))
def test_of_workers_that_are_all_idle_one_is_given_a_shard(holders):
    chosen = [
        choose_shard(list(holders), {s for s, h in holders.items() if w in h}, holders) for w in (A, B, C)
    ]
    assert any(shard is not None for shard in chosen)
