"""Who says too much is dropped, is told of once a second, and is cut after a while; nobody honest is."""

import itertools

import msgpack
import pytest

from paramserver.admission.bucket import Bucket
from paramserver.admission.floods import CALM_S, TOLD_EVERY_S, Floods, Verdict, kind_of
from paramserver.admission.limits import Limits
from paramserver.settings import Settings
from ps_common import messages as m
from ps_common.sockets import SILENCE_MS
from ps_common.wire import encode
from ps_worker.machine import JOIN_RETRY_S

JOIN = encode(m.Join(m.PROTOCOL, "w", "host", 1, "cpu", "", "numpy", "place"))
LOOK = encode(m.Look(m.PROTOCOL))
ORDER = encode(m.Order(m.PROTOCOL, 1, "stop"))
BEAT = encode(m.Heartbeat(1, 2))
READY = encode(m.Ready(3))
CHUNK = encode(m.Chunk(1, 2, 3))
LIMITS = Limits.of_master(Settings(), files=20_000)


def floods(limits=LIMITS, since=-1000.0):
    """Of a connection that has been there for long, if nothing else is said."""
    return Floods(limits, Bucket(limits.joins_of_all_per_s, limits.joins_of_all_burst, since), since)


def verdicts(one, header, times):
    return [one.judge(header, now) for now in times]


@pytest.mark.parametrize("cls", list(m.KINDS.values()), ids=lambda cls: cls.__name__)
def test_the_kind_of_every_message_is_seen_without_decoding_it(cls):
    code = next(code for code, known in m.KINDS.items() if known is cls)
    fields = [0] * len(cls.__dataclass_fields__)
    assert kind_of(memoryview(msgpack.packb([code, *fields]))) == code


@pytest.mark.parametrize("header", [b"", b"\x93", b"\xdc\x00", b"garbage", b"\xdd\0\0\0\1\7"])
def test_what_begins_as_no_message_has_no_kind(header):
    assert kind_of(header) not in m.KINDS


@pytest.mark.parametrize(
    "header",
    [JOIN, LOOK, ORDER, BEAT, READY, b"garbage"],
    ids=["joins", "looks", "orders", "beats", "requests", "garbage"],
)
def test_a_flood_is_dropped_and_then_cut(header):
    found = verdicts(floods(), header, [0.0] * 20_000)
    first, cut = found.index(Verdict.DROP), found.index(Verdict.CUT)
    assert first <= LIMITS.requests_burst
    assert cut == first + LIMITS.dropped_max - 1
    assert Verdict.TAKE not in found[first:]


@pytest.mark.parametrize(
    ("header", "most"),
    [(JOIN, LIMITS.joins_first), (BEAT, LIMITS.beats_first), (READY, LIMITS.requests_first)],
    ids=["joins", "beats", "requests"],
)
def test_a_new_connection_on_which_nothing_can_have_piled_up_is_cut_sooner(header, most):
    assert most < verdicts(floods(), header, [0.0] * 20_000).count(Verdict.TAKE) / 3
    found = verdicts(floods(since=0.0), header, [0.0] * 20_000)
    assert found.count(Verdict.TAKE) <= most
    assert found.index(Verdict.CUT) == found.count(Verdict.TAKE) + LIMITS.dropped_max - 1


def test_a_worker_that_nobody_answers_asks_for_as_long_as_its_connection_lives():
    """And all of it comes at once, when the master is awake again."""
    asked = [JOIN_RETRY_S * i for i in range(int(SILENCE_MS / 1000 / JOIN_RETRY_S))]
    assert set(verdicts(floods(since=0.0), JOIN, asked)) == {Verdict.TAKE}
    assert set(verdicts(floods(since=0.0), JOIN, [asked[-1]] * len(asked))) == {Verdict.TAKE}


