"""Who is in the run: joins, names, liveness. A member is one incarnation of a worker process.

The sender (its ROUTER identity, drawn anew by every worker process) is the incarnation: a worker that
was killed and started again is another member, and nothing of its former life counts for it.
"""

import collections
import dataclasses
import itertools
from collections.abc import Hashable, Iterator
from typing import Any

from paramserver.averaging.rounds import Lent
from paramserver.settings import Settings
from ps_common import messages as m
from ps_common.errors import DataError, JobMismatch, ProtocolMismatch, TimedOut, UsageError
from ps_common.messages import Join, Push

KEY_NUMBER = "#"  # before the number of a key's second process and of those after it
NAME_MAX = 200  # leaves room for a number within what the protocol allows a name
LAST_WORDS_S = 0.1  # for what a process that has ended has sent before, a goodbye perhaps
HEARTBEATS_MAX = 2000.0  # a second, of all members together: a sixth of what one process can answer
GONE_MAX = 10_000  # whoever joins and leaves all the time must not fill memory


@dataclasses.dataclass
class Member:
    """A worker as the master sees it; times of the master's monotonic clock."""

    sender: bytes
    name: str
    join: Join
    seen_at: float
    stretch: float = 1.0  # by how much its heartbeats are rarer than usual, as it was told
    ended_at: float | None = None  # its process, which is on this machine
    key: str = ""  # the name of the key that it has shown; empty: there are no keys
    number: int = 0  # of its join
    idle: dict[bytes, "Member"] = dataclasses.field(default_factory=dict, repr=False)  # of all members
    lease: int = 0  # the lease in hand; 0: none
    last_lease: int = 0  # the last that it was given
    joined_lease: int = 0  # the last that anyone had been given when it was welcomed
    settled: int = 0  # the last lease whose contribution was counted
    transport: str | None = None  # how its last weights came: "shm" or "tcp"
    version: int = -1  # of the weights it holds
    ahead: int = -1  # the version it has begun to pull before its lease
    units: int = 0
    raced: int = 0  # units that took so long that others took them, too
    outrun: int = 0  # units that others were faster with
    outrun_in_a_row: int = 0
    sits_out_until: int = 0  # the number of the stage; before, others had better take the last units
    samples: int = 0
    compute_s: float = 0.0
    wait_s: float = 0.0
    transfer_s: float = 0.0
    rejections: int = 0
    vectors: dict[int, Lent] = dataclasses.field(default_factory=dict)  # by slot: its, seen from here
    lent: dict[int, int] = dataclasses.field(default_factory=dict)  # slot -> shard: of the round, not summed
    here: tuple[int, int] | None = None  # slot and version: a vector of it that holds a version

    @property
    def peer(self) -> Hashable:
        """Who it is, whatever it is called: its key's name, or where there are no keys its sender."""
        return self.key or self.sender

    @property
    def is_ready(self) -> bool:
        """Whether it has said Ready, or has settled its unit, and holds no lease."""
        return self.sender in self.idle

    @is_ready.setter
    def is_ready(self, is_ready: bool) -> None:
        if is_ready:
            self.idle[self.sender] = self
        else:
            self.idle.pop(self.sender, None)

    def count_times(self, push: Push) -> None:
        """Add the seconds that a contribution took."""
        self.compute_s += push.compute_s
        self.wait_s += push.wait_s
        self.transfer_s += push.transfer_s

    def record(self) -> dict[str, Any]:
        """This member's line in the run's record."""
        return {
            "name": self.name,
            "host": self.join.host,
            "pid": self.join.pid,
            "device": self.join.device,
            "units": self.units,
            "units_outrun": self.outrun,
            "samples": self.samples,
            "transport": self.transport,
            "rejections": self.rejections,
            "compute_seconds": round(self.compute_s, 6),
            "wait_seconds": round(self.wait_s, 6),
            "transfer_seconds": round(self.transfer_s, 6),
        }


