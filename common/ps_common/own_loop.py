"""What stands in a run's description where a job has its model: workers that bring model, data and loop."""

import dataclasses

from ps_common.errors import UsageError
from ps_common.vocabulary import word

EPOCH_MAX = 2**31


@word
@dataclasses.dataclass(frozen=True)
class OwnLoop:
    """The workers are processes with a training loop of their own, which share arrays and nothing else.

    samples: of an epoch. They are cut into units as a job's are, and each contribution must be of as many
        samples as its unit has. None: nobody knows, and each contribution says how many it is of.
    rounds: of an epoch, where the samples are not known; else None.
    """

    samples: int | None = None
    rounds: int | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.samples, self.rounds) if value is not None]
        if len(given) != 1:
            raise UsageError("how long is an epoch? give its samples, or else its rounds")
        if type(given[0]) is not int or not 1 <= given[0] <= EPOCH_MAX:
            raise UsageError(f"an epoch has 1 to {EPOCH_MAX} samples or rounds, not {given[0]!r}")
