"""What the worker's machine asks its loop to do, and what the computing side answers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ps_common.arrays import HostArray
from ps_common.job import Description
from ps_common.layout import Layout
from ps_common.messages import NOT_SHARED, Lease, Message
from ps_worker.arrival import HERE, Arrival

Rows = tuple[HostArray, ...]  # one array a field


@dataclasses.dataclass(frozen=True)
class Send:
    """Send a message to the master, or an averaging server; `payloads` are sent from where they lie."""

    message: Message
    payloads: Sequence[HostArray] = ()
    server: int | None = None


@dataclasses.dataclass(frozen=True)
class Connect:
    """Have connections to these averaging servers, and no others."""

    servers: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Build the replica of this job. Answered by `Prepared` or `Failure`.

    layout: the master's, where workers bring their own arrays and it has weights already.
    """

    job: Description
    layout: Layout | None = None


@dataclasses.dataclass(frozen=True)
class Compute:
    """Compute a unit. Answered by `Contribution` or `Failure`.

    base: the canonical weights, not to be changed unless it `may_take` them: then the unit is computed in
    this very vector, and the one that was in its place comes back. None for initialise, and where they lie
    in the lease's slot already.
    rows: the shard; None where the replica reads it itself.
    """

    lease: Lease
    base: HostArray | None
    rows: Rows | None
    may_take: bool = False


@dataclasses.dataclass(frozen=True)
class Cancel:
    """The unit being computed is wanted no more; come back soon, with whatever."""


@dataclasses.dataclass(frozen=True)
class Last:
    """The run is over, and these are the weights it came to, for as long as nobody changes them."""

    version: int
    weights: HostArray


@dataclasses.dataclass(frozen=True)
class Note:
    """Something a person wants to know."""

    text: str


@dataclasses.dataclass(frozen=True)
class Probe:
    """Look why nobody answers at the master's address. Answered by `Worker.probed`, some seconds later."""


@dataclasses.dataclass(frozen=True)
class Exit:
    """The process ends with this code."""

    exit_code: int
    reason: str


Effect = Send | Connect | Prepare | Compute | Cancel | Last | Note | Probe | Exit


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The replica is ready."""

    layout: Layout
    job_digest: str


@dataclasses.dataclass(frozen=True)
class Contribution:
    """The outcome of a unit. `vector`: flat, uint8, unchanged until the next unit; None: no weights.

    arrival: of the vector's bytes, where they are still on their way; none are where a descriptor is given,
    for whoever attaches the vector may read all of it.
    """

    samples: int
    sums: dict[str, list[float]]
    compute_s: float
    vector: HostArray | None = None
    layout: Any = None  # of initialise, as plain data
    descriptor: int = NOT_SHARED  # of the segment the vector lies in
    spare: HostArray | None = None  # for the base that was taken
    arrival: Arrival = HERE


@dataclasses.dataclass(frozen=True)
class Failure:
    """The user's job raised."""

    error: str
    traceback: str
    exit_code: int


Outcome = Prepared | Contribution | Failure
