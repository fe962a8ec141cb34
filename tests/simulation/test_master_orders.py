"""The master machine: who asks how the run is, and orders."""

import dataclasses
from typing import Any

import pytest

from paramserver.askers import Asker
from paramserver.effects import Effect, Send
from paramserver.orders import _ORDERS, ABOUT_THE_RUN, ANSWERED_MAX, LOOKERS_MAX, LOOKS_S, SENT_HOME_MAX
from paramserver.status import STATES, WORKERS_MAX, checked
from ps_common import messages as m
from ps_common.errors import PeerError
from ps_common.wire import decode, encode
from simulation.bench import Bench, Hand
from simulation.counting import check_counts
from simulation.test_master_leases import started, state_of

ADMIN = Asker("the admin key ada", "admin")
READER = Asker("the status key sam", "status")
WORKER = Asker("the worker key w1", "worker")
LOOK = m.Look(m.PROTOCOL)


def ask(bench: Bench, message: m.Message, by: Asker = ADMIN, sender: bytes = b"asker") -> list[m.Message]:
    """Ask, through the real encoding; the answers."""
    asked = decode([encode(message)])
    return of(bench.take(bench.master.handle(sender, asked, (), bench.now, by)), sender)


def of(effects: list[Effect], sender: bytes) -> list[m.Message]:
    return [e.message for e in effects if isinstance(e, Send) and e.to == sender]


def order(what: str, name: str = "", number: int = 1) -> m.Order:
    return m.Order(m.PROTOCOL, number, what, name)


def look(bench: Bench, by: Asker = READER) -> dict[str, Any]:
    (seen,) = ask(bench, LOOK, by)
    assert isinstance(seen, m.Seen), seen
    return checked(seen.status)


def refusal(bench: Bench, message: m.Message, by: Asker = ADMIN) -> m.Refused:
    (refused,) = ask(bench, message, by)
    assert isinstance(refused, m.Refused), refused
    return refused


# -- looking ----------------------------------------------------------------------------------------------


def test_the_status_follows_the_run() -> None:
    bench = Bench(workers_at_start=2)
    first = bench.hand("w1")
    before = look(bench)
    assert (before["state"], before["members"], before["members_wanted"]) == ("waiting", 1, 2)
    assert before["version"] == -1
    second = bench.hand("w2")
    first.settle()
    bench.now += 3.0
    second.say(m.Heartbeat(second.lease.lease, 7))
    during = look(bench)
    assert (during["state"], during["version"], during["rounds"], during["epoch"]) == ("training", 0, 2, 1)
    assert (during["units_in_hand"], during["units_open"], during["seconds"]) == (2, 0, 3.0)
    silent, heard = during["workers"]
    assert (silent["name"], silent["doing"], silent["silent_s"]) == ("w1", "train round 0 shard 0", 3.0)
    assert (heard["name"], heard["doing"], heard["step"]) == ("w2", "train round 0 shard 1", 7)
    first.settle()
    assert look(bench)["workers"][0]["samples"] == 5
    bench.stop()
    assert look(bench)["state"] == "stopping"
    assert set(STATES) >= {before["state"], during["state"]}


def test_looking_changes_nothing_and_makes_no_member() -> None:
    bench, _, _ = started()
    before = state_of(bench)
    for by in (READER, ADMIN):
        look(bench, by)
    assert state_of(bench) == before
    assert len(bench.master.members) == 2


def test_of_ten_thousand_workers_a_hundred_are_listed() -> None:
    bench = Bench(workers_at_start=10_001)
    for i in range(10_000):
        bench.hand(f"w{i}", is_ready=False)
    (seen,) = ask(bench, LOOK)
    status = checked(seen.status)
    assert (len(status["workers"]), status["workers_unlisted"]) == (WORKERS_MAX, 10_000 - WORKERS_MAX)
    assert len(encode(seen)) < 32_000


