"""What keeps attacks out, switched off one at a time, so that the test of each can be seen to turn red.

The product has no such switches: its parts are replaced from outside. Each takes pytest's monkeypatch.
"""

from typing import Any

import numpy as np
import pytest

Patch = pytest.MonkeyPatch


def anybody_may_ask(monkeypatch: Patch) -> None:
    """Whoever asks how a run is, or gives an order, may."""
    from paramserver import orders

    monkeypatch.setattr(orders, "require_allowed", lambda by, message: None)


def nobody_is_far_away(monkeypatch: Patch) -> None:
    """Who has no key is taken for somebody on this machine, wherever the port is reached from."""
    from paramserver import askers

    monkeypatch.setattr(askers, "WITHOUT_A_KEY", askers.ON_THIS_MACHINE)


def orders_are_not_known_again(monkeypatch: Patch) -> None:
    """An order that comes again is carried out again."""
    from paramserver.orders import Orders

    take = Orders._take_order

    def forgetful(self: Orders, *given: Any) -> Any:
        self._answered.clear()
        return take(self, *given)

    monkeypatch.setattr(Orders, "_take_order", forgetful)


def names_are_shown_as_they_are(monkeypatch: Patch) -> None:
    """What a peer calls itself reaches the terminal, whatever it holds."""
    from paramserver import log
    from ps_common import saying

    for module in (log, saying):
        monkeypatch.setattr(module, "printable", lambda text, besides="": text)


def names_are_markup(monkeypatch: Patch) -> None:
    """What a peer calls itself is taken for markup where it is drawn."""
    import functools

    from rich.console import Console

    from paramserver import log

    monkeypatch.setattr(log, "Console", functools.partial(_with_markup, Console))


def _with_markup(make: Any, **given: Any) -> Any:
    return make(**given | {"markup": True, "emoji": True})


def no_limit_of_frames(monkeypatch: Patch) -> None:
    """ZeroMQ takes a frame of any length."""
    from paramserver.admission.limits import Limits

    monkeypatch.setattr(Limits, "longest_frame_bytes", -1)


def frames_are_not_counted(monkeypatch: Patch) -> None:
    """A message of any number of frames leaves its connection as it is."""
    from paramserver.admission import door

    monkeypatch.setattr(door, "FLOOD_FRAMES", 2**62)


def bytes_are_not_counted(monkeypatch: Patch) -> None:
    """Nobody looks how much of a connection is under way."""
    from paramserver.admission.connections import Connections

    monkeypatch.setattr(Connections, "overfull", lambda self: [])


def everybody_is_let_in(monkeypatch: Patch) -> None:
    """Connections are not limited in number."""
    from paramserver.admission.connections import Connections

    monkeypatch.setattr(Connections, "_too_many", lambda self, new: [])


def the_silent_stay(monkeypatch: Patch) -> None:
    """Who says nothing valid is left alone."""
    from paramserver.admission.connections import Connections

    monkeypatch.setattr(Connections, "silent", lambda self, now: [])


def floods_are_taken(monkeypatch: Patch) -> None:
    """Every message is taken, however many there are."""
    from paramserver.admission.floods import Floods, Verdict

    monkeypatch.setattr(Floods, "judge", lambda self, header, now: Verdict.TAKE)


def payloads_are_not_counted(monkeypatch: Patch) -> None:
    """A peer is sent what it asks for, whether it has read what came before or not."""
    from paramserver.admission.unread import Unread

    monkeypatch.setattr(Unread, "may_take", lambda self, sender, vector: True)
    monkeypatch.setattr(Unread, "overdue", lambda self, now: [])


def first_names_are_for_good(monkeypatch: Patch) -> None:
    """A connection stays what it was taken for at first."""
    from paramserver.admission.connections import Connections

    monkeypatch.setattr(Connections, "is_its_own", lambda self, connection: False)


def process_ids_are_believed(monkeypatch: Patch) -> None:
    """Whoever says that it is a process is that process."""
    from paramserver.admission import door

    monkeypatch.setattr(door, "is_end_of", lambda descriptor, pid: True)


def links_are_not_read(monkeypatch: Patch) -> None:
    """What another process offers is opened without a look at what it is."""
    from ps_common import segments

    monkeypatch.setattr(segments.os, "readlink", lambda path: segments._LINK)


def keys_are_ignored(monkeypatch: Patch) -> None:
    """Servers and callers speak without keys, whatever they were given."""
    from paramserver.admission import door
    from ps_common import sockets

    router, dealer = sockets.router, sockets.dealer
    monkeypatch.setattr(door, "Authorised", lambda *given: None)
    monkeypatch.setattr(sockets, "router", lambda *given: router(*given[:4]))
    monkeypatch.setattr(sockets, "dealer", lambda *given: dealer(*given[:5], None, *given[6:]))


def nobody_is_asked(monkeypatch: Patch) -> None:
    """Servers speak without keys, and ask nobody who may come in."""
    from ps_common import sockets

    keys_are_ignored(monkeypatch)
    monkeypatch.setattr(sockets, "ask_zap", lambda socket: None)