def test_a_slow_flood_is_cut_after_some_seconds():
    one, now = floods(), itertools.count()
    at_once = verdicts(one, BEAT, [0.0] * int(LIMITS.beats_burst))
    assert set(at_once) == {Verdict.TAKE}
    for tenth in range(1, 1000):
        found = verdicts(one, BEAT, [tenth / 10] * 4)  # where 2.8 are allowed
        if Verdict.CUT in found:
            break
    assert tenth / 10 == pytest.approx(LIMITS.flood_s + 0.1, abs=0.11), next(now)


def test_chunks_flow_by_credit_and_are_not_counted():
    assert set(verdicts(floods(), CHUNK, [0.0] * 50_000)) == {Verdict.TAKE}


def test_an_honest_worker_is_far_from_every_limit():
    one = floods()
    beats = [0.5 * i for i in range(1000)]
    rounds = [i / 2000 for i in range(20_000)]  # a round in half a millisecond
    said = [(now, BEAT) for now in beats] + [(now, READY) for now in rounds for _ in range(3)] + [(0.0, JOIN)]
    assert {one.judge(header, now) for now, header in sorted(said)} == {Verdict.TAKE}


def test_who_watches_a_run_is_far_from_every_limit():
    assert set(verdicts(floods(), LOOK, [float(second) for second in range(1000)])) == {Verdict.TAKE}


def test_looks_cost_what_their_answers_cost():
    taken = sum(one is Verdict.TAKE for one in verdicts(floods(), LOOK, [0.0] * 1000))
    assert taken == LIMITS.joins_burst
    of_all = Bucket(0.0, 100.0, 0.0)
    peers = [Floods(LIMITS, of_all, 0.0) for _ in range(50)]
    assert sum(one.judge(LOOK, 0.0) is Verdict.TAKE for one in peers) == 20


def test_looks_that_count_as_any_request_are_a_flood(monkeypatch):
    """What is bounded above: five thousand answers of a hundred workers each, at once."""
    monkeypatch.setattr("paramserver.admission.floods._JOINS", {})
    assert sum(one is Verdict.TAKE for one in verdicts(floods(), LOOK, [0.0] * 10_000)) > 5000


def test_what_has_piled_up_while_the_master_stood_still_is_no_flood():
    assert set(verdicts(floods(), BEAT, [120.0] * 240)) == {Verdict.TAKE}  # two minutes of heartbeats


def test_a_request_for_many_chunks_costs_as_many_small_ones():
    many = encode(m.Pull(1, tuple(range(4000))))
    found = verdicts(floods(), many, [0.0] * 100)
    assert 10 <= found.index(Verdict.DROP) <= 20


def test_a_layout_of_16_mib_is_let_through():
    assert floods().judge(b"\x9a\x05" + bytes(m.HEADER_BYTES - 2), 0.0) is Verdict.TAKE


def test_joins_of_all_connections_together_are_limited():
    of_all = Bucket(0.0, 100.0, 0.0)
    peers = [Floods(LIMITS, of_all, 0.0) for _ in range(50)]
    taken = [one.judge(JOIN, 0.0) is Verdict.TAKE for one in peers for _ in range(10)]
    assert sum(taken) == 100


def test_a_flood_is_told_of_once_a_second():
    one, told = floods(), []
    for hundredth in range(250):
        now = hundredth / 100
        verdicts(one, BEAT, [now] * 50)
        if (complaint := one.complaint(now)) is not None:
            told.append((now, complaint))
    assert len(told) == 3
    assert all(b - a > TOLD_EVERY_S - 1e-6 for (a, _), (b, _) in itertools.pairwise(told))
    assert "messages were dropped" in str(told[-1][1])
    assert "a Heartbeat" in str(told[-1][1])
    assert told[-1][1].kind == "flood"


def test_after_a_calm_while_a_flood_is_forgiven():
    one = floods()
    verdicts(one, BEAT, [0.0] * int(LIMITS.beats_burst + LIMITS.dropped_max - 1))
    later = 1.0 + CALM_S + LIMITS.beats_burst / LIMITS.beats_per_s
    found = verdicts(one, BEAT, [later] * int(LIMITS.beats_burst + 10))
    assert Verdict.DROP in found
    assert Verdict.CUT not in found
