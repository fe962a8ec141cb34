"""From a job to what is simulated of it: its shards, its layout, and how long a training step takes."""

import dataclasses
import time

import threadpoolctl

from paramserver.simulation.prediction import WARM_UP
from ps_common.arrays import Device
from ps_common.errors import UsageError
from ps_common.job import Description, Job
from ps_common.layout import Layout
from ps_common.memory import Heap
from ps_worker.replica import Watch
from ps_worker.replicas import layout_of_job, parts_of, replica_of
from ps_worker.rows import FileRows

MOMENT_S = 0.5  # enough for hundreds of small steps; a large one is measured once it has begun
STEPS_MAX = 10_000


def modelled(
    job: Description, least_shards: int, shards: int | None, samples: int | None, rounds: int
) -> Description:
    """The job as it is simulated: trained only, and for so many rounds at least.

    shards: instead of the job's; else these are raised to `least_shards`. samples: as if there were so many.
    """
    train = job.train if samples is None else dataclasses.replace(job.train, samples=samples)
    wanted: int | tuple[int, ...] = job.plan.shards if shards is None else shards
    if shards is None and job.schedule.shards.count < least_shards:
        wanted = least_shards
    count = wanted if isinstance(wanted, int) else len(wanted)
    if count > train.samples:
        raise UsageError(
            f"{count} shards need as many training samples, there are {train.samples}; use --samples N, as "
            f"if there were more, or at most {train.samples} workers"
        )
    plan = dataclasses.replace(job.plan, shards=wanted, data="shared", epochs=rounds + WARM_UP + 1)
    return dataclasses.replace(job, plan=plan, train=train, test=None)


def layout(job: Description, own: Job) -> Layout:
    """Of the job's model; raises `UsageError` where it has no parameters."""
    found = layout_of_job(job, parts_of(own))
    if not found.nbytes:
        raise UsageError("the job's model has no parameters: there is nothing to average")
    return found


def step_s(job: Description, own: Job, device: Device) -> float:
    """Seconds of a training step here, in the mean over a moment in which the real replica trains.

    The first unit, which touches memory, is left out. Raises what the job's own code raises, and `DataError`.
    """
    device.use()
    with threadpoolctl.threadpool_limits(job.plan.threads):
        watch = Watch()
        replica = replica_of(job, parts_of(own), device, watch, Heap())
        rows = FileRows(own.train, job.schedule.shards, 0)
        first = replica.initialise().vector
        assert first is not None
        base = first.copy()
        replica.train(base, rows, 0, 0)
        began, watch.step = time.perf_counter(), 0
        while True:
            replica.train(base, rows, 0, 0)
            spent_s = time.perf_counter() - began
            if spent_s >= MOMENT_S or watch.step >= STEPS_MAX:
                return spent_s / watch.step