def every_key_is_let_in(monkeypatch: Patch) -> None:
    """ZAP answers yes to everybody, and nobody asks again."""
    from paramserver.admission.authorised import Authorised
    from ps_common.keys import Key

    def user_of(self: Authorised, key: bytes, address: str, now: float) -> bytes:
        return Key("stranger", "worker", key).user_id.encode()

    monkeypatch.setattr(Authorised, "user_of", user_of)
    monkeypatch.setattr(Authorised, "_allow", lambda self, keys: setattr(self, "users", _Everybody()))


def passwords_are_taken(monkeypatch: Patch) -> None:
    """A server asks for a password instead of a key, and any will do."""
    import zmq

    from paramserver.admission.identities import Identities
    from paramserver.admission.roles import Peer
    from paramserver.admission.zap import YES, Doorkeeper
    from ps_common import sockets

    router = sockets.router

    def without_keys(context: Any, url: str, linger_ms: int, prepare: Any, server: Any) -> Any:
        def ask(socket: Any) -> None:
            prepare(socket)
            socket.setsockopt(zmq.PLAIN_SERVER, 1)

        return router(context, url, linger_ms, ask)

    def answer(self: Doorkeeper, request: list[bytes], now: float) -> list[bytes]:
        return [request[0], request[1], YES, b"", b"anyone", b""]

    monkeypatch.setattr(sockets, "router", without_keys)
    monkeypatch.setattr(Doorkeeper, "_answer", answer)
    monkeypatch.setattr(Identities, "peer_of", lambda self, sender, first: Peer("anyone", "worker"))


def the_folder_is_not_looked_at_again(monkeypatch: Patch) -> None:
    """Who may come in is read once."""
    from paramserver.admission.authorised import Authorised

    look = Authorised._look
    monkeypatch.setattr(Authorised, "_look", lambda self: self._state is None and look(self))


def one_file_stops_the_look(monkeypatch: Patch) -> None:
    """A file that cannot be looked at hides what has become of all others."""
    from ps_common.key_folder import KeyFolder

    def state(self: KeyFolder) -> object:
        return {(path.name, path.stat().st_ctime_ns) for path in self.authorised_path.glob("*.pub")}

    monkeypatch.setattr(KeyFolder, "state", state)


def what_cannot_be_read_is_gone(monkeypatch: Patch) -> None:
    """A file that cannot be read now lets nobody in, whatever the reason is."""
    from ps_common import key_folder

    monkeypatch.setattr(key_folder, "PASSING", ())


def identities_are_believed(monkeypatch: Patch) -> None:
    """A ROUTER identity says who somebody is."""
    from paramserver.admission.identities import Identities
    from paramserver.admission.roles import Peer

    monkeypatch.setattr(Identities, "peer_of", lambda self, sender, first: Peer("somebody", "worker"))


def names_are_believed(monkeypatch: Patch) -> None:
    """Who joins has the name it says."""
    from paramserver.admission import roles

    monkeypatch.setattr(roles, "admit", lambda peer, message: message)


def numbers_are_part_of_names(monkeypatch: Patch) -> None:
    """The second process of a key is called as another key may be."""
    from paramserver import members

    monkeypatch.setattr(members, "KEY_NUMBER", "-")


def every_role_may_do_everything(monkeypatch: Patch) -> None:
    from paramserver.admission import roles
    from ps_common import messages as m

    monkeypatch.setattr(roles, "MAY_SEND", _Anything((m.Message,)))


def strikes_are_not_counted(monkeypatch: Patch) -> None:
    from paramserver.quarantine import Quarantine

    monkeypatch.setattr(Quarantine, "strike", lambda self, *given, **more: False)


def leases_are_anybodys(monkeypatch: Patch) -> None:
    """Whoever names a lease has it."""
    from paramserver.leasing import Leasing

    def current(self: Leasing, member: Any, number: int) -> Any:
        leases = [] if self.stage is None else self.stage.leases
        return next((lease for lease in leases if lease.number == number), None)

    monkeypatch.setattr(Leasing, "current", current)


def modes_are_not_looked_at(monkeypatch: Patch) -> None:
    """Who may read a secret, or write to the folder of keys, does not matter."""
    from ps_common import keys

    monkeypatch.setattr(keys.stat, "S_IMODE", lambda mode: 0o600)


class _Everybody(frozenset[str]):
    def __contains__(self, user: object) -> bool:
        return True


class _Anything(dict[str, Any]):
    def __init__(self, most: Any) -> None:
        super().__init__()
        self._most = most

    def get(self, key: str, default: Any = None) -> Any:
        return self._most


