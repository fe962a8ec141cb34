"""The rows of units in a loop of the user's own: each sample once an epoch, and nothing but names decides."""

import numpy as np
import pytest

from ps_common.errors import DataError, UsageError
from ps_common.loop_job import LoopJob
from ps_common.plan import Plan
from ps_worker.batches import rows_of_unit, schedule_of

PLAN = Plan(shards=3, batch_size=4, local_steps=2, epochs=2)


def rows(job, samples, round_, shard, batch_size=None):
    return list(rows_of_unit(job, schedule_of(job, samples, batch_size), round_, shard))


def test_where_samples_are_known_units_are_those_of_the_schedule():
    job = LoopJob(plan=PLAN, samples=41, seed=5).describe()
    schedule = job.schedule
    for epoch in range(2):
        seen = []
        for round_ in range(epoch * schedule.rounds_per_epoch, (epoch + 1) * schedule.rounds_per_epoch):
            for shard in range(3):
                batches = rows(job, 41, round_, shard)
                assert sum(map(len, batches)) == schedule.samples(round_, shard)
                assert all(set(batch % 3) == {shard} for batch in batches)
                seen += list(np.concatenate([*batches, np.empty(0, int)]))
        assert sorted(seen) == list(range(41))


def test_where_they_are_not_known_each_shard_goes_through_its_epochs():
    job = LoopJob(plan=PLAN, rounds=100, seed=5).describe()
    for shard, size in ((0, 14), (2, 13)):
        units = [rows(job, 41, round_, shard) for round_ in range(8)]
        assert {len(batches) for batches in units} == {2}
        seen = np.concatenate([batch for batches in units for batch in batches])
        for epoch in range(4):
            own = seen[epoch * size : (epoch + 1) * size]
            assert sorted(own) == list(range(shard, 41, 3))
        assert list(seen[:size]) != list(seen[size : 2 * size]), "another epoch, another order"


def test_the_order_follows_from_the_seed():
    orders = [
        [list(batch) for batch in rows(LoopJob(plan=PLAN, samples=41, seed=seed).describe(), 41, 1, 0)]
        for seed in (5, 5, 6)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_another_size_than_the_master_was_told_is_refused():
    job = LoopJob(plan=PLAN, samples=41).describe()
    with pytest.raises(UsageError, match="the data has 40 samples; the master was told --samples 41"):
        schedule_of(job, 40, None)
    with pytest.raises(UsageError, match="batches of 8; the master was told --batch-size 4"):
        schedule_of(job, 41, 8)
    assert schedule_of(job, 41, 4) == job.schedule


def test_fewer_samples_than_shards_are_refused():
    with pytest.raises(DataError, match="3 shards of 2"):
        schedule_of(LoopJob(plan=PLAN, rounds=5).describe(), 2, 4)
