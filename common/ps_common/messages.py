"""The protocol: every message between master and worker, in the order in which they are first met.

    worker                                master
    Join            ------------------->            who I am, which protocol and job I know
                    <-------------------  Welcome   your name, the job as plain data (or Refused, and why)
    Ready           ------------------->            idle, holding this version
                    <-------------------  Lease     do unit (round, shard) on this version
    Pull            ------------------->            send me these chunks of the version
                    <-------------------  Weights   one chunk                       + 1 frame
    Fetch           ------------------->            send me these blocks of a shard's rows
                    <-------------------  Rows      one block                       + 1 frame a field
        (computes the unit; Heartbeats go on)
    Push            ------------------->            my contribution: samples, sums, layout
    Chunk           ------------------->            one chunk of its weights        + 1 frame
                    <-------------------  Grant     send me these chunks
                    <-------------------  Accepted  your contribution is in; or Lease, the next unit
    Heartbeat       ------------------->            I live, and am at this step
                    <-------------------  Alive     so do I; or Rejoin: I do not know you, join again
        (after a mistake)
                    <-------------------  Rejected  what was wrong, and how many more there may be
    Failed          ------------------->            the unit raised: traceback and exit code
    Leave           ------------------->            goodbye
                    <-------------------  Stop      the run is over; leave with this exit code

Rules that make every message safe to lose, repeat or reorder:
- The worker asks, the master answers. Who waits for an answer asks again after `retry_s`, then more
  and more seldom, until something comes forward.
- A request names exactly what it wants (a version, chunk numbers, a lease): answering it twice does no harm.
- Lease numbers grow and begin with the master's term; a Lease newer than the one in hand settles the old one.
- Where both share memory, weights do not travel: a Push names the segment they lie in, the master writes the
  average back into it, and the next Lease says that it is there. The chunks below are for everybody else.
- Bytes flow by credit only: the master sends chunks and rows that were asked for, the worker sends chunks
  that a Lease or a Grant names.

A message is one msgpack header frame, `[kind, field, field, ...]`, and the raw payload frames named above:
C-order, little-endian, no framing of their own. Payload frames carry an xxh3-64 checksum in the header.
The first frame that a ROUTER adds (the sender) is not part of a message.

With several averaging servers each holds one stretch of the flat vector, and chunks are counted within
it: Pull, Chunk, Weights and Grant go between a worker and the servers, everything else stays as above.

    master                                averaging server
    Serve           ------------------->            hold this stretch of this layout, at this version
                    <-------------------  Serving   I do (a server that lacks the version pulls it first)
    Open            ------------------->            average these shards into the next version
    Announce, Lend  ------------------->            a contribution is ready: in chunks, or in memory
                    <-------------------  Delivered my part of it is here (or Unseen: it is not)
    Withdraw        ------------------->            whoever was sending it is gone
    Release         ------------------->            give the memory of a contribution back
                    <-------------------  Released
    Finish          ------------------->            everything is in: copy the average to these vectors, too
                    <-------------------  Closed
                    <-------------------  Faulty    a contribution must not be averaged: get me another one
    Check           ------------------->            are you there?
                    <-------------------  Pulse     and what I did so far

Each names the generation it belongs to. Whenever a server is lost, the master begins a new one: the round
in progress begins anew, from the version before it, which the master always has. What the master says is
numbered, and a server drops what others have overtaken: whatever matters is said again until it is answered.

Whoever may read a run's status or administer it calls the same address, and becomes no member by that:

    ps-status, ps-admin                   master
    Look            ------------------->            how is the run?
    Order           ------------------->            stop, save, send a worker home, keep it out
                    <-------------------  Seen      how it is (or Refused, and why)
"""

import dataclasses
from typing import Annotated, Any

PROTOCOL = 6  # raised whenever a message changes; both sides must be equal

