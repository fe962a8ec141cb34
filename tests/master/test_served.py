"""Averaging by several servers as the master sees it, told by a test what each of them says."""

import dataclasses

import pytest

from paramserver.averaging import digests
from paramserver.averaging.canonical import Canonical
from paramserver.averaging.chunks import Comer
from paramserver.averaging.rounds import Lent
from paramserver.effects import Outbox, Restart, Tell
from paramserver.servers.served import Served
from paramserver.settings import Settings
from paramserver.simulation.host import Host
from ps_common import messages as m
from ps_common.errors import PeerError
from ps_common.memory import Heap
from ps_common.messages import NOT_SHARED
from ps_common.wire import checksum
from support_averages import random_vectors
from support_rounds import SMALL

SETTINGS = Settings(chunk_bytes=64, window=2, held_bytes=1)
START = 1000
CUTS = SMALL.cuts(2)


class Told:
    """A master's side with two servers, at version 0."""

    def __init__(self, memory=None, is_begun=True, **changes):
        self.memory = memory or Host().process()
        self.settings = dataclasses.replace(SETTINGS, **changes)
        self.outbox = Outbox()
        self.canonical = Canonical(self.settings, self.memory)
        addresses = ("tcp://a:1", "tcp://b:1")
        self.now = 100.0
        self.served = Served(
            addresses, self.canonical, self.outbox, self.settings, self.memory, "run", START, 100.0
        )
        self.vectors = random_vectors(SMALL, 3, seed=2)
        if is_begun:
            vector = self.memory.allocate(SMALL.nbytes)
            vector[...] = self.vectors[0]
            self.served.begin(SMALL, 0, vector)

    def hear(self, server, message, *payloads):
        return self.served.hear(server, message, payloads, self.now)

    @property
    def said(self):
        """What was said since this was last asked, as (server, message)."""
        return [(e.server, e.message) for e in self.outbox.take() if isinstance(e, Tell)]

    def said_of(self, kind):
        return [(server, message) for server, message in self.said if isinstance(message, kind)]

    @property
    def generation(self):
        return self.served._generation

    def ready(self, is_shared=True):
        """Both serve, and a round of two shards is open."""
        for server in (0, 1):
            self.hear(server, m.Serving(self.generation, is_shared))
        if self.served.round is None:
            self.served.open((0, 1, 2), (1, 2, 1))
        self.outbox.take()
        return self

    def deliver(self, shard, *servers):
        heard = None
        for server in servers or (0, 1):
            heard = self.hear(server, self.delivered(shard))
        return heard

    def delivered(self, shard):
        """What a server says that has heard all there was to hear."""
        return m.Delivered(self.generation, self.served._number, self.served.round.version, shard)

    def close(self, *servers):
        for server in servers or (0, 1):
            self.hear(server, m.Closed(self.generation, self.served.round.version, ()))

    def weights(self, server, index, vector, **changes):
        span = SMALL.chunks(64, *CUTS[server])[index]
        part = vector[span.start : span.stop]
        message = m.Weights(self.served.version + 1, index, checksum(part.data))
        return self.hear(server, dataclasses.replace(message, **changes), memoryview(bytes(part)))

    def lent(self, number):
        return Lent(5, number, self.memory.allocate(SMALL.nbytes))


# -- generations ------------------------------------------------------------------------------------------


def test_every_server_is_told_what_to_hold_until_it_does():
    told = Told()
    serves = told.said_of(m.Serve)
    assert [(server, serve.server, serve.generation) for server, serve in serves] == [
        (0, 0, START + 1),
        (1, 1, START + 1),
    ]
    assert not told.served.is_ready
    told.now += 5.0
    told.served.tick(told.now)
    assert [server for server, _ in told.said_of(m.Serve)] == [0, 1]
    assert told.hear(0, m.Serving(START + 1, True)).are_all_ready is False
    assert told.hear(1, m.Serving(START, True)).are_all_ready is False  # of a generation gone by
    assert told.hear(1, m.Serving(START + 1, True)).are_all_ready
    assert told.served.is_ready
    assert told.served.is_shared
    told.now += 5.0
    told.served.tick(told.now)
    assert told.said_of(m.Serve) == []


