"""An averaging server, told by a test what a master and workers say: what it takes, and what it does not."""

import dataclasses

import numpy as np
import pytest

from paramserver.averaging import digests
from paramserver.effects import Note, Send
from paramserver.quarantine import NOTED_MAX
from paramserver.servers.averager import BUSY_S, RETRY_S, Averager
from paramserver.simulation.host import Host
from ps_common import messages as m
from ps_common.errors import PeerError
from ps_common.layout import Layout
from ps_common.messages import NOT_SHARED
from ps_common.wire import checksum, decode, encode
from support_averages import naive_mean, random_vectors
from support_rounds import SMALL

MASTER, WORKER = b"m", b"w"
CUTS = SMALL.cuts(2)
GENERATION = 7


class Told:
    """A server for the second of two stretches, in memory of a host."""

    def __init__(self, is_shared=False):
        self.host = Host()
        self.master, self.worker = self.host.process(), self.host.process()
        self.averager = Averager(100.0, self.host.process())
        self.place = "host" if is_shared else "elsewhere"
        self.now = 100.0
        self.number = 0
        self.notes = []
        self.vectors = random_vectors(SMALL, 4, seed=1)
        self.shared = [self.master.allocate(SMALL.nbytes) for _ in range(2)]  # versions 0 and 1
        self.shared[0][...] = self.vectors[0]

    # -- what is said to it ---------------------------------------------------------------------------

    def say(self, message, *payloads, sender=MASTER):
        frames = [memoryview(encode(message)), *map(memoryview, payloads)]
        return self.take(self.averager.handle(sender, decode(frames), frames[1:], self.now))

    def take(self, effects):
        """What it answers; what it notes is kept."""
        self.notes += [e.text for e in effects if isinstance(e, Note)]
        return [(e.to, e.message) for e in effects if isinstance(e, Send)]

    def serve(self, sender=MASTER, **changes):
        descriptor = self.master.descriptor(self.shared[0])
        serve = m.Serve(
            m.PROTOCOL, GENERATION, "run", 1, 2, SMALL.to_plain(), 64, 2, 1000, 0,
            self.place, self.master.pid, descriptor if self.place == "host" else NOT_SHARED,
        )  # fmt: skip
        return self.say(dataclasses.replace(serve, **changes), sender=sender)

    def head(self, version=1):
        self.number += 1
        return GENERATION, self.number, version

    def open(self, version=1, shards=(0, 1), samples=(1, 2), descriptor=None):
        if descriptor is None:
            is_shared = self.place == "host"
            descriptor = self.master.descriptor(self.shared[version % 2]) if is_shared else NOT_SHARED
        return self.say(m.Open(*self.head(version), shards, samples, descriptor))

    def lend(self, shard, version=1):
        """A contribution in memory of the worker: the vector, and the answers."""
        vector = self.worker.allocate(SMALL.nbytes)
        vector[...] = self.vectors[1 + shard]
        descriptor = self.worker.descriptor(vector)
        return vector, self.say(m.Lend(*self.head(version), shard, self.worker.pid, descriptor))

    def announce(self, shard, lease=None):
        return self.say(m.Announce(*self.head(), shard, lease or 50 + shard, WORKER, False))

    def chunk(self, shard, index, **changes):
        part = bytes(self.part(self.vectors[1 + shard], index))
        message = m.Chunk(50 + shard, index, checksum(part))
        return self.say(dataclasses.replace(message, **changes), part, sender=WORKER)

    def weights(self, index, cut=0, **changes):
        part = bytes(self.part(self.vectors[0], index))
        message = dataclasses.replace(m.Weights(0, index, checksum(part)), **changes)
        return self.say(message, part[: len(part) - cut])

    def finish(self, *mirrors, version=1):
        pids = tuple(pid for pid, _ in mirrors)
        return self.say(m.Finish(*self.head(version), pids, tuple(number for _, number in mirrors)))

    def delivered(self, shard, version=1):
        """What the master hears when all is here of the contribution that was spoken of last."""
        return MASTER, m.Delivered(GENERATION, self.number, version, shard)

    # -- what it must have ----------------------------------------------------------------------------

    @property
    def spans(self):
        return SMALL.chunks(64, *CUTS[1])

    def part(self, vector, index):
        return vector[self.spans[index].start : self.spans[index].stop]

    def filled(self):
        """It serves version 0."""
        self.serve()
        for index in range(len(self.spans)):
            self.weights(index)
        return self

    def ready(self):
        if self.place == "host":
            self.serve()
        else:
            self.filled()
        self.open()
        return self

    def pulled(self, version):
        """Its stretch of a version, as a worker gets it, in a vector otherwise empty."""
        chunks = tuple(range(len(self.spans)))
        effects = self.averager.handle(WORKER, m.Pull(version, chunks), (), self.now)
        vector = SMALL.empty()
        for effect in effects:
            self.part(vector, effect.message.index)[...] = effect.payloads[0]
        return vector if len(effects) == len(chunks) else None

    def is_mean(self, vector):
        mean = naive_mean(SMALL, self.vectors[1:3], (1, 2))
        return all((self.part(vector, i) == self.part(mean, i)).all() for i in range(len(self.spans)))


