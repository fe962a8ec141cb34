"""What the master knows of its averaging servers and of the round they average: the state behind `Served`."""

import dataclasses

from paramserver.averaging.chunks import Comer
from paramserver.averaging.rounds import Lent
from ps_common.arrays import HostArray
from ps_common.gather import Gather
from ps_common.layout import ChunkSpan


@dataclasses.dataclass
class Server:
    """One averaging server; times of the master's monotonic clock."""

    address: str
    silent_since: float | None = None  # when it was asked whether it is there, and has not answered
    asked_at: float = -1e9  # when it was last told what it is still to answer
    checked_at: float = -1e9
    is_ready: bool = False  # to average: it serves this generation
    ready_at: int = 0  # the number of what it was told last when it became so
    is_shared: bool = False
    away_since: float | None = None  # since it was lost, until it serves again
    spans: tuple[ChunkSpan, ...] = ()  # its chunks, as they lie in the whole vector
    capacity: int = 1  # contributions that it can hold
    delivered: set[int] = dataclasses.field(default_factory=set)  # shards whose part is there
    released: set[int] = dataclasses.field(default_factory=set)
    is_closed: bool = False
    copy: Gather | None = None  # of the next version, which comes from a server elsewhere
    outliers: tuple[int, ...] = ()  # shards whose contributions were unusual there
    digests: tuple[str, ...] = ()  # of its part of each contribution, once it is closed
    sent: int = 0  # bytes, in this life
    received: int = 0


@dataclasses.dataclass
class ServedRound:
    """A round that servers average into `out`."""

    version: int  # that it makes
    shards: tuple[int, ...]
    samples: tuple[int, ...]
    out: HostArray
    turn: int = 0  # the place of the first contribution that is not delivered
    coming: dict[int, Comer] = dataclasses.field(default_factory=dict)  # shard -> who sends it in chunks
    lent: dict[int, Lent] = dataclasses.field(default_factory=dict)  # shard -> where it lies
    ahead: set[int] = dataclasses.field(default_factory=set)  # places of what comes in chunks before its turn
    lent_at: dict[int, int] = dataclasses.field(default_factory=dict)  # shard -> the number said last before
    asked_back: set[int] = dataclasses.field(default_factory=set)  # shards whose memory is wanted
    weighed: dict[int, int] = dataclasses.field(default_factory=dict)  # shard -> samples, as in Announce
    left_out: tuple[int, ...] = ()  # shards that it is closed without
    mirrors: tuple[Lent, ...] | None = None  # while it is being finished
    is_finishing: bool = False  # it was asked to finish, and may have in some stretch

    def __post_init__(self) -> None:
        self.place = {shard: i for i, shard in enumerate(self.shards)}


@dataclasses.dataclass(frozen=True)
class Heard:
    """What a server's message has brought about.

    delivered: the shard whose contribution is now in everywhere. unseen: the shard whose memory a server
    cannot see, and `trouble` why; else what is wrong. is_lost: the server has forgotten what it served.
    is_blind: it cannot see the master's memory any more. unwritten: processes of workers whose vectors have
    not taken the average.
    """

    delivered: int | None = None
    unseen: int | None = None
    trouble: str = ""
    are_all_ready: bool = False
    is_lost: bool = False
    is_blind: bool = False
    unwritten: tuple[int, ...] = ()
