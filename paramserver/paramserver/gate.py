"""What a contribution must be before anything of it counts."""

import math

from paramserver.leases import Unit
from ps_common.errors import PeerError
from ps_common.job import Description
from ps_common.messages import Plain, Push

SUMS_MAX = 64  # metrics of a unit
NAME_MAX = 256  # characters of a metric's name
RESERVED = ("epoch", "samples", "train_loss", "evaluated")  # what else stands beside metrics in the history


def check_push(push: Push, unit: Unit, job: Description) -> dict[str, list[float]]:
    """The metric sums of a contribution to `unit`. Raises `PeerError` where it cannot be one."""
    expected = samples_of(unit, job)
    if push.samples != expected:
        raise PeerError(f"{unit} has {expected} samples, the contribution says {push.samples}")
    sums = check_sums(push.sums)
    if unit.kind != "initialise" and "loss" not in sums:
        raise PeerError(f"the metric sums of {unit} have no loss")
    if unit.kind != "initialise" and sums["loss"][1] != expected:
        raise PeerError(f"the loss sums of {unit} are over {sums['loss'][1]:g} samples, not {expected}")
    return sums


def samples_of(unit: Unit, job: Description) -> int:
    """Number of samples that a unit goes through."""
    if unit.kind == "train":
        return job.schedule.samples(unit.round, unit.shard)
    if unit.kind == "evaluate" and job.test_shards is not None:
        return job.test_shards.size(unit.shard)
    return 0


def check_sums(sums: Plain) -> dict[str, list[float]]:
    """Metric sums by name: finite, numerator and denominator (at least 0). Raises `PeerError`."""
    if not isinstance(sums, dict) or len(sums) > SUMS_MAX:
        raise PeerError(f"metric sums are a dict of at most {SUMS_MAX} entries")
    for name, values in sums.items():
        if not (isinstance(name, str) and isinstance(values, list) and len(values) == 2):
            raise PeerError("metric sums are pairs of numbers by name")
        if name in RESERVED or len(name) > NAME_MAX:
            raise PeerError(f"no metric may be called {name[:NAME_MAX]!r}")
        if not all(type(value) is float and math.isfinite(value) for value in values) or values[1] < 0:
            raise PeerError(f"the metric sums of {name} are not two finite numbers, the second at least 0")
    return sums