class Members:
    """The members of a run, by sender; in the order in which they joined."""

    def __init__(self) -> None:
        self._joins = 0
        self.idle: dict[bytes, Member] = {}  # those that are ready
        self._by_sender: dict[bytes, Member] = {}
        self._names: set[str] = set()
        self._numbers: dict[str, int] = {}  # a wish: the number from which on there may be a free name
        self.gone: collections.deque[Member] = collections.deque(maxlen=GONE_MAX)

    def __len__(self) -> int:
        return len(self._by_sender)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._by_sender.values())

    def get(self, sender: bytes) -> Member | None:
        return self._by_sender.get(sender)

    def add(self, sender: bytes, join: Join, now: float, key: str = "") -> Member:
        """Make the sender a member, named as its key, or else as it wishes, or so with a number.

        A number after a key's name stands behind a mark that no key's name has: it would be another key's.
        """
        name = self._free_name(key, KEY_NUMBER) if key else self._free_name(_printable(join.name) or "worker")
        member = Member(sender, name, join, seen_at=now, idle=self.idle, number=self._joins, key=key)
        self._joins += 1
        self._by_sender[sender] = member
        self._names.add(name)
        return member

    def remove(self, member: Member) -> None:
        del self._by_sender[member.sender]
        member.is_ready = False
        member.vectors.clear()  # its memory goes with it; what the round has borrowed, the round holds
        self._names.discard(member.name)
        self._numbers.clear()
        self.gone.append(member)

    def ready(self) -> list[Member]:
        """Those that are ready, in the order in which they joined."""
        return sorted(self.idle.values(), key=lambda member: member.number)

    def stretch(self, interval_s: float) -> float:
        """By how much heartbeats are to be rarer than every `interval_s`, for the master answers all."""
        return max(1.0, len(self) / (HEARTBEATS_MAX * interval_s))

    def forgive(self, seconds: float, now: float) -> None:
        """Nobody was listened to for so long."""
        for member in self:
            member.seen_at = min(now, member.seen_at + seconds)

    def lost(self, now: float, timeout_s: float) -> list[tuple[Member, str]]:
        """Who is gone and why: not heard of for so long, or its process has ended a moment ago.

        Whose heartbeats are rarer may be silent for as many of them.
        """
        found = []
        for member in self:
            if member.ended_at is not None and now >= member.ended_at + LAST_WORDS_S:
                found.append((member, f"its process {member.join.pid} has ended"))
            elif member.seen_at < now - timeout_s * member.stretch:
                found.append((member, f"not heard of for {now - member.seen_at:.1f} s"))
        return found

    def find(self, sender: bytes) -> Member | None:
        """One who is or was a member."""
        gone = (one for one in reversed(self.gone) if one.sender == sender)
        return self._by_sender.get(sender) or next(gone, None)

    def peer_of(self, sender: bytes) -> Hashable:
        """As `Member.peer`, of one who may have gone."""
        member = self.find(sender)
        return sender if member is None else member.peer

    def records(self) -> list[dict[str, Any]]:
        return [member.record() for member in [*self.gone, *self]]

    def _free_name(self, wish: str, mark: str = "-") -> str:
        """The wish, if nobody has it, or else with the lowest free number, as "worker" without a key is."""
        is_any = wish == "worker" and mark != KEY_NUMBER
        if not is_any and wish not in self._names:
            return wish
        first = self._numbers.get(wish, 1 if is_any else 2)
        number = next(i for i in itertools.count(first) if f"{wish}{mark}{i}" not in self._names)
        self._numbers[wish] = number
        return f"{wish}{mark}{number}"


def _printable(name: str) -> str:
    """A name as it may stand in a log or on a terminal."""
    return "".join(c for c in name if c.isprintable())[:NAME_MAX]


def require_same_job(given: str, code: str, who: str) -> None:
    """Raise `JobMismatch` where `who` was given another job file than the master's, by their SHA-256."""
    if given and given != code:
        raise JobMismatch(
            f"{who} was given another job: its file has SHA-256 {given[:12]}, the master's {code[:12]}; "
            f"start both from the same job file, or {who} without --job"
        )


def refusal_of(join: Join, code: str, members: int, settings: Settings, place: str) -> m.Refused | None:
    """Why a worker may not join, or None. `code` is the SHA-256 of the master's job file."""
    if join.protocol != m.PROTOCOL:
        return m.Refused(
            ProtocolMismatch.exit_code,
            f"the master speaks protocol {m.PROTOCOL}, the worker {join.protocol}; "
            "install the same version of paramserver on both",
        )
    try:
        require_same_job(join.job_code, code, "the worker")
    except JobMismatch as error:
        return m.Refused(error.exit_code, str(error))
    if settings.transport == "shm" and (not place or join.place != place):
        return m.Refused(
            UsageError.exit_code,
            "the master was started with --transport shm, and this worker shares no memory with it "
            "(another machine, container or user); start it there, or the master with --transport auto",
        )
    if settings.workers_max is not None and members >= settings.workers_max:
        most = settings.workers_max
        return m.Refused(
            TimedOut.exit_code,
            f"the run takes at most {most} workers and has them; try again when one has left",
        )
    return None


def failure_report(member: Member, unit: str, failed: m.Failed, attempts: int) -> str:
    """The failure that ends a run, whole: where, what, and how to find more."""
    join = member.join
    where = f"{join.host} (pid {join.pid}, {join.device})"
    shown = "" if failed.exit_code == DataError.exit_code else f"\n{failed.traceback.rstrip()}"
    return (
        f"{unit} failed and ends the run, after {attempts} {'attempt' if attempts == 1 else 'attempts'}\n"
        f"  error: {failed.error}\n"
        f"  worker: {member.name} on {where}\n"
        f"  log: {failed.log or 'the standard error of that worker'}\n"
        f"  exit code: {failed.exit_code}{shown}"
    )