# Limits, each with its reason.
HEADER_BYTES = 16 * 2**20  # the largest header is a layout: 100,000 tensors at about 100 bytes
SMALL_HEADER_BYTES = 640 * 2**10  # of a message that holds no layout and no list of a million: two texts
LISTS_MAX = 2**20  # and dicts, of a header: a third of a second and 90 MB (measured), whatever it may be
CHUNK_BYTES = 2**20  # measured: from 1 to 4 MiB a loopback or a 1 Gbit/s link is at its best
CHUNK_BYTES_MAX = 64 * 2**20  # one payload frame; bounds what a peer can make the other side hold
WINDOW = 4  # chunks that a worker may send and the master has not received; fills the pipe, bounds the queue
PULL_WINDOW = 64  # the other way they are sent from where they lie, and requests get stuck behind chunks
WINDOW_MAX = 1024  # a peer must not be able to ask for everything at once
SECONDS_MAX = 1e9  # thirty years
INTERVAL_S_MIN = 0.001  # whoever is told to say something again and again is not to do nothing else
SERVERS_MAX = 1024  # that average; each stretch of the vector is cut and remembered
NOT_SHARED = -1  # instead of a descriptor: the weights travel in chunks
NAME_MAX = 256  # characters: of hosts, devices, digests and what users call a worker
FRAMES_MAX = 18  # header and at most 16 fields, and one to tell that there were too many


@dataclasses.dataclass(frozen=True)
class Bound:
    """Bounds of a field: of the value for numbers, of the length for everything else.

    are_distinct: whether a list names everything once.
    """

    least: float
    most: float
    are_distinct: bool = False


Count = Annotated[int, Bound(0, 2**62)]
Index = Annotated[int, Bound(0, 2**31)]
Version = Annotated[int, Bound(-1, 2**62)]  # -1: none
Seconds = Annotated[float, Bound(0, SECONDS_MAX)]
Interval = Annotated[float, Bound(INTERVAL_S_MIN, SECONDS_MAX)]
ExitCode = Annotated[int, Bound(0, 255)]
Name = Annotated[str, Bound(0, NAME_MAX)]
Text = Annotated[str, Bound(0, 65_536)]
Chunks = Annotated[tuple[int, ...], Bound(1, 4_096, are_distinct=True)]  # or blocks, by number
Numbers = Annotated[tuple[int, ...], Bound(0, 1_000_000)]
Addresses = Annotated[tuple[str, ...], Bound(0, SERVERS_MAX)]
Digests = Annotated[tuple[str, ...], Bound(0, 1_000_000)]  # as hexadecimal text
Sender = Annotated[bytes, Bound(1, 255)]  # as ZeroMQ limits it
Plain = Annotated[Any, Bound(0, 0)]  # plain data; whoever uses it checks it

ORDERS = ("stop", "checkpoint", "drop", "quarantine", "forgive")  # all that can be ordered


class Message:
    """Base of all messages; `payloads` is how many raw frames follow the header of at most `header_bytes`."""

    payloads: tuple[int, int] = (0, 0)
    header_bytes: int = SMALL_HEADER_BYTES  # at most


# -- worker to master ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Join(Message):
    """First message of a worker, again after `Rejoin`. Answered by Welcome or Refused.

    Its first field, and Refused, are the same in every version, so that each can tell the other.
    """

    protocol: Count
    name: Name  # wished for; the master makes it unique
    host: Name
    pid: Count
    device: Name
    job_code: Name  # SHA-256 of the job file the worker was given; empty: it takes the master's job
    libraries: Name  # what bit-identity depends on: numpy's version and the processor
    place: Name = ""  # processes with equal places can share memory; empty: with nobody


@dataclasses.dataclass(frozen=True)
class Ready(Message):
    """The worker is idle. Answered by a Lease, as soon as there is a unit to lease."""

    version: Version  # of the canonical weights it holds
    lease: Count = 0  # the last lease it has had: an older Ready, late on its way, says nothing


@dataclasses.dataclass(frozen=True)
class Pull(Message):
    """Asks for chunks of a version. Answered by one Weights for each, of the next version as it closes."""

    version: Version
    chunks: Chunks