def test_a_round_begins_anew_with_what_was_settled_and_late_messages_say_nothing():
    told = Told().ready()
    told.deliver(0)
    assert told.served.is_delivered(0)
    late = told.delivered(1)
    assert told.served.lose(1, told.now)
    assert not told.served.lose(1, told.now)  # it was lost already
    told.served.begin_anew()
    assert [serve.version for _, serve in told.said_of(m.Serve)] == [0, 0]
    told.ready()
    assert not told.served.is_delivered(0)
    assert told.hear(0, late) == told.hear(1, late)
    assert not told.served.is_delivered(1)
    assert told.served.round.shards == (0, 1, 2)


def test_a_pulse_that_says_something_else_means_a_loss_unless_it_is_from_before():
    told = Told()
    told.served.tick(told.now)
    ((_, first), _) = told.said_of(m.Check)
    told.ready()
    assert not told.hear(0, m.Pulse(0, first.number, 0, 0)).is_lost
    told.now += 1.0
    told.served.tick(told.now)
    check = told.said_of(m.Check)[0][1]
    assert not told.hear(0, m.Pulse(told.generation, check.number, 0, 0)).is_lost
    assert told.hear(0, m.Pulse(0, check.number, 0, 0)).is_lost
    assert told.hear(0, m.Pulse(told.generation - 1, check.number, 0, 0)).is_lost


def test_bytes_are_counted_over_all_lives_of_a_server():
    told = Told().ready()
    for sent, received in ((10, 20), (15, 40), (3, 4), (5, 4)):  # it was started again
        told.hear(0, m.Pulse(told.generation, 9, sent, received))
    told.hear(1, m.Pulse(told.generation, 9, 100, 200))
    assert (told.served.bytes_sent, told.served.bytes_received) == (15 + 5 + 100, 40 + 4 + 200)


# -- silence ----------------------------------------------------------------------------------------------


def ticks(told, seconds, step_s=0.25):
    """The servers lost while time passes, and those that are to be started again."""
    lost, restarts = [], []
    for _ in range(int(seconds / step_s)):
        told.now += step_s
        lost += told.served.tick(told.now)
        restarts += [e.server for e in told.outbox.take() if isinstance(e, Restart)]
    return lost, restarts


def test_who_does_not_answer_is_lost_and_then_started_again_and_again():
    told = Told(server_timeout_s=4.0).ready()
    for _ in range(8):
        assert ticks(told, 0.5) == ([], [])
        told.hear(0, m.Pulse(told.generation, 1, 0, 0))
    assert ticks(told, 0.25) == ([1], [])
    told.served.lose(1, told.now)
    assert ticks(told, 9.0)[1] == [1, 1]
    assert told.served.away_for(told.now) == (9.0, "tcp://b:1")


def test_a_master_that_slept_asks_before_it_takes_anybody_for_lost():
    told = Told(server_timeout_s=4.0).ready()
    ticks(told, 1.0)
    for server in (0, 1):
        told.hear(server, m.Pulse(told.generation, 1, 0, 0))
    told.now += 1000.0
    assert ticks(told, 3.0) == ([], [])


def test_before_there_is_anything_to_serve_whoever_answers_is_not_away():
    told = Told(is_begun=False)
    told.served.lose(0, told.now)
    told.hear(0, m.Pulse(0, 1, 0, 0))
    assert told.served.away_for(told.now + 50.0) == (0.0, "")
    assert told.served.is_ready


