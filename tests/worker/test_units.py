"""The order of a unit's samples, and sums that are no numbers."""

import numpy as np
import pytest

from ps_common.errors import DataError
from ps_common.shards import shuffled
from ps_worker.units import Order, require_finite
from support_jobs import description


def test_a_units_samples_are_its_part_of_the_epochs_order():
    job = description(shards=(10, 18, 12), batch_size=4, local_steps=2)
    order = Order(job)
    for round_, shard in [(0, 0), (0, 1), (1, 1), (2, 1), (3, 1), (0, 0)]:
        epoch, positions = job.schedule.epoch(round_), job.schedule.positions(round_, shard)
        whole = shuffled(job.seed, epoch, shard, job.schedule.shards.size(shard))
        assert np.array_equal(order.of(round_, shard), whole[positions.start : positions.stop])


def test_sums_that_are_no_numbers_are_named():
    require_finite({"loss": [1.0, 4.0], "empty": [0.0, 0.0]}, "here")
    with pytest.raises(DataError, match=r"the loss became inf in round 3; the learning rate"):
        require_finite({"accuracy": [1.0, 4.0], "loss": [np.inf, 4.0]}, "round 3")