SERVING = (MASTER, m.Serving(GENERATION, False))


# -- whom it serves ---------------------------------------------------------------------------------------


def test_another_protocol_is_refused():
    told = Told()
    ((to, refused),) = told.serve(protocol=m.PROTOCOL + 1)
    assert (to, refused.exit_code) == (MASTER, 76)
    assert f"speaks protocol {m.PROTOCOL}" in refused.reason


def test_another_run_is_refused_until_the_master_has_been_silent_for_long():
    told = Told().filled()
    told.now += BUSY_S - 1
    ((to, refused),) = told.serve(sender=b"other", run="other")
    assert (to, refused.exit_code) == (b"other", 75)
    told.say(m.Check(1))  # the first one is still there
    told.now += BUSY_S - 1
    assert told.serve(sender=b"other", run="other")[0][1].exit_code == 75
    told.now += 1
    assert told.serve(sender=b"other", run="other") == [(b"other", m.Pull(0, (0, 1)))]
    assert told.say(m.Check(2)) == [(MASTER, m.Pulse(0, 2, 0, 0))]


def test_a_master_of_the_same_run_that_was_started_again_is_served_at_once_and_the_one_before_no_more():
    told = Told().filled()
    assert told.serve(sender=b"m2", generation=3) == [(b"m2", m.Serving(3, False))]
    assert told.open() == []
    assert told.say(m.Stop(0, "finished")) == []
    assert told.say(m.Check(4), sender=b"m2") == [(b"m2", m.Pulse(3, 4, 0, 0))]
    assert told.notes == []


def test_the_same_again_is_answered_again_and_a_generation_gone_by_is_not():
    told = Told().filled()
    assert told.serve() == [SERVING]
    assert told.serve(generation=GENERATION - 1) == []
    assert told.say(m.Check(1)) == [(MASTER, m.Pulse(GENERATION, 1, 0, 0))]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"server": 2}, "there is no stretch 2 of 2"),
        ({"servers": 1}, "there is no stretch 1 of 1"),
        ({"layout": [["w", [-1], "float32", "weight"]]}, "a layout's entry is"),
        ({"chunk_bytes": 65}, "chunk_bytes must be"),
        ({"layout": [["w", [2**38], "float32", "weight"]]}, "has more than 1048576 chunks of 64 bytes"),
    ],
)
def test_a_serve_that_makes_no_sense_changes_nothing(change, reason):
    told = Told().filled()
    assert told.serve(generation=GENERATION + 1, **change) == []
    assert reason in told.notes[0]
    assert told.say(m.Check(1)) == [(MASTER, m.Pulse(GENERATION, 1, 0, 0))]
    assert (told.part(told.pulled(0), 1) == told.part(told.vectors[0], 1)).all()


