"""What a robust rule withstands in a run, with the numbers: checked before anyone waits for workers.

A rule withstands so many faulty contributions of a round. How many faulty workers that is depends on how many
units of a round one of them may make: with at least MIN workers here, no more than units / MIN, rounded up.
"""

from paramserver.settings import Settings
from ps_common.errors import UsageError
from ps_common.job import Description


def units_max(job: Description, settings: Settings) -> int | None:
    """How many units of a round one worker may make; None: any number."""
    if not job.plan.rule.faulty or settings.trusts_workers:
        return None
    return -(-job.schedule.shards.count // settings.workers_min)


def faulty_workers(job: Description, settings: Settings) -> int:
    """How many workers may be wrong, whatever they send."""
    most = units_max(job, settings)
    return 0 if most is None else job.plan.rule.faulty // most


def least_units(job: Description) -> int:
    """The units of the smallest round: an epoch's last, where shards are of different sizes."""
    rounds = [job.schedule.rounds_of(shard) for shard in range(job.schedule.shards.count)]
    return rounds.count(max(rounds))


def check(job: Description, settings: Settings, servers: int) -> None:
    """Raise `UsageError` where the job's rule cannot do what it promises. servers: how many average."""
    rule, units, least = job.plan.rule, job.schedule.shards.count, least_units(job)
    if not rule.faulty:
        return
    if settings.rejects_outliers:
        raise UsageError(
            f"--reject-outliers watches over a mean, and the rule {rule.promise} of a round by itself: "
            "leave one of the two out"
        )
    if rule.is_whole and servers > 1:
        raise UsageError(
            f"the rule {rule.name} holds whole vectors against each other, and each of {servers} averaging "
            "servers has a stretch: take --servers 1, or the rule median or trimmed-mean"
        )
    if least < rule.least:
        raise UsageError(
            f"the rule {rule.promise} of {rule.least} or more, "
            f"and the last round of an epoch has {least}, as shards' sizes differ: take equal ones, or more"
        )
    most = units_max(job, settings)
    if most is not None and most > rule.faulty:
        enough = -(-units // rule.faulty)
        raise UsageError(
            f"the rule {rule.promise} of {units}, and with "
            f"--workers {settings.workers_min} one worker makes up to {most} of them: take --workers "
            f"{enough} or more, or --set rule.faulty={most}, with the shards that takes; or say "
            "--trust-workers, where all are your own"
        )


def told(job: Description, settings: Settings, nbytes: int) -> str:
    """What the rule withstands and takes, for a person. nbytes: of a contribution."""
    rule, units = job.plan.rule, job.schedule.shards.count
    text = f"the rule {rule.promise} of {units} in a round"
    most = units_max(job, settings)
    if most is not None:
        workers, each = faulty_workers(job, settings), f"each of which makes at most {most}"
        text += f", that is {workers} of at least {settings.workers_min} workers, {each}"
    return f"{text}; all are held until the last is in: {units * nbytes / 1e6:,.1f} MB"


def check_memory(job: Description, settings: Settings, nbytes: int) -> str:
    """Why a round does not fit into memory, or nothing. nbytes: of a contribution."""
    units, room = job.schedule.shards.count, settings.memory_bytes
    if not job.plan.rule.faulty or room is None or units * nbytes <= room:
        return ""
    return (
        f"the rule {job.plan.rule.name} holds all {units} contributions of a round, "
        f"{units * nbytes / 1e6:,.1f} MB, and "
        f"this machine has {room / 1e6:,.1f} MB left: take fewer shards"
    )