def test_a_refusal_is_told_once_and_counts_as_away_until_it_serves():
    told = Told()
    refused = m.Refused(75, "this averaging server serves run other")
    assert told.hear(1, refused).trouble == refused.reason
    assert told.hear(1, refused).trouble == ""
    told.now += 7.0
    assert told.served.away_for(told.now) == (7.0, "tcp://b:1")
    told.hear(1, m.Serving(told.generation, False))
    assert told.served.away_for(told.now) == (0.0, "")


# -- a version is settled when all have closed it, and it is here -----------------------------------------


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_version_is_settled_when_all_have_closed_it_and_all_of_it_is_here(is_shared):
    told = Told().ready(is_shared)
    for shard in (0, 1, 2):
        told.deliver(shard)
    told.served.finish()
    told.close(0)
    assert not told.served.is_finished
    told.close(1)
    assert told.served.is_finished == is_shared
    for server in (0, 1) if not is_shared else ():
        for index in (0, 1):
            assert not told.served.is_finished
            told.weights(server, index, told.vectors[1])
    assert told.served.is_finished
    if not is_shared:
        for span in SMALL.chunks(64):
            part = told.served.round.out[span.start : span.stop]
            assert bytes(part) == bytes(told.vectors[1][span.start : span.stop])
    told.served.adopt()
    assert (told.served.version, told.served.round) == (1, None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"checksum": 1}, "has a wrong checksum"), ({"version": 3}, "")],
)
def test_a_copy_that_is_wrong_is_not_taken(change, reason):
    told = Told().ready(is_shared=False)
    if reason:
        with pytest.raises(PeerError, match=reason):
            told.weights(1, 1, told.vectors[1], **change)
    else:
        told.weights(1, 1, told.vectors[1], **change)
    with pytest.raises(PeerError, match="there is no chunk 9"):
        told.hear(1, m.Weights(1, 9, 0), memoryview(b"abc"))
    with pytest.raises(PeerError, match="has 3 bytes, not"):
        told.hear(1, m.Weights(1, 0, 0), memoryview(b"abc"))
    told.now += 5.0
    told.served.tick(told.now)
    assert (1, m.Pull(1, (0, 1))) in told.said
    assert not told.served.round.out.any()


def test_a_server_that_lacks_the_version_is_sent_it_and_no_other():
    told = Told()
    told.outbox.take()
    told.hear(1, m.Pull(0, (0, 1)))
    effects = told.outbox.take()
    spans = SMALL.chunks(64, *CUTS[1])
    for effect, span in zip(effects, spans, strict=True):
        assert bytes(effect.payloads[0]) == bytes(told.vectors[0][span.start : span.stop])
    told.hear(1, m.Pull(5, (0,)))
    assert told.outbox.take() == []
    with pytest.raises(PeerError, match="there is no chunk 2"):
        told.hear(1, m.Pull(0, (2,)))


@pytest.mark.parametrize("message", [m.Ready(0), m.Check(1), m.Grant(1, (0,))])
def test_what_is_no_servers_to_send_is_refused(message):
    with pytest.raises(PeerError, match="is not an averaging server's to send"):
        Told().ready().hear(0, message)


# -- memory -----------------------------------------------------------------------------------------------


def test_memory_is_not_released_by_what_was_said_of_another_lending():
    told = Told().ready()
    told.served.lend(1, told.lent(1))
    assert not told.served.may_keep(1)
    releases = told.said_of(m.Release)
    for server, release in releases:
        told.hear(server, m.Released(told.generation, release.number, 1, 1))
    assert told.served.absorb(1)
    told.served.lend(1, told.lent(2))  # somebody else's
    for server, release in releases:  # said twice, and late
        told.hear(server, m.Released(told.generation, release.number, 1, 1))
    assert not told.served.absorb(1)
    assert not told.served.may_keep(1)
    for server, release in told.said_of(m.Release):
        told.hear(server, m.Released(told.generation, release.number, 1, 1))
    assert told.served.absorb(1)