def test_at_the_end_it_forgets_and_holds_no_memory():
    told = Told(is_shared=True).ready()
    told.lend(0)
    told.say(m.Stop(0, "finished"))
    assert told.say(m.Check(3)) == [(MASTER, m.Pulse(0, 3, 0, 0))]
    assert told.averager._seen == {}
    assert told.pulled(0) is None
    assert told.chunk(0, 0) == told.open() == []


def test_after_the_end_a_serve_of_the_same_master_is_late_and_another_master_is_served():
    told = Told().filled()
    told.say(m.Stop(0, "finished"))
    assert told.serve(generation=GENERATION + 1) == []
    assert told.serve(sender=b"m2", run="other")[0][0] == b"m2"


@pytest.mark.parametrize("message", [m.Ready(0), m.Leave("x"), m.Grant(1, (0,)), m.Closed(1, 1, ())])
def test_what_is_not_for_it_is_refused(message):
    told = Told().filled()
    for sender in (WORKER, MASTER):
        assert told.say(message, sender=sender) == []
        assert "is not for an averaging server" in told.notes[-1]


def test_what_is_no_message_is_noted():
    told = Told()
    assert told.take(told.averager.refuse(b"\x01", PeerError("no msgpack"))) == []
    assert told.notes == ["refused a message of 01: no msgpack"]


# -- what it begins with ----------------------------------------------------------------------------------


def test_a_version_it_lacks_comes_from_the_master_and_is_asked_for_again():
    told = Told()
    assert told.averager.next_deadline() == float("inf")
    assert told.serve() == [(MASTER, m.Pull(0, (0, 1)))]
    assert told.serve() == []  # once more, while it is on its way
    assert told.weights(1) == []
    told.now = told.averager.next_deadline()
    assert told.now == 100.0 + RETRY_S
    assert told.take(told.averager.tick(told.now)) == [(MASTER, m.Pull(0, (0,)))]
    assert told.weights(0) == [SERVING]
    assert told.weights(0) == []
    assert told.averager.next_deadline() == float("inf")


def test_nothing_is_served_while_it_is_coming():
    told = Told()
    told.serve()
    told.weights(0)
    assert told.pulled(0) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"checksum": 1}, "has a wrong checksum"),
        ({"cut": 1}, "bytes, not"),
        ({"index": 9}, "there is no chunk 9"),
        ({"version": 3}, None),
    ],
)
def test_a_chunk_of_it_that_is_wrong_is_not_taken(change, reason):
    told = Told()
    told.serve()
    told.weights(1)
    if "index" in change:
        part = b"x"
        told.say(m.Weights(0, 9, checksum(part)), part)
    else:
        assert told.weights(0, **change) == []
    assert told.notes == [] if reason is None else reason in told.notes[0]
    assert told.take(told.averager.tick(told.now)) == [(MASTER, m.Pull(0, (0,)))]


def test_without_weights_yet_there_is_nothing_to_pull():
    told = Told()
    assert told.serve(version=-1) == [SERVING]
    assert told.pulled(0) is None


@pytest.mark.parametrize("version", [-1, 0])
def test_memory_of_a_master_that_cannot_be_seen_is_not_shared(version):
    told = Told(is_shared=True)
    told.host.end(told.master.pid)
    answers = told.serve(version=version)
    assert answers == [SERVING if version < 0 else (MASTER, m.Pull(0, (0, 1)))]
    assert "the master's memory cannot be seen" in told.notes[0]


def test_of_many_messages_that_are_wrong_not_every_one_is_noted():
    told = Told().ready()
    before = len(told.notes)
    for _ in range(NOTED_MAX + 100):
        assert told.say(m.Leave("bye"), sender=WORKER) == []
    assert len(told.notes) - before == NOTED_MAX + 1


def test_an_empty_stretch_has_nothing_to_wait_for():
    told, tiny = Told(), Layout.from_plain([["w", [3], "float32", "weight"]])
    assert told.serve(layout=tiny.to_plain()) == [SERVING]
    told.open()
    assert told.announce(0) == [told.delivered(0)]
    assert told.announce(1) == [told.delivered(1)]
    assert told.finish() == [(MASTER, m.Closed(GENERATION, 1, ()))]


