"""Which replica a job needs: of layers, or of a class of the user's own that trains itself."""

from ps_common.arrays import Device
from ps_common.job import Description, Job
from ps_common.layout import Layout
from ps_common.memory import Memory
from ps_common.own_model import trains_itself
from ps_worker.own_replica import OwnReplica
from ps_worker.replica import Parts, Replica, Watch, layout_of, network_of


def parts_of(job: Job) -> Parts:
    """The objects of a job's file."""
    return Parts(job.model, job.loss, job.optimizer, job.regularizer, tuple(job.metrics))


def replica_of(
    job: Description, parts: Parts, device: Device, watch: Watch, memory: Memory | None = None
) -> Replica | OwnReplica:
    """Where a class of the user's own computes is its own affair; layers compute on `device`."""
    if trains_itself(parts.model):
        return OwnReplica(job, parts.model, watch, memory)
    return Replica(job, parts, device, watch, memory)


def layout_of_job(job: Description, parts: Parts) -> Layout:
    """What is averaged of a job."""
    if trains_itself(parts.model):
        return OwnReplica(job, parts.model, Watch()).layout
    return layout_of(job, parts, network_of(job, parts))