def test_who_has_looked_is_told_of_the_end_unasked() -> None:
    bench, first, second = started()
    ask(bench, LOOK, READER, b"long ago")
    bench.now += LOOKS_S + 1.0
    for hand in (first, second):
        hand.say(m.Heartbeat(0, 0))
    ask(bench, LOOK, READER, b"just now")
    bench.stop()
    for hand in (first, second):
        hand.settle()
        hand.say(m.Leave("bye"))
    assert bench.finished is not None
    (_, last) = of(bench.effects, b"just now")
    assert isinstance(last, m.Seen)
    status = checked(last.status)
    assert (status["state"], status["reason"], status["exit_code"]) == ("over", "asked to stop", 0)
    assert len(of(bench.effects, b"long ago")) == 1


# -- orders -----------------------------------------------------------------------------------------------


def test_the_orders_are_those_of_the_protocol() -> None:
    bench, _, _ = started()
    assert set(m.ORDERS) == _ORDERS.keys() > set(ABOUT_THE_RUN)
    assert "there is no order 'stopp'; did you mean 'stop'?" in refusal(bench, order("stopp")).reason


def test_stop_ends_the_run_in_order_with_a_checkpoint() -> None:
    bench, first, second = started()
    (seen,) = ask(bench, order("stop"))
    assert isinstance(seen, m.Seen)
    assert seen.status["state"] == "stopping"
    for hand in (first, second):
        hand.settle()
    assert bench.saves[-1].version == bench.master.progress.version == 1
    assert first.heard(m.Stop) == [m.Stop(0, "asked to stop by the admin key ada")]
    for hand in (first, second):
        hand.say(m.Leave("bye"))
    assert bench.finished is not None
    assert bench.finished.exit_code == 0
    (note,) = bench.notes("order")
    assert note.text == "the admin key ada ordered: stop"
    assert note.fields == {"by": "the admin key ada", "what": "stop"}


def test_checkpoint_saves_now_and_the_run_goes_on() -> None:
    bench, first, second = started(checkpoint_every_rounds=None, keeps_ledger=True)
    assert bench.saves == []
    ask(bench, order("checkpoint"))
    assert [one.version for one in bench.saves] == [0]
    for hand in (first, second):
        hand.settle()
    assert bench.master.progress.version == 1