def test_what_it_has_averaged_it_need_not_be_told_again():
    told = Told().ready()
    for shard in (0, 1):
        told.announce(shard)
        for index in range(len(told.spans)):
            told.chunk(shard, index)
    assert told.finish() == [(MASTER, m.Closed(GENERATION, 1, ()))]
    assert told.serve(generation=GENERATION + 1, version=1) == [(MASTER, m.Serving(GENERATION + 1, False))]
    assert told.is_mean(told.pulled(1))


@pytest.mark.parametrize("change", [{"run": "other"}, {"servers": 3}, {"server": 0}, {"version": 4}])
def test_what_it_has_of_something_else_is_of_no_use(change):
    told = Told().filled()
    told.now += BUSY_S
    ((_, pull),) = told.serve(generation=GENERATION + 1, **change)
    assert isinstance(pull, m.Pull)


# -- rounds in chunks -------------------------------------------------------------------------------------


def test_a_contribution_comes_in_chunks_that_are_granted_and_the_master_is_told_once_it_is_here():
    told = Told().ready()
    assert told.announce(1) == [(WORKER, m.Grant(51, (0, 1), False))]
    assert told.announce(1) == [(WORKER, m.Grant(51, (0, 1), False))]  # it has been lost, perhaps
    assert told.chunk(1, 0) == []
    assert told.announce(1) == [(WORKER, m.Grant(51, (1,), False))]
    assert told.chunk(1, 1) == [told.delivered(1)]
    assert told.announce(1) == [told.delivered(1)]
    assert told.chunk(1, 1) == []
    assert told.finish() == []  # the first shard is not here
    told.announce(0)
    told.chunk(0, 0)
    told.chunk(0, 1)
    assert told.finish() == [(MASTER, m.Closed(GENERATION, 1, ()))]
    assert told.is_mean(told.pulled(1))
    assert told.notes == []


def test_chunks_that_are_not_granted_are_not_taken_and_those_of_leases_that_have_ended_neither():
    told = Told().ready()
    told.announce(1)
    assert told.chunk(1, 0, lease=99) == []
    told.say(m.Withdraw(*told.head(), 1))
    assert told.chunk(1, 0) == []
    assert told.announce(1, lease=60) == [(WORKER, m.Grant(60, (0, 1), False))]
    assert told.chunk(1, 1) == []
    assert told.notes == []
    for index, change, reason in ((0, {"checksum": 1}, "wrong checksum"), (7, {}, "there is no chunk 7")):
        part = bytes(told.part(told.vectors[2], 0))
        message = dataclasses.replace(m.Chunk(60, index, checksum(part)), **change)
        assert told.say(message, part, sender=WORKER) == []
        assert reason in told.notes[-1]
    assert told.say(m.Chunk(60, 0, checksum(b"x")), b"x", sender=WORKER) == []
    assert "has 1 bytes, not" in told.notes[-1]


def test_a_contribution_withdrawn_and_announced_again_by_the_same_is_granted_again():
    told = Told().ready()
    told.announce(0)
    told.say(m.Withdraw(*told.head(), 0))
    assert told.announce(0) == [(WORKER, m.Grant(50, (0, 1), False))]


def test_who_waits_for_its_turn_is_granted_when_it_comes_in_whichever_way():
    told = Told()
    told.serve(held_bytes=0)
    for index in (0, 1):
        told.weights(index)
    told.open(shards=(0, 1, 2), samples=(1, 1, 1))
    assert told.announce(1) == [(WORKER, m.Grant(51, (0, 1), False))]
    assert told.announce(2) == [(WORKER, m.Grant(52, (0,), False))]  # as much as the stretch is large
    told.chunk(1, 0)
    told.chunk(1, 1)
    delivered, granted = told.lend(0)[1]  # of this machine, while the others are elsewhere
    assert delivered == told.delivered(0)
    assert granted == (WORKER, m.Grant(52, (1,), False))


