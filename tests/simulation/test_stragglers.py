"""Slow workers: raced by spare ones, named, and left the units that nobody waits for."""

import dataclasses
from collections.abc import Callable, Iterator

import pytest

from paramserver.leases import Stage
from paramserver.machine import Master
from paramserver.members import Member, Members
from paramserver.settings import Settings
from paramserver.simulation.computing import Pace
from ps_common import messages as m
from ps_common.memory import Heap
from ps_common.plan import Plan
from simulation.bench import Bench, Hand
from simulation.cluster import Cluster
from simulation.counting import check_counts
from simulation.jobs import counting_case
from simulation.naive import naive_run

FAST, SLOW = Pace(0.1, 0.02), Pace(0.1, 0.2)
SETTINGS = Settings(checkpoint_every_rounds=10)
ROUNDS = 60


def run(paces: list[Pace], make_master: Callable[..., Master] = Master, is_shared: bool = False) -> Cluster:
    """Four shards, four steps a unit."""
    case = counting_case(Plan(shards=4, batch_size=2, local_steps=4, epochs=2), 7, 16 * ROUNDS)
    settings = dataclasses.replace(SETTINGS, workers_at_start=len(paces))
    cluster = Cluster(5, case, settings, make_master=make_master, is_shared=is_shared)
    cluster.start_master()
    for pace in paces:
        cluster.start_worker(pace)
    cluster.run()
    oracle = naive_run(case.description, case.make_replica(case.description, Heap()), case.sources)
    assert bytes(cluster.final) == bytes(oracle)
    check_counts(cluster.final.view("float64"), 2)
    return cluster


def seconds_of(cluster: Cluster) -> float:
    """Virtual seconds from the first unit to the end."""
    (master,) = cluster.masters
    assert master.machine.started_at is not None
    return master.now - master.machine.started_at


@pytest.mark.parametrize("is_shared", [False, True])
def test_one_of_four_at_a_tenth_of_the_speed_leaves_nine_tenths_of_the_rate(is_shared: bool) -> None:
    """Of the rate of the fast ones by themselves."""
    with_slow = run([FAST, FAST, SLOW, FAST], is_shared=is_shared)
    assert seconds_of(run([FAST] * 3, is_shared=is_shared)) >= 0.9 * seconds_of(with_slow)


class NoRaces(Master):
    """Broken: nobody takes a unit that somebody has."""

    def _race(self, stage: Stage, now: float) -> None:
        pass


def test_without_races_the_slow_one_sets_the_pace() -> None:
    with_slow = run([FAST, FAST, SLOW, FAST], NoRaces)
    assert seconds_of(run([FAST] * 3)) < 0.5 * seconds_of(with_slow)


def test_the_slow_one_is_named() -> None:
    cluster = run([FAST, FAST, SLOW, FAST])
    (master,) = cluster.masters
    (slow,) = [node.machine.name for node in cluster.left if node.computing.pace == SLOW]
    texts = [note.text for note in master.notes if note.event == "slow"]
    assert texts
    assert all(text.startswith(f"{slow} (host) is slow: ") for text in texts)
    assert len(texts) <= ROUNDS.bit_length(), "not once a round"
    records = {record["name"]: record for record in master.machine.members.records()}
    assert records[slow]["units_outrun"] > 0
    assert all(not record["units_outrun"] for name, record in records.items() if name != slow)


# -- one race, message by message ---------------------------------------------------------------------------


def raced() -> tuple[Bench, Hand, Hand, m.Lease, m.Lease]:
    """Two workers; the second has done its unit, and has been given that of the first, too."""
    bench = Bench(workers_at_start=2, race_after_s=0.5, liveness_timeout_s=100.0)
    first, second = bench.hand("w1"), bench.hand("w2")
    first.settle()
    slow = first.lease
    bench.now += 1.0
    second.settle()
    second.say(m.Ready(0))
    assert second.lease.shard != slow.shard, "it is not late yet"
    bench.wait(1.0)
    assert (second.lease.shard, second.lease.round) == (slow.shard, slow.round)
    return bench, first, second, slow, second.lease


def test_the_first_who_brings_a_raced_unit_is_counted_and_the_other_is_told() -> None:
    bench, first, second, slow, _ = raced()
    second.settle()
    assert bench.master.progress.version == 1
    assert first.heard(m.Accepted)[-1] == m.Accepted(slow.lease, False, "another worker was faster")
    first.say(first.push(slow))
    assert [note.text for note in bench.notes("rejection")] == []


def test_the_one_that_was_late_may_win_all_the_same() -> None:
    bench, first, second, slow, race = raced()
    first.settle(slow)
    assert bench.master.progress.version == 1
    assert second.heard(m.Accepted)[-1] == m.Accepted(race.lease, False, "another worker was faster")


