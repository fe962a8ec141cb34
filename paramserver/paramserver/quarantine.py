"""Who makes mistakes that no correct worker makes, how often, and who is out for it.

A mistake of a message is a strike at once. A contribution that was refused may be the fault of the job, which
every worker computes alike: it becomes a strike when another worker's to the same unit was averaged. What a
link may have done is counted, and is no strike. Strikes are of an hour: a run of months must not add up what
happens to every worker now and then.
"""

import collections
import itertools
from collections.abc import Hashable
from typing import Any

STRIKES_LAST_S = 3600.0
PEERS_MAX = 10_000  # whoever comes with ever new names must not fill memory
NOTED_MAX = 100  # refusals of one kind that are noted one by one; then the 128th, 256th, ...
STRANGERS = "unknown peers"  # all those who are not members, counted together


def is_noted(count: int) -> bool:
    """Whether the log says so when something was refused for the `count`th time."""
    return count <= NOTED_MAX or count & (count - 1) == 0


class Quarantine:
    """Strikes by peer: its key's name where there are keys, else its sender. Times of the master's clock."""

    def __init__(self, strikes_max: int) -> None:
        self.strikes_max = strikes_max
        self._strikes: collections.OrderedDict[Hashable, collections.deque[float]] = collections.OrderedDict()
        self._out: collections.OrderedDict[Hashable, str] = collections.OrderedDict()  # peer -> why
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()  # (kind, worker)
        self._workers: set[str] = set()

    def count(self, kind: str, worker: str) -> int:
        """Something was refused of a worker of this name; how often it has been, for such a reason."""
        if worker not in self._workers and len(self._workers) >= PEERS_MAX:
            worker = STRANGERS
        self._workers.add(worker)
        self._counts[kind, worker] += 1
        return self._counts[kind, worker]

    def strike(self, peer: Hashable, why: str, now: float) -> bool:
        """A strike of a peer; whether it is the one too many."""
        strikes = self._strikes.setdefault(peer, collections.deque(maxlen=self.strikes_max))
        self._strikes.move_to_end(peer)
        strikes.append(now)
        if len(self._strikes) > PEERS_MAX:
            self._strikes.popitem(last=False)
        if self.strikes(peer, now) < self.strikes_max or peer in self._out:
            return False
        self.put_out(peer, f"{self.strikes_max} strikes, the last of them: {why}")
        return True

    def strikes(self, peer: Hashable, now: float) -> int:
        """How many strikes of a peer count."""
        return sum(at > now - STRIKES_LAST_S for at in self._strikes.get(peer, ()))

    def why_out(self, peer: Hashable) -> str:
        """Why a peer is quarantined; empty where it is not."""
        return self._out.get(peer, "")

    def forget(self, peer: Hashable) -> None:
        """A peer is another one from now on."""
        self._strikes.pop(peer, None)
        self._out.pop(peer, None)

    def put_out(self, peer: Hashable, why: str) -> None:
        """A peer is out, whatever strikes it has."""
        self._out[peer] = why
        if len(self._out) > PEERS_MAX:
            self._out.popitem(last=False)

    def is_known(self, peer: Hashable) -> bool:
        """Whether a peer is out, or has strikes."""
        return peer in self._out or peer in self._strikes

    def last_out(self, most: int) -> list[tuple[Hashable, str]]:
        """Who is out and why, the last first."""
        return list(itertools.islice(reversed(self._out.items()), most))

    def records(self) -> list[dict[str, Any]]:
        """What was refused, by kind and worker, for the record of the run."""
        return [
            {"kind": kind, "worker": worker, "count": count}
            for (kind, worker), count in sorted(self._counts.items())
        ]