@dataclasses.dataclass(frozen=True)
class Fetch(Message):
    """Asks for blocks of rows of a shard. Answered by one Rows for each."""

    split: Name  # "train" or "test"
    shard: Index
    blocks: Chunks


@dataclasses.dataclass(frozen=True)
class Push(Message):
    """Offers the contribution of a unit. Answered by Grants, then Accepted or a Lease."""

    header_bytes = HEADER_BYTES
    lease: Count
    samples: Count  # really processed: the contribution's weight in the average
    sums: Plain  # metric name -> list of floats, see figures.py; added over the units of a round
    layout: Plain  # of an initialise unit: the layout as plain data; else None
    compute_s: Seconds
    wait_s: Seconds
    transfer_s: Seconds
    is_last: bool = False  # the worker leaves when this is settled; lease it nothing more
    descriptor: Version = NOT_SHARED  # of the segment of its process that the weights lie in


@dataclasses.dataclass(frozen=True)
class Chunk(Message):
    """One chunk of a contribution."""

    payloads = (1, 1)
    lease: Count
    index: Index
    checksum: Annotated[int, Bound(0, 2**64)]


@dataclasses.dataclass(frozen=True)
class Heartbeat(Message):
    """Sent every `heartbeat_interval_s`, as told last, by the side that is never busy. Answered by Alive."""

    lease: Count  # the unit in hand; 0: none
    step: Count  # how far it is; a lease is renewed by progress, not by being alive


@dataclasses.dataclass(frozen=True)
class Failed(Message):
    """The unit raised. The worker goes on; the master decides."""

    lease: Count
    error: Text
    traceback: Text
    log: Name
    exit_code: ExitCode


@dataclasses.dataclass(frozen=True)
class Leave(Message):
    """The worker goes away and holds nothing any more."""

    reason: Text


# -- who reads or administers, to master ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Look(Message):
    """How is the run? Answered by Seen, and by another one when it ends soon after; or by Refused.

    Its first field, and that of an Order, are the same in every version, as those of a Join.
    """

    protocol: Count
    job_code: Name = ""  # SHA-256 of the asker's job file: Refused where it is not the master's, as a Join is


@dataclasses.dataclass(frozen=True)
class Order(Message):
    """Answered by Seen, or Refused. An order that comes again is not carried out again, but answered."""

    protocol: Count
    number: Count  # drawn anew for each order: by it and the sender it is known again
    what: Name  # one of ORDERS
    name: Name = ""  # of the worker that it is about


# -- master to worker ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Welcome(Message):
    """The worker is a member."""

    header_bytes = HEADER_BYTES
    worker: Name
    run: Name
    term: Count  # grows with every start of the master of this run
    job: Plain  # the job's description
    heartbeat_interval_s: Interval
    retry_s: Interval
    chunk_bytes: Annotated[int, Bound(64, CHUNK_BYTES_MAX)]
    window: Annotated[int, Bound(1, WINDOW_MAX)]
    pull_window: Annotated[int, Bound(1, WINDOW_MAX)]
    lease: Count = 0  # the last lease given so far: the worker's own will be newer
    start: Count = 0  # of the master: differs from start to start, also where the term does not
    pid: Count = 0  # of the master
    servers: Addresses = ()  # of the averaging servers, in the order of their stretches; none: the master
    layout: Plain = None  # of the weights, where workers bring their own arrays and there are weights already


@dataclasses.dataclass(frozen=True)
class Refused(Message):
    """The worker may not join, or what was asked for or ordered is not done: exit with the code."""

    exit_code: ExitCode
    reason: Text


@dataclasses.dataclass(frozen=True)
class Rejoin(Message):
    """The master does not know the sender (it restarted, or gave the worker up): join again."""