def test_what_others_have_overtaken_is_dropped():
    told = Told().ready()
    late = m.Announce(*told.head(), 0, 50, WORKER, False)
    told.announce(1)
    assert told.say(late) == []
    assert told.say(m.Announce(GENERATION - 1, 10**6, 1, 0, 50, WORKER, False)) == []
    assert told.announce(0) == [(WORKER, m.Grant(50, (0, 1), False))]


@pytest.mark.parametrize(
    ("shards", "samples"), [((), ()), ((0, 1), (1,)), ((0,), (0,))], ids=["none", "two of one", "no samples"]
)
def test_a_round_that_makes_no_sense_is_not_opened(shards, samples):
    told = Told().filled()
    assert told.open(shards=shards, samples=samples) == []
    assert "a round has shards, and samples of each" in told.notes[0]
    assert told.announce(0) == []


def test_of_other_rounds_and_shards_nothing_is_taken():
    told = Told().ready()
    told.open(version=2)  # the one before is not closed
    told.open(version=5)
    for version, shard in ((2, 0), (0, 0), (1, 9)):
        head = (GENERATION, told.head()[1], version, shard)
        assert told.say(m.Announce(*head, 50, WORKER, False)) == []
        assert told.say(m.Lend(GENERATION, told.head()[1], version, shard, 1, 0)) == []
        assert told.say(m.Withdraw(GENERATION, told.head()[1], version, shard)) == []
        assert told.say(m.Release(GENERATION, told.head()[1], version, shard)) == []
    assert told.finish(version=2) == []
    assert told.notes == []


# -- rounds in memory -------------------------------------------------------------------------------------


def test_a_round_in_memory_is_averaged_into_the_masters_vector_and_the_mirrors():
    told = Told(is_shared=True).ready()
    mirror = told.worker.allocate(SMALL.nbytes)
    for shard in (1, 0):
        assert told.lend(shard)[1] == [told.delivered(shard)]
    closed = m.Closed(GENERATION, 1, (999,))
    mirrors = ((told.worker.pid, told.worker.descriptor(mirror)), (999, 1))  # one is not there
    assert told.finish(*mirrors) == [(MASTER, closed)]
    assert told.is_mean(told.shared[1])
    assert told.is_mean(mirror)
    assert not told.shared[1][: CUTS[1][0]].any(), "it writes its own stretch only"


def test_mirrors_are_written_once_for_then_they_are_their_owners_again():
    told = Told(is_shared=True).ready()
    mirror = told.worker.allocate(SMALL.nbytes)
    for shard in (0, 1):
        told.lend(shard)
    first = told.finish((told.worker.pid, told.worker.descriptor(mirror)))
    mirror[...] = 9
    assert told.finish((told.worker.pid, told.worker.descriptor(mirror))) == first
    assert (mirror == 9).all()


def test_memory_that_cannot_be_seen_is_told_of_and_its_contribution_may_come_in_chunks():
    told = Told(is_shared=True).ready()
    unseen = told.say(m.Lend(*told.head(), 0, 999, 0))
    assert unseen == [(MASTER, m.Unseen(GENERATION, told.number, 1, 0, "process 999 is gone"))]
    short = told.worker.allocate(8)
    ((_, unseen),) = told.say(m.Lend(*told.head(), 0, told.worker.pid, told.worker.descriptor(short)))
    assert "has 8 bytes, not" in unseen.reason
    assert told.announce(0) == [(WORKER, m.Grant(50, (0, 1), False))]


def test_memory_that_is_wanted_back_is_read_no_more():
    told = Told(is_shared=True).ready()
    lent, _ = told.lend(1)  # not in turn: it is copied
    assert told.say(m.Release(*told.head(), 1)) == [(MASTER, m.Released(GENERATION, told.number, 1, 1))]
    lent[...] = 9
    lent, _ = told.lend(0)  # in turn: it is summed
    told.say(m.Release(*told.head(), 0))
    lent[...] = 9
    told.finish()
    assert told.is_mean(told.shared[1])


