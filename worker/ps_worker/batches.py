"""Which rows of a data set a unit goes through, batch by batch, in a loop of the user's own.

A pure function of the run's seed, the plan, round and shard, as in a job. Where the master knows the samples
of an epoch it is the job's own schedule. Where it does not, each shard goes through one epoch after the other
by itself, `local_steps` batches a round.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ps_common.errors import UsageError
from ps_common.job import Description
from ps_common.schedule import Schedule
from ps_common.shards import Shards, shuffled

Rows = npt.NDArray[np.int64]


def schedule_of(job: Description, samples: int, batch_size: int | None) -> Schedule:
    """How `samples` samples are cut into batches.

    batch_size: None for the plan's. Raises `UsageError` or `DataError` where that is not what the master was
    started with.
    """
    own, plan = job.own_loop, job.plan
    if own is not None and own.samples is not None:
        if samples != own.samples:
            raise UsageError(f"the data has {samples} samples; the master was told --samples {own.samples}")
        if batch_size not in (None, plan.batch_size):
            raise UsageError(f"batches of {batch_size}; the master was told --batch-size {plan.batch_size}")
        return job.schedule
    return Schedule(
        Shards.of(samples, plan.shards), batch_size or plan.batch_size, plan.local_steps, plan.epochs
    )


def rows_of_unit(job: Description, schedule: Schedule, round_: int, shard: int) -> Iterator[Rows]:
    """The rows of each batch of a unit, in order."""
    rows, size = schedule.shards.rows(shard), schedule.shards.size(shard)
    ordered = (-1, np.empty(0, np.int64))
    for epoch, batch in _batches(job, schedule, round_, shard):
        if ordered[0] != epoch:
            ordered = (epoch, rows.start + shuffled(job.seed, epoch, shard, size) * (rows.step or 1))
        yield ordered[1][batch * schedule.batch_size : (batch + 1) * schedule.batch_size]


def _batches(job: Description, schedule: Schedule, round_: int, shard: int) -> Iterator[tuple[int, int]]:
    """Epoch, and number within it, of each batch of a unit."""
    if not job.has_open_samples:
        yield from ((schedule.epoch(round_), step) for step in schedule.steps(round_, shard))
        return
    for number in range(round_ * schedule.local_steps, (round_ + 1) * schedule.local_steps):
        yield divmod(number, schedule.batches(shard))