@dataclasses.dataclass(frozen=True)
class Lease(Message):
    """A unit of work. `version` -1 where the unit needs no weights."""

    lease: Count
    kind: Name  # "initialise", "train" or "evaluate"
    round: Count
    shard: Index
    version: Version
    layout_digest: Name  # empty for initialise
    grant: Count  # this many first chunks may be sent right after the Push
    start: Count = 0  # as in the Welcome; a lease of a master that is gone is none
    slot: Annotated[int, Bound(0, 1)] = 0  # which of the worker's two vectors to compute in
    is_here: bool = False  # the version lies in that vector already
    descriptor: Version = NOT_SHARED  # of the segment of the master's process that the version lies in
    is_only: bool = False  # no other unit of this version is expected for this worker: it need not keep it


@dataclasses.dataclass(frozen=True)
class Weights(Message):
    """One chunk of a version of the canonical weights."""

    payloads = (1, 1)
    version: Version
    index: Index
    checksum: Annotated[int, Bound(0, 2**64)]


@dataclasses.dataclass(frozen=True)
class Rows(Message):
    """One block of rows of a shard, a frame a field."""

    payloads = (1, 16)
    split: Name
    shard: Index
    block: Index
    checksum: Annotated[int, Bound(0, 2**64)]


@dataclasses.dataclass(frozen=True)
class Grant(Message):
    """These chunks of the contribution may come."""

    lease: Count
    chunks: Chunks
    is_last: bool = False  # no unit of the round is left: the next version may be pulled while this goes on


@dataclasses.dataclass(frozen=True)
class Accepted(Message):
    """The contribution is settled: counted, or not and why."""

    lease: Count
    counted: bool
    reason: Text


@dataclasses.dataclass(frozen=True)
class Alive(Message):
    """Answers a Heartbeat."""

    term: Count
    heartbeat_interval_s: Interval  # from now on: the more members there are, the longer


@dataclasses.dataclass(frozen=True)
class Stop(Message):
    """The run is over. Answered by Leave; before that, who wants the last weights may pull them."""

    exit_code: ExitCode
    reason: Text
    version: Version = -1  # that it has come to, where workers bring their own loops and want to have it


@dataclasses.dataclass(frozen=True)
class Rejected(Message):
    """Something the worker has sent was wrong, and changes nothing; `strikes_max` strikes, and it is out."""

    kind: Name  # as errors.py has them
    reason: Text
    strikes: Count  # of it, so far
    strikes_max: Count


# -- master to who reads or administers -----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Seen(Message):
    """How the run is, as plain data; see status.py. It names at most so many workers."""

    status: Plain


# -- master to averaging server ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Serve(Message):
    """Hold a stretch of the vector, from now on. Answered by Serving, or Refused while it serves another."""

    header_bytes = HEADER_BYTES
    protocol: Count
    generation: Count
    run: Name
    server: Index  # which stretch
    servers: Annotated[int, Bound(1, SERVERS_MAX)]  # of how many
    layout: Plain
    chunk_bytes: Annotated[int, Bound(64, CHUNK_BYTES_MAX)]
    window: Annotated[int, Bound(1, WINDOW_MAX)]
    held_bytes: Count
    version: Version  # to begin with; -1: there are no weights yet
    place: Name  # as in Join, of the master
    pid: Count  # of the master
    descriptor: Version  # of the segment of the master that the version lies in, or the first one is to
    keeps_digests: bool = False  # whether Closed is to say what was averaged
    outlier_factor: Seconds = 10.0  # as in the settings of the master, and so the next two
    rejects_outliers: bool = False
    secret: Count = 1
    rule: Plain = None  # of averaging, as plain data; None: the mean


@dataclasses.dataclass(frozen=True)
class Open(Message):
    """Average these shards into the version; the one before it is settled."""

    header_bytes = HEADER_BYTES
    generation: Count
    number: Count
    version: Version
    shards: Numbers  # in summing order
    samples: Numbers  # of each
    descriptor: Version  # of the segment of the master that the average is to lie in
    left_out: Numbers = ()  # shards that it is closed without, as far as is known; nothing of them has come


@dataclasses.dataclass(frozen=True)
class Announce(Message):
    """A contribution is ready, and comes in chunks. Answered by Grants to its worker, then Delivered."""

    generation: Count
    number: Count
    version: Version
    shard: Index
    lease: Count
    worker: Sender
    is_last: bool  # as in Grant
    samples: Count = 0  # that it counts as; 0: as Open said


