"""What is to be simulated: a job, its data, and what its workers compute with."""

import dataclasses
from collections.abc import Callable, Mapping

from paramserver.simulation.computing import Replica
from ps_common.data import Source
from ps_common.job import Description
from ps_common.memory import Memory


@dataclasses.dataclass(frozen=True)
class Case:
    """A job with its data, and what its workers compute with."""

    description: Description
    sources: Mapping[str, Source | None]
    make_replica: Callable[[Description, Memory], Replica]
