"""What a ledger must add up to: every unit of the schedule averaged exactly once. Arithmetic only.

Rounds are taken in their order. A unit that a round was closed without is averaged in a later one of its
epoch, and the later units of its shard after it. So what is compared with the schedule is the set of an
epoch's units, each shard's own order, and how many of its units a shard may be behind.
Where the rounds come from, files or a machine, is not known here.
"""

import collections

from paramserver.averaging import digests
from paramserver.effects import Averaged, Contribution
from ps_common.errors import PeerError
from ps_common.schedule import Schedule

AVERAGED = "averaged"
LEFT_OUT = "left out"  # of a round that was closed without it
_REFUSED = "refused: "
_REASON_MAX = 200  # characters
_ERRORS: list[type[PeerError]] = [PeerError, *PeerError.__subclasses__()]
_KINDS = frozenset(error.kind for error in _ERRORS)


def refused(error: PeerError) -> str:
    """The verdict on a contribution that was refused."""
    return f"{_REFUSED}{error.kind}: {str(error)[:_REASON_MAX]}"


def refusal_in(verdict: str) -> tuple[str, str] | None:
    """Kind and reason of a verdict that a contribution was refused; None for any other verdict."""
    if not verdict.startswith(_REFUSED):
        return None
    said = verdict.removeprefix(_REFUSED)
    kind, _, reason = said.partition(": ")
    return (kind, reason) if kind in _KINDS else (PeerError.kind, said)


class AccountError(Exception):
    """The rounds do not add up; the text says which, what was expected and what is there."""


class Account:
    """The rounds of a run so far, held against its schedule.

    has_open_samples: each contribution itself has said of how many samples it is.
    """

    def __init__(self, schedule: Schedule, has_open_samples: bool = False) -> None:
        self.version = 0  # rounds taken
        self.units = 0  # averaged
        self.samples = 0
        self.epochs = 0  # complete
        self._schedule = schedule
        self._has_open_samples = has_open_samples
        self._of_epoch = sum(map(schedule.rounds_of, range(schedule.shards.count)))
        self._made: dict[tuple[int, int], int] = {}  # unit of the epoch in progress -> version it is in
        self._began = 0  # the version that the epoch in progress begins with
        self._behind: collections.Counter[int] = collections.Counter()  # shard -> rounds of it without one
        self._last: dict[int, int] = {}  # shard -> the round of its last unit

    def take(self, averaged: Averaged) -> None:
        """Count the next round. Raises `AccountError`."""
        version = averaged.version
        if version != self.version + 1:
            what = f"{self.version + 1} to {version - 1} are missing" if version > self.version else "repeats"
            raise AccountError(f"version {version} comes after version {self.version}: {what}")
        shards: set[int] = set()
        for unit in averaged.units:
            self._check_unit(version, unit)
            if unit.verdict == LEFT_OUT:
                self._behind[unit.shard] += 1
            if unit.verdict != AVERAGED:
                continue
            self._count(version, unit)
            if unit.shard in shards:
                raise AccountError(f"version {version} averages two units of shard {unit.shard}")
            shards.add(unit.shard)
        if not shards:
            raise AccountError(f"version {version} averages nothing")
        self.version = version
        if len(self._made) == self._of_epoch:
            self.epochs += 1
            self._began = version
            self._made.clear()
            self._behind.clear()

    def _check_unit(self, version: int, unit: Contribution) -> None:
        if unit.shard >= self._schedule.shards.count or not self._schedule.samples(unit.round, unit.shard):
            raise AccountError(f"version {version} has {_called(unit)}, and the schedule has no such unit")

    def _count(self, version: int, unit: Contribution) -> None:
        """Count a unit that was averaged."""
        epoch, key = self._schedule.epoch(unit.round), (unit.round, unit.shard)
        if epoch < self.epochs or key in self._made:
            before = f"in version {self._made[key]}" if key in self._made else "in an epoch that was complete"
            raise AccountError(f"version {version} averages {_called(unit)} again: it was averaged {before}")
        if epoch > self.epochs:
            raise AccountError(
                f"version {version} averages {_called(unit)} of epoch {epoch + 1}: {self._missing()}"
            )
        if unit.round <= self._last.get(unit.shard, -1):
            last = self._last[unit.shard]
            raise AccountError(f"version {version} averages {_called(unit)} after its unit of round {last}")
        expected = self._schedule.samples(*key)
        if self._has_open_samples and unit.samples > 0:
            expected = unit.samples
        if unit.samples != expected:
            raise AccountError(
                f"version {version}: {_called(unit)} has {unit.samples} samples, the schedule says {expected}"
            )
        if not digests.is_digest(unit.digest):
            raise AccountError(f"version {version}: {_called(unit)} has no digest: {unit.digest[:40]!r}")
        self._made[key] = version
        self._last[unit.shard] = unit.round
        self.units += 1
        self.samples += expected

    def _missing(self, rounds: int | None = None) -> str:
        """The first unit of the epoch that was not averaged, or is due after so many rounds of it."""
        first = self.epochs * self._schedule.rounds_per_epoch
        most = self._schedule.rounds_per_epoch
        for round_ in range(first, first + (most if rounds is None else min(rounds, most))):
            for shard in self._schedule.units(round_):
                is_due = rounds is None or round_ - first < rounds - self._behind[shard]
                if is_due and (round_, shard) not in self._made:
                    return f"unit (round {round_}, shard {shard}) of epoch {self.epochs + 1} was not averaged"
        return ""

    def close(self, version: int, samples: int, epochs: int) -> None:
        """That is all: hold it against what a checkpoint says of itself. Raises `AccountError`."""
        missing = self._missing(self.version - self._began)
        if missing:
            raise AccountError(missing)
        for what, here, there in (
            ("rounds", self.version, version),
            ("samples", self.samples, samples),
            ("complete epochs", self.epochs, epochs),
        ):
            if here != there:
                raise AccountError(f"the ledger has {here} {what}, the checkpoint {there}")


def _called(unit: Contribution) -> str:
    return f"unit (round {unit.round}, shard {unit.shard})"