def test_a_lend_that_a_release_has_overtaken_is_not_taken():
    told = Told(is_shared=True).ready()
    late = m.Lend(
        *told.head(), 1, told.worker.pid, told.worker.descriptor(told.worker.allocate(SMALL.nbytes))
    )
    told.say(m.Release(*told.head(), 1))
    assert told.say(late) == []
    assert told.lend(1)[1] == [told.delivered(1)]


def test_a_vector_of_the_master_that_cannot_be_seen_makes_it_begin_anew_sharing_nothing():
    told = Told(is_shared=True)
    told.serve()
    assert told.open(descriptor=77) == [SERVING]
    assert told.announce(0) == []  # no round is open
    assert told.serve(generation=GENERATION + 1) == [(MASTER, m.Pull(0, (0, 1)))]


def test_rounds_follow_each_other():
    told = Told(is_shared=True).ready()
    for shard in (0, 1):
        told.lend(shard)
    told.finish()
    before = told.shared[1].copy()
    told.open(version=2)
    told.open(version=2)
    assert np.array_equal(told.part(told.pulled(1), 0), told.part(before, 0))
    assert told.lend(0, version=2)[1] == [told.delivered(0, version=2)]


# -- what was averaged --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_shared", [False, True])
def test_where_a_ledger_is_kept_it_says_of_what_its_stretch_is_the_average(is_shared):
    told = Told(is_shared=is_shared)
    told.serve(keeps_digests=True)
    for index in range(len(told.spans)):
        told.weights(index)
    told.open()
    for shard in (1, 0):
        if is_shared:
            told.lend(shard)
            continue
        told.announce(shard)
        for index in range(len(told.spans)):
            told.chunk(shard, index)
    ((_, closed),) = told.finish()
    wanted = [
        digests.of_chunks(checksum(bytes(told.part(told.vectors[1 + shard], index))) for index in (0, 1))
        for shard in (0, 1)
    ]
    assert closed == m.Closed(GENERATION, 1, (), tuple(wanted))
    assert told.finish() == [(MASTER, closed)]  # once more, should it be lost


def no_room(nbytes, *dtype):
    raise MemoryError(f"no {nbytes} bytes")


def test_a_stretch_that_there_is_no_room_for_is_refused_and_nothing_is_served(monkeypatch):
    told = Told()
    with monkeypatch.context() as patched:
        patched.setattr(np, "zeros", no_room)
        assert told.serve() == []
    assert "there is no room for stretch 1" in told.notes[0]
    assert told.say(m.Check(1)) == [(MASTER, m.Pulse(0, 1, 0, 0))]
    assert told.filled().say(m.Check(2)) == [(MASTER, m.Pulse(GENERATION, 2, 0, 0))]


def test_a_round_that_there_is_no_room_for_is_refused_and_can_be_opened_later(monkeypatch):
    told = Told().filled()
    with monkeypatch.context() as patched:
        patched.setattr(told.averager._memory, "allocate", no_room)
        assert told.open() == []
    assert "there is no room for version 1" in told.notes[-1]
    told.open()
    assert told.announce(0)


# -- rules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("krum", "must be one of paramserver.rules, not str"),
        ({"kind": "Nobody"}, "not in the vocabulary"),
        ({"kind": "Plan"}, "must be one of paramserver.rules, not Plan"),
        ({"kind": "TrimmedMean", "faulty": -1}, "TrimmedMean cannot be built"),
        ({"kind": "Krum", "faulty": 1}, "the rule krum takes whole vectors, and 2 servers have stretches"),
    ],
)
def test_a_rule_that_is_none_or_of_whole_vectors_is_refused(rule, told):
    server = Told()
    assert server.serve(rule=rule) == []
    assert told in server.notes[-1]


def test_a_round_with_too_few_shards_for_the_rule_is_refused():
    server = Told()
    server.serve(rule={"kind": "TrimmedMean", "faulty": 1}, version=0)
    server.averager._filling = None  # as if it had come
    assert server.say(m.Open(*server.head(), (0, 1), (1, 1), NOT_SHARED)) == []
    assert "trimmed-mean withstands 1 faulty contribution of 3 or more, and a round has 2" in server.notes[-1]
