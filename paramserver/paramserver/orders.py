"""Orders to a running master, and who has asked how the run is.

The part of the master's machine between `fleet.py`, on which it builds, and `machine.py`. Whoever asks is no
member, and hears nothing that it has not asked for. Who may ask for what, `askers.py` says.
"""

import abc
from collections.abc import Callable
from typing import Any, TypeVar

from paramserver.askers import Asker, require_allowed
from paramserver.members import Member, require_same_job
from paramserver.servers.fleet import Fleet
from paramserver.status import status_of
from ps_common import messages as m
from ps_common.errors import (
    BeyondRole,
    JobMismatch,
    NotAuthorised,
    ParamserverError,
    ProtocolMismatch,
    UsageError,
)
from ps_common.spelling import nearest

ANSWERED_MAX = 256  # orders that are known again; one is said again for seconds, not for hours
SENT_HOME_MAX = 1024  # workers that are told again; each leaves as soon as it hears
LOOKERS_MAX = 64  # who are told of the end
LOOKS_S = 30.0  # who has not looked for so long is gone
NAMED_MAX = 20  # workers that are proposed instead of one that is not there

_K = TypeVar("_K")
_V = TypeVar("_V")


class Orders(Fleet):
    """A run that can be looked at, stopped, saved and rid of a worker from elsewhere."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._answered: dict[tuple[bytes, int], m.Refused | None] = {}  # orders, by sender and number
        self._sent_home: dict[bytes, m.Stop] = {}  # workers, by sender
        self._lookers: dict[bytes, float] = {}  # sender -> when it looked last

    # -- what the other half decides ------------------------------------------------------------------

    @abc.abstractmethod
    def _begin_to_stop(self, now: float, exit_code: int, reason: str) -> None:
        """Lease nothing more; when the units in hand are in, save and send everyone home."""

    @property
    @abc.abstractmethod
    def workers_wanted(self) -> int:
        """Without which nothing is leased."""

    @abc.abstractmethod
    def trained_s(self, now: float) -> float:
        """Seconds of training, with those of terms before."""

    @abc.abstractmethod
    def _save(self, now: float) -> bool:
        """Save, if there is anything to save yet."""

    @abc.abstractmethod
    def _drop(self, member: Member) -> None:
        """A member is gone."""

    # -- messages -------------------------------------------------------------------------------------

    def _attend(self, sender: bytes, message: m.Look | m.Order, by: Asker, now: float) -> None:
        """Answer who asks or orders."""
        try:
            if message.protocol != m.PROTOCOL:
                spoken = f"the master speaks protocol {m.PROTOCOL}, this command {message.protocol}"
                raise ProtocolMismatch(f"{spoken}; install the same version of paramserver on both")
            if isinstance(message, m.Look):
                require_same_job(message.job_code, self.job.code, "this command")
            require_allowed(by, message)
        except (NotAuthorised, ProtocolMismatch, JobMismatch) as error:
            self._outbox.send(sender, m.Refused(error.exit_code, str(error)))
            if by.key and isinstance(message, m.Order) and isinstance(error, NotAuthorised):
                self._accuse(by.key, BeyondRole(by.key, str(error)), now)
            else:  # whoever looks with the wrong key means no harm
                self._outbox.note("refusal", f"refused {_called(message)}: {error}", by=by.name, urgent=True)
            return
        refused = None
        if isinstance(message, m.Order):
            refused = self._take_order(sender, message, by, now)
        else:
            _remember(self._lookers, sender, now, LOOKERS_MAX)
        self._outbox.send(sender, refused or m.Seen(self.status(now)))

    def _take_order(self, sender: bytes, order: m.Order, by: Asker, now: float) -> m.Refused | None:
        """Carry an order out, if it has not been before; why not."""
        key = (sender, order.number)
        if key not in self._answered:
            refused = None
            try:
                self._carry_out(order, by, now)
            except ParamserverError as error:
                text = f"{by.name} ordered: {_called(order)}; refused: {error}"
                self._outbox.note("order", text, by=by.name, what=order.what, worker=order.name, urgent=True)
                refused = m.Refused(error.exit_code, str(error))
            _remember(self._answered, key, refused, ANSWERED_MAX)
        return self._answered[key]

    def _carry_out(self, order: m.Order, by: Asker, now: float) -> None:
        """Raises where it cannot be."""
        take = _ORDERS.get(order.what)
        if take is None:
            raise UsageError(f"there is no order {order.what!r}{nearest(order.what, _ORDERS)}")
        is_about_somebody = order.what not in ABOUT_THE_RUN
        if is_about_somebody != bool(order.name):
            raise UsageError(f"{order.what} is about {'a worker' if is_about_somebody else 'the run'}")
        if self.is_over and order.what != "stop":
            raise UsageError("the run is over")
        take(self, order.name, by, now)

    def _order_stop(self, name: str, by: Asker, now: float) -> None:
        self._note_order("stop", by)
        self._begin_to_stop(now, 0, f"asked to stop by {by.name}")

    def _order_checkpoint(self, name: str, by: Asker, now: float) -> None:
        if not self.settings.keeps_ledger:  # where there is a folder for checkpoints, there is one in it
            raise UsageError("the master was started without --checkpoint, so there is nowhere to save to")
        if not self._save(now):
            raise UsageError("there are no weights to save yet")
        self._note_order("checkpoint", by)

    def _order_drop(self, name: str, by: Asker, now: float) -> None:
        member = self._find(name)
        if member is None:
            raise self._nobody(name)
        self._note_order("drop", by, worker=name)
        stop = m.Stop(0, f"sent home by {by.name}")
        _remember(self._sent_home, member.sender, stop, SENT_HOME_MAX)
        self._outbox.send(member.sender, stop)
        self._drop(member)
        self._stop_if_drained(now)

    def _order_quarantine(self, name: str, by: Asker, now: float) -> None:
        member = self._find(name)
        if member is None and not self.settings.names_are_keys:
            raise self._nobody(name)
        self._note_order("quarantine", by, worker=name)
        self.quarantine.put_out(name if member is None else member.peer, f"an order of {by.name}")
        if member is not None:
            self._expel(member, now)

    def _order_forgive(self, name: str, by: Asker, now: float) -> None:
        member = self._find(name)
        peer = name if member is None else member.peer
        if not self.quarantine.is_known(peer):
            raise UsageError(f"{name!r} has no strikes and is not quarantined")
        self._note_order("forgive", by, worker=name)
        self.quarantine.forget(peer)

    def _find(self, name: str) -> Member | None:
        return next((member for member in self.members if member.name == name), None)

    def _nobody(self, name: str) -> UsageError:
        known = [member.name for member, _ in zip(self.members, range(NAMED_MAX), strict=False)]
        hint = nearest(name, known) if known else "; there are none"
        return UsageError(f"there is no worker {name!r}{hint}")

    def _note_order(self, what: str, by: Asker, **fields: str) -> None:
        text = f"{by.name} ordered: {' '.join([what, *fields.values()])}"
        self._outbox.note("order", text, by=by.name, what=what, urgent=True, **fields)

    # -- what is told -----------------------------------------------------------------------------------

    def status(self, now: float) -> dict[str, Any]:
        """How the run is; see status.py."""
        return status_of(self, self.workers_wanted, self.trained_s(now), now)

    def _tell_lookers(self, exit_code: int, reason: str, now: float) -> None:
        """The run is over: tell who has looked a moment ago, who would ask in vain the next time."""
        last = self.status(now) | {"state": "over", "reason": reason, "exit_code": exit_code}
        for sender, looked_at in self._lookers.items():
            if looked_at >= now - LOOKS_S:
                self._outbox.send(sender, m.Seen(last))


def _remember(table: dict[_K, _V], key: _K, value: _V, most: int) -> None:
    """Keep the last `most`: whoever asks all the time must not fill memory."""
    table.pop(key, None)
    if len(table) >= most:
        del table[next(iter(table))]
    table[key] = value


def _called(message: m.Look | m.Order) -> str:
    return "a look" if isinstance(message, m.Look) else f"the order {message.what} {message.name}".rstrip()


ABOUT_THE_RUN = ("stop", "checkpoint")
_ORDERS: dict[str, Callable[[Orders, str, Asker, float], None]] = {
    "stop": Orders._order_stop,
    "checkpoint": Orders._order_checkpoint,
    "drop": Orders._order_drop,
    "quarantine": Orders._order_quarantine,
    "forgive": Orders._order_forgive,
}
