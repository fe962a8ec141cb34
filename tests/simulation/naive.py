"""What a run means: one process, one replica, one shard after the other. The oracle of every simulation."""

import math
from collections.abc import Mapping

from paramserver.simulation.computing import Replica
from ps_common.arrays import HostArray
from ps_common.data import Source
from ps_common.job import Description
from ps_worker.rows import HeldRows
from support_robust import naive_average


def naive_run(job: Description, replica: Replica, sources: Mapping[str, Source | None]) -> HostArray:
    """The final flat vector of a job."""
    source, schedule, layout = sources["train"], job.schedule, replica.layout
    rows = [HeldRows(source.read(schedule.shards.rows(s))) for s in range(schedule.shards.count)]
    vector = replica.initialise().vector.copy()
    for round_ in range(schedule.rounds):
        shards = schedule.units(round_)
        samples = [schedule.samples(round_, shard) for shard in shards]
        parts = [replica.train(vector, rows[s], round_, s).vector.copy() for s in shards]
        if job.plan.rule.faulty:
            vector = naive_average(job.plan.rule, layout, parts, vector)
            continue
        unit = math.gcd(*samples)
        for run in layout.runs:
            views = [part[run.start : run.stop].view(run.dtype) for part in parts]
            total = views[0] * views[0].dtype.type(samples[0] // unit)
            for view, n in zip(views[1:], samples[1:], strict=True):
                total = total + view * view.dtype.type(n // unit)
            mean = total / total.dtype.type(sum(samples) // unit)
            vector[run.start : run.stop].view(run.dtype)[...] = mean
    return vector
