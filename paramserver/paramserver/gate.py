"""What a contribution must be before anything of it counts."""

from collections.abc import Mapping

from paramserver.leases import Unit
from ps_common.errors import NotFinite, WrongSamples, WrongSums
from ps_common.figures import NAME_MAX, RESERVED, SUM_MAX, SUMS_MAX, wrong_sums
from ps_common.job import Description
from ps_common.messages import Plain, Push

SAMPLES_MAX = 2**31  # of a contribution that itself says how many; what is usual among them `said.py` knows


def check_push(push: Push, unit: Unit, job: Description) -> dict[str, list[float]]:
    """The metric sums of a contribution to `unit`. Raises `PeerError` where it cannot be one."""
    expected = samples_of(unit, job)
    if unit.kind == "train" and job.has_open_samples:
        expected = push.samples
        if not 1 <= expected <= SAMPLES_MAX:
            raise WrongSamples(
                f"{unit} must have 1 to {SAMPLES_MAX} samples, the contribution says {expected}"
            )
    if push.samples != expected:
        raise WrongSamples(f"{unit} has {expected} samples, the contribution says {push.samples}")
    sums = check_sums(push.sums, job.figures)
    if unit.kind != "initialise" and "loss" not in sums and job.own_loop is None:
        raise WrongSums(f"the metric sums of {unit} have no loss")
    if unit.kind != "initialise" and "loss" in sums and sums["loss"][1] != expected:
        raise WrongSums(f"the loss sums of {unit} are over {sums['loss'][1]:g} samples, not {expected}")
    return sums


def samples_of(unit: Unit, job: Description) -> int:
    """Number of samples that a unit goes through; 1 where nobody knows it before it is done."""
    if unit.kind == "train":
        return job.schedule.samples(unit.round, unit.shard)
    if unit.kind == "evaluate" and job.test_shards is not None:
        return job.test_shards.size(unit.shard)
    return 0


def check_sums(sums: Plain, figures: Mapping[str, str]) -> dict[str, list[float]]:
    """Metric sums by name, as many as their figures take. Raises `WrongSums`, and `NotFinite` for NaN."""
    if not isinstance(sums, dict) or len(sums) > SUMS_MAX:
        raise WrongSums(f"metric sums are a dict of at most {SUMS_MAX} entries")
    for name, values in sums.items():
        if not (isinstance(name, str) and isinstance(values, list)):
            raise WrongSums("metric sums are lists of numbers by name")
        if name in RESERVED or len(name) > NAME_MAX:
            raise WrongSums(f"no metric may be called {name[:NAME_MAX]!r}")
        if wanted := wrong_sums(figures.get(name, "ratio"), values):
            is_number = all(not isinstance(value, float) or abs(value) <= SUM_MAX for value in values)
            error = WrongSums if is_number else NotFinite
            raise error(f"the metric sums of {name} are not {wanted}")
    return sums