def test_memory_that_one_server_cannot_see_comes_in_chunks():
    told = Told().ready()
    told.served.lend(0, told.lent(1))
    (_, (_, lend)) = told.said_of(m.Lend)
    told.deliver(0, 0)
    heard = told.hear(1, m.Unseen(told.generation, lend.number, 1, 0, "not permitted"))
    assert (heard.unseen, heard.trouble) == (0, "not permitted")
    told.served.announce(0, Comer(77, b"w", False))
    assert [(server, one.lease) for server, one in told.said_of(m.Announce)] == [(1, 77)]
    again = told.hear(1, m.Unseen(told.generation, lend.number, 1, 0, "not permitted"))
    assert again.unseen is None


def test_a_server_that_loses_sight_of_the_master_is_told_apart():
    told = Told().ready()
    assert told.hear(1, m.Serving(told.generation, False)).is_blind
    told = Told().ready(is_shared=False)
    assert not told.hear(1, m.Serving(told.generation, False)).is_blind


def test_vectors_that_did_not_take_the_average_are_told():
    told = Told().ready()
    assert told.hear(0, m.Closed(told.generation, 1, (5, 9))).unwritten == (5, 9)
    assert told.hear(0, m.Closed(told.generation - 1, 1, (5, 9))).unwritten == ()


def test_where_memory_has_run_out_all_begin_anew_sharing_nothing():
    class Scarce(Heap):
        """Shares its first vector, and has no more to share."""

        place, pid = "host", 3

        def __init__(self):
            self.first = None

        def allocate(self, nbytes):
            vector = super().allocate(nbytes)
            self.first = vector if self.first is None else self.first
            return vector

        def descriptor(self, vector):
            return 4 if vector is self.first else NOT_SHARED

    told = Told(Scarce())
    assert [serve.place for _, serve in told.said_of(m.Serve)] == ["host", "host"]
    for server in (0, 1):
        told.hear(server, m.Serving(told.generation, True))
    told.served.open((0,), (1,))
    assert [(one.generation, one.place) for _, one in told.said_of(m.Serve)] == [(START + 2, "")] * 2
    assert not told.served.is_ready


# -- what may come before its turn ------------------------------------------------------------------------


@pytest.mark.parametrize(("held_bytes", "fit"), [(1, 1), (520, 2), (10_000, 39)])
def test_room_is_what_every_server_has_for_certain(held_bytes, fit):
    told = Told(held_bytes=held_bytes).ready()
    served = told.served
    assert served.free_bytes == fit * SMALL.nbytes
    for shard in (1, 2):
        served.announce(shard, Comer(70 + shard, b"w", False))
    assert served.free_bytes == max(0, fit - 2) * SMALL.nbytes
    assert served.is_blocked(2) == served.is_blocked(1) == (fit < 2)
    assert not served.is_blocked(0)
    told.deliver(0)
    told.deliver(1)
    assert not served.is_blocked(2)
    assert served.free_bytes == fit * SMALL.nbytes


def test_what_is_copied_for_its_owner_takes_room():
    told = Told(held_bytes=520).ready()
    for shard in (1, 2):
        told.served.lend(shard, told.lent(shard))
        assert not told.served.may_keep(shard)
        for server, release in told.said_of(m.Release):
            told.hear(server, m.Released(told.generation, release.number, 1, shard))
    assert told.served.free_bytes == 0


def test_memory_is_asked_back_of_one_after_the_other():
    """Each is copied: whoever waits longer may need none, and copies of all would be without a bound."""
    told = Told().ready()
    for shard in (1, 2):
        told.served.lend(shard, told.lent(shard))
    assert not told.served.may_keep(1)
    (_, release), _ = releases = told.said_of(m.Release)
    assert not told.served.may_keep(2)
    assert not told.served.may_keep(1)
    assert told.said_of(m.Release) == []
    for server, release in releases:
        told.hear(server, m.Released(told.generation, release.number, 1, 1))
    assert told.served.absorb(1)
    assert not told.served.may_keep(2)
    assert {release.shard for _, release in told.said_of(m.Release)} == {2}


