"""Which unit goes through which samples."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common.schedule import Schedule
from ps_common.shards import Shards

BOUNDED = settings(deadline=None, max_examples=80)
SHARDS = st.lists(st.integers(1, 30), min_size=1, max_size=6).map(lambda s: Shards.of(sum(s), tuple(s)))
SCHEDULES = st.builds(Schedule, SHARDS, st.integers(1, 12), st.integers(1, 5), st.integers(1, 3))
UNEQUAL = Schedule(Shards.of(32, (10, 18, 4)), batch_size=2, local_steps=4, epochs=2)  # 5, 9 and 2 batches


@BOUNDED
@given(SCHEDULES)
def test_every_sample_of_an_epoch_is_in_exactly_one_unit(schedule):
    for epoch in range(schedule.epochs):
        first = epoch * schedule.rounds_per_epoch
        for shard in range(schedule.shards.count):
            positions = [
                at
                for r in range(first, first + schedule.rounds_per_epoch)
                for at in schedule.positions(r, shard)
            ]
            assert positions == list(range(schedule.shards.size(shard)))


@BOUNDED
@given(SCHEDULES)
def test_every_round_has_a_unit_and_at_most_the_local_steps(schedule):
    for round_ in range(schedule.rounds):
        units = schedule.units(round_)
        assert units
        assert list(units) == sorted(units)
        for shard in range(schedule.shards.count):
            samples = schedule.samples(round_, shard)
            assert samples == len(schedule.positions(round_, shard))
            assert (shard in units) == (samples > 0)
            assert samples <= schedule.local_steps * schedule.batch_size
            assert len(schedule.steps(round_, shard)) == -(-samples // schedule.batch_size)


def test_shards_of_five_nine_and_two_batches_sit_out_when_they_have_none_left():
    assert [UNEQUAL.batches(s) for s in range(3)] == [5, 9, 2]
    assert UNEQUAL.rounds_per_epoch == 3
    assert [UNEQUAL.units(r) for r in range(6)] == [(0, 1, 2), (0, 1), (1,)] * 2
    assert [[UNEQUAL.samples(r, s) for s in range(3)] for r in range(3)] == [[8, 8, 4], [2, 8, 0], [0, 2, 0]]
    assert UNEQUAL.positions(1, 0) == range(8, 10)
    assert UNEQUAL.steps(4, 0) == range(4, 5)


def test_an_epoch_ends_with_its_last_round():
    assert [UNEQUAL.epoch(r) for r in range(6)] == [0, 0, 0, 1, 1, 1]
    assert [r for r in range(UNEQUAL.rounds) if UNEQUAL.ends_epoch(r)] == [2, 5]


def test_a_last_short_batch_counts_as_a_batch():
    schedule = Schedule(Shards.of(7, 1), batch_size=3, local_steps=1, epochs=1)
    assert [schedule.samples(r, 0) for r in range(schedule.rounds)] == [3, 3, 1]


@BOUNDED
@given(SCHEDULES)
def test_the_batches_before_a_unit_are_those_of_the_units_before(schedule):
    for shard in range(schedule.shards.count):
        done = 0
        for round_ in range(schedule.rounds):
            assert schedule.batches_before(round_, shard) == done
            done += len(schedule.steps(round_, shard))
