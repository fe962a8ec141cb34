"""How a master runs a job, as opposed to what the job is: nothing here changes a result."""

import dataclasses
import math

from ps_common.errors import UsageError
from ps_common.messages import CHUNK_BYTES, CHUNK_BYTES_MAX, PULL_WINDOW, SECONDS_MAX, WINDOW, WINDOW_MAX

OUTLIER_FACTOR = 10.0  # of honest workers of one job even small units differ by less
TRANSPORTS = ("auto", "shm", "tcp")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a master; times in seconds of the master's monotonic clock.

    workers_min: workers without which nothing is leased. workers_at_start: the same until the first unit is
        leased; None: no more than `workers_min`. workers_max: more may not join; None: any number.
    wait_timeout_s: how long to wait for them, then give up with exit code 75.
    stall_timeout_s: time without a step of progress on any unit, then give up with exit code 75.
    heartbeat_interval_s: how often a worker says that it lives; of more than about a thousand, each says so
        more rarely, for the master must answer them all.
    liveness_timeout_s: silence after which a worker counts as lost; four heartbeats, however rare they are.
    server_timeout_s: silence after which an averaging server counts as lost; one may average for long.
    lease_timeout_s: time without a step of progress after which a unit is taken away, if an idle worker can
        take it over. race_after_s: the least time after which an idle worker takes a unit, too, that takes
        longer than others did.
    retry_s: how long a worker waits for an answer before it asks again; each further time twice as long.
    shutdown_timeout_s: nothing takes longer than this after the run is over or asked to stop.
    attempts_max: failures of one unit, on different workers where there are any, before the run ends.
    server_losses_max: losses of averaging servers in one round, before the run ends: more would follow.
    strikes_max: mistakes, within an hour, after which a worker is quarantined: those that no correct worker
        makes, and contributions that were refused where another worker's to the same unit was averaged.
    checkpoint_every_rounds, checkpoint_every_s: when to write a checkpoint, whichever is due first.
    chunk_bytes: size of a chunk; a multiple of 64.
    window: chunks of a contribution in flight from one worker. pull_window: of the weights, to one worker.
    transport: how weights travel to and from workers on this machine: "auto" through shared memory where that
        can be, "shm" only so, "tcp" never so.
    held_bytes: contributions that may wait for their turn, beyond the model's own size.
    keeps_ledger: whether to say of every round what was averaged; it costs a digest of each contribution.
    outlier_factor: how many times as far as is usual a contribution moves the weights that is named for it;
        likewise how many times as many samples it says, where only it knows them.
    rejects_outliers: whether it is refused; then contributions are summed when all of a round are here.
    secret: a number that workers cannot know: which chunks are looked at for that.
    names_are_keys: whether the name that a worker joins with is that of the key it has shown.
    linger_s: how long to stay at the end for workers that are still to hear of it; None: not at all.
    until_round: the run stops when so many rounds are averaged, if it has not ended before; None: it goes on.
    trusts_workers: whether a robust rule does without a limit on the units of a round that one worker makes.
    memory_bytes: what this machine has left; None: not known.
    """

    workers_min: int = 1
    workers_at_start: int | None = None
    workers_max: int | None = None
    wait_timeout_s: float = 300.0
    stall_timeout_s: float = 600.0
    heartbeat_interval_s: float = 0.5
    liveness_timeout_s: float = 2.0
    server_timeout_s: float = 10.0
    lease_timeout_s: float = 60.0
    race_after_s: float = 0.005
    retry_s: float = 1.0
    shutdown_timeout_s: float = 30.0
    attempts_max: int = 3
    server_losses_max: int = 10
    strikes_max: int = 3
    checkpoint_every_rounds: int | None = None
    checkpoint_every_s: float | None = None
    chunk_bytes: int = CHUNK_BYTES
    window: int = WINDOW
    pull_window: int = PULL_WINDOW
    transport: str = "auto"
    held_bytes: int = 32 * 2**20
    keeps_ledger: bool = False
    outlier_factor: float = OUTLIER_FACTOR
    rejects_outliers: bool = False
    secret: int = 1
    names_are_keys: bool = False
    linger_s: float | None = None
    until_round: int | None = None
    trusts_workers: bool = False
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.workers_min < 1 or (self.workers_max is not None and self.workers_max < self.workers_min):
            given = f"{self.workers_min}:{self.workers_max}"
            raise UsageError(f"--workers must be MIN or MIN:MAX with 1 <= MIN <= MAX, not {given}")
        at_start = self.workers_at_start
        if at_start is not None and not self.workers_min <= at_start <= (self.workers_max or at_start):
            given = f"{self.workers_min}:{self.workers_max}"
            raise UsageError(
                f"--begin-with must be between MIN and MAX of --workers ({given}), not {at_start}"
            )
        if self.chunk_bytes % 64 or not 64 <= self.chunk_bytes <= CHUNK_BYTES_MAX:
            raise UsageError(
                f"chunk_bytes must be a multiple of 64 up to {CHUNK_BYTES_MAX}, not {self.chunk_bytes}"
            )
        for name in ("window", "pull_window"):
            chunks = getattr(self, name)
            if not 1 <= chunks <= WINDOW_MAX:
                raise UsageError(f"{name} must be 1 to {WINDOW_MAX} chunks, not {chunks}")
        if self.transport not in TRANSPORTS:
            raise UsageError(f"transport must be one of {', '.join(TRANSPORTS)}, not {self.transport!r}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None or isinstance(value, str | bool):
                continue
            is_time = field.name.endswith("_s")
            most = SECONDS_MAX if is_time else math.inf
            if not 0 < value <= most:
                raise UsageError(f"{field.name} must be positive and at most {most:g}, not {value}")
            if is_time:
                object.__setattr__(self, field.name, float(value))  # the protocol knows no other seconds
        if self.liveness_timeout_s <= self.heartbeat_interval_s:
            raise UsageError(
                f"liveness_timeout_s ({self.liveness_timeout_s:g}) must be longer than heartbeat_interval_s "
                f"({self.heartbeat_interval_s:g}), or every worker counts as lost"
            )