def test_a_unit_is_raced_by_one_at_a_time_and_open_again_when_both_are_gone() -> None:
    bench, first, second, slow, _ = raced()
    third = bench.hand("w3")
    bench.wait(1.0)
    assert not third.heard(m.Lease)
    first.say(m.Leave("bye"))
    assert not third.heard(m.Lease), "the second still has it"
    second.say(m.Leave("bye"))
    assert (third.lease.shard, third.lease.round) == (slow.shard, slow.round)
    third.settle()
    assert bench.master.progress.version == 1


def test_who_began_to_send_a_raced_unit_hands_it_over_to_the_one_who_comes_later() -> None:
    """One whose connection is slow: what it has sent stays, and the other sends the rest."""
    bench = Bench(workers_at_start=2, race_after_s=0.5, liveness_timeout_s=100.0)
    first, second = bench.hand("w1"), bench.hand("w2")
    first.settle()
    slow = first.lease
    bench.now += 0.2
    second.settle()
    first.say(first.push(slow))
    first.say(*first.chunk(slow, 0))
    bench.wait(2.0)
    second.say(m.Ready(0))
    bench.wait(1.0)
    race = second.lease
    assert race.shard == slow.shard
    second.settle()
    assert bench.master.progress.version == 1
    assert not bench.notes("rejection")


def test_local_optimizer_state_is_not_raced() -> None:
    """The unit would not be the same for both."""
    plan = Plan(shards=2, batch_size=5, optimizer_state="local")
    bench = Bench(counting_case(plan, 3, 20), workers_at_start=2, race_after_s=0.5, liveness_timeout_s=100.0)
    first, second = bench.hand("w1"), bench.hand("w2")
    first.settle()
    second.settle()
    leased = len(second.heard(m.Lease))
    bench.wait(5.0)
    assert len(second.heard(m.Lease)) == leased


def test_of_many_slow_units_each_is_raced_by_another_after_one_look_at_the_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not after one for each of the units, or a master of thousands would do nothing else."""
    count = 40
    bench = Bench(
        counting_case(Plan(shards=count, batch_size=1), 3, 2 * count),
        workers_at_start=count, race_after_s=0.5, liveness_timeout_s=100.0, held_bytes=2**20,
    )  # fmt: skip
    hands = [bench.hand(f"w{number}") for number in range(count)]
    next(hand for hand in hands if hand.heard(m.Lease)).settle()
    leases = {hand: hand.lease for hand in hands}
    for hand in hands[count // 2 :]:
        hand.settle()
        hand.say(m.Ready(0))
    asked: list[Member] = []
    honest = Master._has_place_for

    def has_place_for(master: Master, member: Member) -> bool:
        asked.append(member)
        return honest(master, member)

    monkeypatch.setattr(Master, "_has_place_for", has_place_for)
    bench.wait(1.0)
    raced = [hand.lease.shard for hand in hands[count // 2 :]]
    assert sorted(raced) == sorted(leases[hand].shard for hand in hands[: count // 2])
    assert len(asked) <= 2 * count


def test_of_many_who_sit_out_all_are_looked_at_once_and_not_once_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who was outrun of late leaves the units to the others; there may be thousands of them."""
    count = 40
    bench = Bench(
        counting_case(Plan(shards=count, batch_size=1), 3, 2 * count),
        workers_at_start=count, race_after_s=0.5, liveness_timeout_s=100.0, held_bytes=2**20,
    )  # fmt: skip
    hands = [bench.hand(f"w{number}") for number in range(count)]
    next(hand for hand in hands if hand.heard(m.Lease)).settle()
    members = bench.master.members
    for member in list(members)[::2]:
        member.sits_out_until = 1000
    looks = 0
    honest = Members.__iter__

    def counted(self: Members) -> Iterator[Member]:
        nonlocal looks
        looks += 1
        return honest(self)

    for hand in hands:
        hand.settle()
    assert bench.master.progress.version == 1
    monkeypatch.setattr(Members, "__iter__", counted)
    assert len(members.idle) == count // 2, "they wait"
    bench.say(hands[0].sender, m.Heartbeat(0, 0))
    assert looks <= 2


def test_what_is_still_open_is_not_left_to_one_who_does_not_get_on() -> None:
    """A worker that hangs, and is alive: of two units that only it has the rows of, it has begun with one."""
    case = counting_case(Plan(shards=4, batch_size=2), 3, 16)
    bench = Bench(case, workers_at_start=2, race_after_s=0.5, liveness_timeout_s=100.0)
    first, second = bench.hand("w1"), bench.hand("w2")
    for hand in (first, first, second, first, second):  # the first has made the weights
        hand.settle()
    assert (bench.master.progress.version, first.lease.round) == (1, 1), "it hangs with this unit"
    began, done = bench.now, 0
    while bench.master.progress.version == 1 and bench.now < began + 10:
        if second.lease.lease != done:
            done = second.lease.lease
            second.settle()
        bench.wait(0.25)
    assert bench.master.progress.version == 2