def test_an_empty_model_has_room():
    told = Told(is_begun=False)
    told.served.begin(SMALL.part(0, 0), 0, told.memory.allocate(0))
    told.ready()
    assert told.served.free_bytes == 0
    told.served.announce(1, Comer(71, b"w", False))
    assert not told.served.is_blocked(1)
    told.deliver(1)


def test_workers_get_nothing_from_the_master():
    told = Told().ready()
    assert not told.served.pull(b"w", 0, (0,))
    told.served.send_weights(b"w", (0,))
    assert told.outbox.take() == []
    with pytest.raises(PeerError, match="go to the averaging servers"):
        told.served.take(0, m.Chunk(1, 0, 0), memoryview(b""))


# -- the first weights ------------------------------------------------------------------------------------


def test_a_proposal_that_is_given_up_leaves_nothing():
    told = Told(is_begun=False)
    assert told.served.is_ready
    told.served.propose(SMALL)
    assert [serve.version for _, serve in told.said_of(m.Serve)] == [-1, -1]
    assert told.served._any_descriptor == told.memory.descriptor(told.served.round.out)
    told.served.drop()
    assert told.served.is_ready
    told.served.begin_anew()
    assert told.said_of(m.Serve) == []


# -- what was averaged --------------------------------------------------------------------------------------

DIGESTS = tuple(digests.of_chunks([number]) for number in range(6))


def test_servers_are_asked_for_digests_where_a_ledger_is_kept_and_the_stretches_are_put_together():
    told = Told(keeps_ledger=True)
    assert all(serve.keeps_digests for _, serve in told.said_of(m.Serve))
    told.ready()
    for server in (1, 0):
        told.hear(server, m.Closed(told.generation, 1, (), DIGESTS[3 * server :][:3]))
    wanted = tuple(digests.of_stretches([DIGESTS[shard], DIGESTS[3 + shard]]) for shard in range(3))
    assert told.served.digests() == wanted


def test_without_a_ledger_nobody_is_asked():
    told = Told()
    assert not any(serve.keeps_digests for _, serve in told.said_of(m.Serve))
    told.ready()
    told.close()
    assert told.served.digests() == ()


@pytest.mark.parametrize("wrong", [(), DIGESTS[:2], DIGESTS[:4], (*DIGESTS[:2], "x" * 16)])
def test_a_server_that_says_something_else_has_not_closed_the_round(wrong):
    told = Told(keeps_ledger=True).ready()
    for shard in range(3):
        told.deliver(shard)
    told.hear(0, m.Closed(told.generation, 1, (), DIGESTS[:3]))
    with pytest.raises(PeerError, match="3 digests"):
        told.hear(1, m.Closed(told.generation, 1, (), wrong))
    assert not told.served.is_finished


def test_what_was_said_in_a_generation_gone_by_is_forgotten():
    told = Told(keeps_ledger=True).ready()
    told.hear(0, m.Closed(told.generation, 1, (), DIGESTS[:3]))
    told.served.begin_anew()
    told.ready()
    for server in (0, 1):
        told.hear(server, m.Closed(told.generation, 1, (), DIGESTS[3:]))
    assert told.served.digests() == tuple(digests.of_stretches([one, one]) for one in DIGESTS[3:])


def test_servers_are_told_the_samples_that_came_with_a_contribution_also_when_told_again():
    told = Told().ready()
    told.served.announce(0, Comer(9, b"w", False, 70))
    assert [message.samples for _, message in told.said_of(m.Announce)] == [70, 70]
    told.served.lend(1, told.lent(3), 30)
    assert [message.samples for _, message in told.said_of(m.Lend)] == [30, 30]
    told.deliver(1, 0)
    told.served.repeat(1, False)
    told.served.repeat(0, False)
    assert [(server, message.samples) for server, message in told.said] == [(1, 30), (0, 70), (1, 70)]
