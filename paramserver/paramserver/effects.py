"""What the master's machine asks its loop to do. The machine itself touches no socket, file or clock."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ps_common.arrays import HostArray
from ps_common.layout import Layout
from ps_common.messages import Fetch, Message


@dataclasses.dataclass(frozen=True)
class Send:
    """Send a message to a worker; `payloads` are sent from where they lie and do not change."""

    to: bytes
    message: Message
    payloads: Sequence[HostArray] = ()


@dataclasses.dataclass(frozen=True)
class Tell:
    """Send a message to an averaging server, likewise."""

    server: int
    message: Message
    payloads: Sequence[HostArray] = ()


@dataclasses.dataclass(frozen=True)
class Restart:
    """An averaging server is lost: end what is left of it, and start it again."""

    server: int


@dataclasses.dataclass(frozen=True)
class Watch:
    """Tell when a worker's process, which is on this machine, has ended."""

    sender: bytes
    pid: int


@dataclasses.dataclass(frozen=True)
class Unwatch:
    """A worker is no member any more."""

    sender: bytes


@dataclasses.dataclass(frozen=True)
class Cut:
    """Close the connection of a peer that is quarantined, and has had the time to hear why."""

    sender: bytes


@dataclasses.dataclass(frozen=True)
class SendRows:
    """Read the rows a worker fetches and send them."""

    to: bytes
    fetch: Fetch


@dataclasses.dataclass(frozen=True, slots=True)
class Contribution:
    """What became of one unit's contribution, for the ledger.

    worker, incarnation: its name, and the sender, in hexadecimal, of that life of it. Where a worker was lost
    while it sent, the bits are partly its own; they are the same. digest: of what was averaged, else empty.
    verdict: "averaged", or short words that say why not.
    """

    round: int
    shard: int
    worker: str
    incarnation: str
    samples: int
    digest: str
    verdict: str


@dataclasses.dataclass(frozen=True)
class Averaged:
    """A round was closed and made `version`, of these contributions."""

    version: int
    units: tuple[Contribution, ...]


@dataclasses.dataclass(frozen=True)
class Position:
    """How far the ledger goes: all of `segment`, a file beside the checkpoint, up to `nbytes`.

    chain: digest of these bytes and of all segments before.
    """

    segment: str
    nbytes: int
    chain: str


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Everything a run needs to go on from: one version of the weights and where the run stands."""

    layout: Layout
    vector: HostArray  # flat, uint8, not to be changed
    version: int  # rounds averaged so far
    run: str
    term: int
    job: dict[str, Any]
    job_digest: str
    samples: int  # trained on so far
    sums: dict[str, list[float]]  # of the epoch in progress
    history: list[dict[str, Any]]
    seconds: float  # spent in earlier terms
    done: list[int] = dataclasses.field(default_factory=list)  # units of the epoch in progress, by shard
    ledger: Position | None = None  # where it says how the weights came about; None: there is none


@dataclasses.dataclass(frozen=True)
class Save:
    """Write a checkpoint."""

    snapshot: Snapshot


@dataclasses.dataclass(frozen=True)
class Note:
    """Something happened that a person or the record wants to know. `event` is a short fixed word."""

    event: str
    text: str
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)
    urgent: bool = False


@dataclasses.dataclass(frozen=True)
class Finished:
    """The machine has nothing left to do; the process exits with this code."""

    exit_code: int
    reason: str


Effect = Send | Tell | Restart | Watch | Unwatch | Cut | SendRows | Averaged | Save | Note | Finished


class Outbox:
    """The effects of one call of the machine, in order."""

    def __init__(self) -> None:
        self._effects: list[Effect] = []

    def put(self, effect: Effect) -> None:
        self._effects.append(effect)

    def send(self, to: bytes, message: Message, *payloads: HostArray) -> None:
        self._effects.append(Send(to, message, payloads))

    def tell(self, server: int, message: Message, *payloads: HostArray) -> None:
        self._effects.append(Tell(server, message, payloads))

    def note(self, event: str, text: str, urgent: bool = False, **fields: Any) -> None:
        self._effects.append(Note(event, text, fields, urgent))

    def take(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