@pytest.mark.parametrize(
    ("what", "name", "settings", "told"),
    [
        ("checkpoint", "", {}, "the master was started without --checkpoint"),
        ("checkpoint", "w1", {}, "checkpoint is about the run"),
        ("drop", "", {}, "drop is about a worker"),
        ("drop", "w3", {}, "there is no worker 'w3'; known are w1, w2"),
        ("", "", {}, "there is no order ''"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused_and_changes_nothing(what, name, settings, told):
    bench, _, _ = started(**settings)
    before = state_of(bench)
    refused = refusal(bench, order(what, name))
    assert refused.exit_code == 2
    assert told in refused.reason
    assert state_of(bench) == before
    assert "refused: " in bench.notes("order")[0].text


def test_before_there_are_weights_there_is_nothing_to_save() -> None:
    bench = Bench(workers_at_start=2, keeps_ledger=True)
    assert "no weights to save yet" in refusal(bench, order("checkpoint")).reason


def test_after_the_end_stop_is_answered_and_nothing_else_is_done() -> None:
    bench, first, second = started(keeps_ledger=True)
    bench.stop()
    for hand in (first, second):
        hand.settle()
    assert first.heard(m.Stop)
    assert isinstance(ask(bench, order("stop"))[0], m.Seen)
    assert refusal(bench, order("drop", "w1", number=2)).reason == "the run is over"


def test_who_is_dropped_is_sent_home_and_others_do_its_unit_with_the_same_bits() -> None:
    bench, first, second = started()
    lost = first.lease
    ask(bench, order("drop", "w1"))
    assert first.heard(m.Stop) == [m.Stop(0, "sent home by the admin key ada")]
    assert [member.name for member in bench.master.members] == ["w2"]
    second.settle()
    assert (second.lease.round, second.lease.shard) == (lost.round, lost.shard)
    while bench.finished is None and not second.heard(m.Stop):
        second.settle()
    check_counts(bench.counts, epochs=1)
    assert second.heard(m.Stop) == [m.Stop(0, "finished")]


def test_who_is_dropped_and_has_not_heard_is_told_again_and_does_not_come_back() -> None:
    bench, first, _ = started()
    ask(bench, order("drop", "w1"))
    stop = m.Stop(0, "sent home by the admin key ada")
    for message in (m.Heartbeat(0, 0), m.Ready(0), first.join, first.push(first.lease)):
        assert first.say(message) == [stop]
    assert first.say(m.Leave("bye")) == []
    assert len(bench.master.members) == 1
    again = dataclasses.replace(first.join)  # a process of the same name, started anew
    assert isinstance(Hand(bench, "other").say(again)[0], m.Welcome)


def test_who_is_quarantined_by_order_is_out_with_all_of_its_key_until_it_is_forgiven() -> None:
    bench, first, second = started(names_are_keys=True)
    twin = Hand(bench, "twin")
    twin.say(dataclasses.replace(twin.join, name="w1"))
    ask(bench, order("quarantine", "w1"))
    for hand in (first, twin):
        (refused,) = hand.heard(m.Refused)
        assert (refused.exit_code, "after an order of the admin key ada" in refused.reason) == (77, True)
    assert [member.name for member in bench.master.members] == ["w2"]
    assert look(bench)["quarantined"] == [{"name": "w1", "why": "an order of the admin key ada"}]
    again = Hand(bench, "again")
    assert isinstance(again.say(dataclasses.replace(again.join, name="w1"))[0], m.Refused)
    ask(bench, order("forgive", "w1", number=2))
    assert isinstance(again.say(dataclasses.replace(again.join, name="w1"))[0], m.Welcome)
    assert look(bench)["quarantined"] == []
    second.settle()
    assert second.lease.lease


def test_a_key_can_be_quarantined_before_it_comes_and_a_name_without_keys_cannot() -> None:
    with_keys, _, _ = started(names_are_keys=True)
    ask(with_keys, order("quarantine", "mallory"))
    late = Hand(with_keys, "late")
    assert isinstance(late.say(dataclasses.replace(late.join, name="mallory"))[0], m.Refused)
    without, _, _ = started()
    assert "there is no worker 'mallory'" in refusal(without, order("quarantine", "mallory")).reason


def test_the_strikes_of_a_worker_are_seen_and_forgiven() -> None:
    bench, first, _ = started()
    first.say(m.Stop(0, "go home"))
    assert [(one["rejections"], one["strikes"]) for one in look(bench)["workers"]] == [(1, 1), (0, 0)]
    ask(bench, order("forgive", "w1"))
    assert [(one["rejections"], one["strikes"]) for one in look(bench)["workers"]] == [(1, 0), (0, 0)]
    assert "'w1' has no strikes" in refusal(bench, order("forgive", "w1", number=2)).reason


def test_an_order_that_comes_again_is_answered_and_not_carried_out_again() -> None:
    """The first answer was lost; meanwhile another worker has the name."""
    bench, _, _ = started()
    for _ in range(2):
        assert isinstance(ask(bench, order("drop", "w1"))[0], m.Seen)
    assert len(bench.notes("order")) == 1
    newcomer = Hand(bench, "late")
    newcomer.say(dataclasses.replace(newcomer.join, name="w1"))
    assert isinstance(ask(bench, order("drop", "w1"))[0], m.Seen)
    assert not newcomer.heard(m.Stop)
    ask(bench, order("drop", "w1", number=2))
    assert newcomer.heard(m.Stop)


def test_an_order_that_was_refused_is_refused_again_the_same() -> None:
    bench, _, _ = started()
    assert refusal(bench, order("drop", "w9")) == refusal(bench, order("drop", "w9"))
    assert len(bench.notes("order")) == 1


def test_what_is_remembered_is_bounded() -> None:
    bench, _, _ = started()
    for i in range(2 * SENT_HOME_MAX):
        sender, name = f"s{i}".encode(), f"x{i}"
        ask(bench, LOOK, READER, sender)
        hand = Hand(bench, f"s{i}")
        hand.say(dataclasses.replace(hand.join, name=name))
        ask(bench, order("drop", name, number=i))
        bench.effects.clear()
    master = bench.master
    kept = (len(master._lookers), len(master._answered), len(master._sent_home))
    assert kept == (LOOKERS_MAX, ANSWERED_MAX, SENT_HOME_MAX)


# -- who may -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "by", "told"),
    [
        (LOOK, WORKER, "the worker key w1 may not ask how the run is"),
        (order("stop"), WORKER, "the worker key w1 may not give orders"),
        (order("stop"), READER, "the status key sam may not give orders"),
        (order("drop", "w1"), Asker("x", "none"), "x may not give orders"),
    ],
)
def test_who_may_not_is_refused_with_77_and_nothing_happens(message, by, told):
    bench, _, _ = started()
    before = state_of(bench)
    refused = refusal(bench, message, by)
    assert refused.exit_code == 77
    assert told in refused.reason
    assert "use a key made with ps-keys new NAME --role" in refused.reason
    assert state_of(bench) == before
    assert not bench.master.is_ending
    assert told in bench.notes("refusal")[0].text


def test_orders_with_the_key_of_a_worker_are_strikes_and_looks_are_not() -> None:
    bench, first, _ = started(names_are_keys=True)
    by = Asker("the worker key w1", "worker", "w1")
    for _ in range(5):
        refusal(bench, LOOK, by)
    assert bench.master.quarantine.strikes("w1", bench.now) == 0
    for i in range(bench.settings.strikes_max):
        assert refusal(bench, order("stop", number=i), by).exit_code == 77
    assert "may not give orders" in bench.notes("rejection")[0].text
    assert bench.master.quarantine.records() == [{"kind": "role", "worker": "w1", "count": 3}]
    assert first.heard(m.Refused)[0].exit_code == 77
    assert [member.name for member in bench.master.members] == ["w2"]


def test_nobody_may_anything_unless_the_loop_says_who_it_is() -> None:
    bench, first, _ = started()
    for message in (LOOK, order("stop")):
        for sender in (b"stranger", first.sender):
            (answer,) = of(bench.say(sender, message), sender)
            assert isinstance(answer, m.Refused)
            assert answer.exit_code == 77


@pytest.mark.parametrize("message", [m.Look(m.PROTOCOL + 1), m.Order(m.PROTOCOL + 1, 0, "stop")])
def test_a_command_of_another_version_is_refused_with_76(message):
    bench, _, _ = started()
    refused = refusal(bench, message)
    assert refused.exit_code == 76
    assert f"speaks protocol {m.PROTOCOL}, this command {m.PROTOCOL + 1}" in refused.reason
    assert not bench.master.is_ending


@pytest.mark.parametrize("by", [READER, WORKER])
def test_who_looks_with_another_job_file_is_told_so_before_its_role(by):
    bench, _, _ = started()
    code = bench.master.job.code
    refused = refusal(bench, m.Look(m.PROTOCOL, "0" * 64), by)
    assert refused.exit_code == 76
    assert f"this command was given another job: its file has SHA-256 {'0' * 12}, the" in refused.reason
    (answer,) = ask(bench, m.Look(m.PROTOCOL, code), by)
    assert isinstance(answer, m.Seen) == (by is READER), "with the master's own it is as without"


# -- what an answer must be ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"run": 1}, "run of a status is str, not int"),
        ({"more": 1}, "a status has the fields"),
        ({"state": "fine"}, "the state of a run is one of"),
        ({"workers": [1]}, "the status of a worker has the fields"),
        ({"servers": [1]}, "are addresses"),
        ({"metrics": {"loss": "1"}}, "are numbers by name"),
    ],
)
def test_a_status_that_is_none_is_refused_by_name(change, told):
    bench, _, _ = started()
    status = look(bench) | change
    with pytest.raises(PeerError, match=told):
        checked(status)
    with pytest.raises(PeerError, match="a status has the fields"):
        checked(None)