@dataclasses.dataclass(frozen=True)
class Lend(Message):
    """A contribution lies in memory of this machine. Answered by Delivered or Unseen."""

    generation: Count
    number: Count
    version: Version
    shard: Index
    pid: Count
    descriptor: Version
    samples: Count = 0  # as in Announce


@dataclasses.dataclass(frozen=True)
class Withdraw(Message):
    """Who was sending a contribution is gone; what has come stays, unless it is wrong and not summed yet."""

    generation: Count
    number: Count
    version: Version
    shard: Index
    is_wrong: bool = False


@dataclasses.dataclass(frozen=True)
class Release(Message):
    """The memory of a contribution is wanted back: sum it, or copy it. Answered by Released."""

    generation: Count
    number: Count
    version: Version
    shard: Index


@dataclasses.dataclass(frozen=True)
class Finish(Message):
    """Every contribution is in. Answered by Closed."""

    header_bytes = HEADER_BYTES
    generation: Count
    number: Count
    version: Version
    pids: Numbers  # of the processes whose vectors take the average, too
    descriptors: Numbers
    left_out: Numbers = ()  # as in Open


@dataclasses.dataclass(frozen=True)
class Check(Message):
    """Answered by Pulse."""

    number: Count


# -- averaging server to master ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Serving(Message):
    """The stretch is here, at the version. Again, and not shared: the master's memory is out of sight."""

    generation: Count
    is_shared: bool  # it lies in the master's memory


@dataclasses.dataclass(frozen=True)
class Delivered(Message):
    """This server's part of a contribution is in; number: of the message that said whose."""

    generation: Count
    number: Count
    version: Version
    shard: Index


@dataclasses.dataclass(frozen=True)
class Unseen(Message):
    """A contribution that was lent cannot be seen from here."""

    generation: Count
    number: Count  # of the Lend
    version: Version
    shard: Index
    reason: Text


@dataclasses.dataclass(frozen=True)
class Released(Message):
    """The memory of a contribution is read no more."""

    generation: Count
    number: Count  # of the Release
    version: Version
    shard: Index


@dataclasses.dataclass(frozen=True)
class Closed(Message):
    """The stretch is averaged."""

    header_bytes = HEADER_BYTES
    generation: Count
    version: Version
    unwritten: Numbers  # those of `Finish.pids` whose vectors have not taken it
    digests: Digests = ()  # of its part of each contribution, in the order of the shards, where they are kept
    outliers: Numbers = ()  # shards whose contributions have moved the weights unusually far


@dataclasses.dataclass(frozen=True)
class Faulty(Message):
    """A contribution must not be averaged: what is not summed of it is dropped, and awaited anew."""

    generation: Count
    number: Count  # of the Announce or Lend that it came by
    version: Version
    shard: Index
    kind: Name  # as in Rejected
    reason: Text


@dataclasses.dataclass(frozen=True)
class Pulse(Message):
    """The server lives; `generation` 0: it serves nobody."""

    generation: Count
    number: Count  # of the Check
    bytes_sent: Count
    bytes_received: Count


# Wire numbers. A number is never used twice.
KINDS: dict[int, type[Message]] = {
    1: Join,
    2: Ready,
    3: Pull,
    4: Fetch,
    5: Push,
    6: Chunk,
    7: Heartbeat,
    8: Failed,
    9: Leave,
    10: Look,
    11: Order,
    32: Welcome,
    33: Refused,
    34: Rejoin,
    35: Lease,
    36: Weights,
    37: Rows,
    38: Grant,
    39: Accepted,
    40: Alive,
    41: Stop,
    42: Rejected,
    43: Seen,
    64: Serve,
    65: Open,
    66: Announce,
    67: Lend,
    68: Withdraw,
    69: Release,
    70: Finish,
    71: Check,
    96: Serving,
    97: Delivered,
    98: Unseen,
    99: Released,
    100: Closed,
    101: Pulse,
    102: Faulty,
}