def chunks_are_taken_as_they_come(monkeypatch: Patch) -> None:
    """A chunk's number, size, turn and numbers are not looked at."""
    from paramserver.averaging.rounds import Round

    def deliver(
        self: Round, shard: int, index: int, payload: memoryview, checksum: int | None = None
    ) -> bool:
        span = self._spans[index]
        self._granted.get(shard, set()).discard(index)
        self._missing[shard].add(index)
        self._next[index] = min(self._next[index], self._place[shard])
        self._hold(shard, index, np.frombuffer(payload, span.dtype))
        self._sum(index)
        return self._means[index].is_closed

    monkeypatch.setattr(Round, "deliver", deliver)


def checksums_are_not_compared(monkeypatch: Patch) -> None:
    """Whatever checksum a chunk has is the right one."""
    from paramserver.averaging import chunks

    class Any(int):
        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = int.__hash__

    monkeypatch.setattr(chunks, "checksum", lambda payload: Any())


def every_lease_is_the_one_in_hand(monkeypatch: Patch) -> None:
    """Whatever lease a worker names, it is taken for the one that it has."""
    from paramserver.leasing import Leasing

    monkeypatch.setattr(Leasing, "current", lambda self, member, number: self.of(member))


def contributions_are_believed(monkeypatch: Patch) -> None:
    """Samples and sums are what a contribution says they are."""
    from paramserver import work

    monkeypatch.setattr(work, "check_push", lambda push, *given: push.sums)


def any_number_of_samples_is_usual(monkeypatch: Patch) -> None:
    """Nobody looks who says far more samples than others."""
    from paramserver.said import Said

    monkeypatch.setattr(Said, "times_usual", lambda self, peer, samples: 1.0)


def numbers_are_whatever_comes(monkeypatch: Patch) -> None:
    """The types and bounds of a Push's fields are not checked."""
    from ps_common import wire
    from ps_common.messages import Push

    fields = tuple((name, lambda value: value) for name, _ in wire._FIELDS[Push])
    monkeypatch.setitem(wire._FIELDS, Push, fields)


def anything_is_finite(monkeypatch: Patch) -> None:
    """Nobody looks for NaN."""
    from paramserver.averaging import mean, rounds

    for module in (mean, rounds):
        monkeypatch.setattr(module, "is_finite", lambda part: True)


def anything_is_an_array(monkeypatch: Patch) -> None:
    """The entries of a layout are taken as they come."""
    from ps_common import layout

    def entry(item: Any) -> layout.Entry:
        name, shape, dtype, role = item
        return layout.Entry(name, tuple(shape), dtype, role)

    monkeypatch.setattr(layout, "_entry", entry)


def refusals_are_attempts(monkeypatch: Patch) -> None:
    """A unit that was refused so often is hopeless, whoever was refused."""
    from paramserver.judging import Judging

    monkeypatch.setattr(
        Judging,
        "_is_hopeless",
        lambda self, stage, shard: len(stage.failures.get(shard, ())) >= self.settings.attempts_max,
    )


def names_are_kept_without_end(monkeypatch: Patch) -> None:
    """An epoch has as many metrics as anybody names."""
    from paramserver import leases

    monkeypatch.setattr(leases, "SUMS_MAX", 2**62)


def names_beyond_the_bound_are_refused(monkeypatch: Patch) -> None:
    """Whoever names a metric when an epoch has as many as it may have is wrong."""
    from paramserver import work
    from ps_common.errors import WrongSums
    from ps_common.figures import SUMS_MAX

    check_push, known = work.check_push, set[str]()

    def check(push: Any, *given: Any) -> Any:
        known.update(push.sums)
        if len(known) > SUMS_MAX:
            raise WrongSums("an epoch has as many metrics as it may have")
        return check_push(push, *given)

    monkeypatch.setattr(work, "check_push", check)


def parts_stay_whoever_brought_them(monkeypatch: Patch) -> None:
    """What has come of a contribution counts, whoever brings the rest."""
    from paramserver.averaging.chunks import Chunks

    monkeypatch.setattr(Chunks, "take_back", Chunks.withdraw)


def samples_are_as_first_said(monkeypatch: Patch) -> None:
    """A contribution is of as many samples as whoever had its unit first said."""
    from paramserver.work import Work

    monkeypatch.setattr(
        Work, "_leave_unfinished", lambda self, lease: self.exchange.withdraw(lease.unit.shard)
    )


def whoever_is_right_is_believed(monkeypatch: Patch) -> None:
    """One worker that was right in a round is enough to blame all others."""
    from paramserver import judging

    monkeypatch.setattr(judging, "len", lambda those: 0, raising=False)


def each_connection_is_somebody_else(monkeypatch: Patch) -> None:
    """Mistakes are of a connection, whatever key it has."""
    from paramserver.members import Members

    monkeypatch.setattr(Members, "peer_of", lambda self, sender: sender)


def sums_are_without_bound(monkeypatch: Patch) -> None:
    """Sums are finite when they come, and nobody asks what they add up to."""
    from paramserver import gate
    from ps_common import figures

    for module in (gate, figures):
        monkeypatch.setattr(module, "SUM_MAX", 1.7976931348623157e308)
