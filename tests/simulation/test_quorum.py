"""A round that is closed without its last units: they come later in the epoch, and the ledger says so."""

import dataclasses
from typing import Any

import pytest

from paramserver.accounting import AVERAGED, LEFT_OUT, Account, AccountError
from paramserver.effects import Averaged
from paramserver.settings import Settings
from paramserver.simulation.computing import Pace
from ps_common import messages as m
from ps_common.plan import Plan
from simulation.bench import Bench, Hand
from simulation.cluster import Cluster
from simulation.jobs import counting_case
from simulation.test_stragglers import FAST, SLOW

SETTINGS = Settings(
    workers_at_start=4, checkpoint_every_rounds=3, keeps_ledger=True, chunk_bytes=64, held_bytes=4096
)
PLAN = Plan(shards=(24, 24, 17, 24), batch_size=2, local_steps=2, epochs=3, quorum=0.7)


def run(paces: list[Pace], plan: Plan = PLAN, seed: int = 5, **more: Any) -> Cluster:
    case = counting_case(plan, 7, sum(plan.shards))
    cluster = Cluster(seed, case, SETTINGS, is_thorough=False, **more)
    cluster.start_master()
    for pace in paces:
        cluster.start_worker(pace)
    return cluster


def finished(cluster: Cluster) -> list[Averaged]:
    """Run to the end; what the last master says of every round, which must add up."""
    cluster.run()
    assert cluster.finished is not None
    assert (cluster.finished.exit_code, cluster.finished.reason) == (0, "finished")
    rounds = {one.version: one for master in cluster.masters for one in master.averaged}
    account, job = Account(cluster.case.description.schedule), cluster.case.description
    for version in sorted(rounds):
        account.take(rounds[version])
    account.close(len(rounds), job.plan.epochs * job.train.samples, job.plan.epochs)
    return [rounds[version] for version in sorted(rounds)]


def left_out(rounds: list[Averaged]) -> list[tuple[int, int]]:
    return [(u.round, u.shard) for one in rounds for u in one.units if u.verdict == LEFT_OUT]


@pytest.mark.parametrize(
    "more",
    [
        {"is_shared": False},
        {"is_shared": True},
        {"is_shared": False, "servers": 2},
        {"is_shared": True, "servers": 3, "elsewhere": [1]},
    ],
)
def test_what_is_left_out_is_averaged_later_in_the_epoch_and_every_unit_once(more: dict[str, Any]) -> None:
    cluster = run([FAST, FAST, SLOW, FAST], **more)
    rounds = finished(cluster)
    missed = left_out(rounds)
    assert missed
    made = [(u.round, u.shard) for one in rounds for u in one.units if u.verdict == AVERAGED]
    assert len(made) == len(set(made))
    assert set(missed) < set(made)
    (slow,) = [node.machine.name for node in cluster.left if node.computing.pace == SLOW]
    assert {u.worker for one in rounds for u in one.units if u.verdict == LEFT_OUT} == {slow}
    (master,) = cluster.masters
    notes = [note.text for note in master.notes if note.event == "left-out"]
    assert all(f" of {slow}, which comes later" in text for text in notes)


def test_the_account_adds_up_at_every_round_not_only_at_the_end() -> None:
    """A checkpoint may be of any round, also of one in which a shard is behind."""
    account = Account(counting_case(PLAN, 7, sum(PLAN.shards)).description.schedule)
    for one in finished(run([FAST, FAST, SLOW, FAST])):
        account.take(one)
        account.close(one.version, account.samples, account.epochs)


def test_a_quorum_of_all_leaves_nothing_out() -> None:
    assert not left_out(finished(run([FAST, FAST, SLOW, FAST], dataclasses.replace(PLAN, quorum=1.0))))


@pytest.mark.parametrize("more", [{}, {"servers": 2}, {"servers": 2, "elsewhere": [0, 1]}])
@pytest.mark.parametrize("seed", range(6))
def test_a_master_that_is_killed_goes_on_from_a_round_that_lacks_units(
    seed: int, more: dict[str, Any]
) -> None:
    cluster = run([FAST, FAST, SLOW, FAST], seed=seed, **more)
    for _ in range(4):
        versions = cluster.world.random.randint(1, 4)
        until = cluster.master.machine.progress.version + versions if cluster.master else 0
        cluster.run_until(
            lambda u=until: cluster.master is None or cluster.master.machine.progress.version >= u  # type: ignore[misc]
        )
        if cluster.master is None:
            break
        cluster.kill_master()
        if cluster.servers and cluster.world.chance(0.5):
            cluster.kill_server(next(iter(cluster.servers)))
            for index in cluster.elsewhere:
                if f"server-{index}".encode() not in cluster.servers:
                    cluster.start_server(f"server-{index}".encode())
        cluster.start_master()
    finished(cluster)


def test_a_server_that_dies_after_units_were_left_out_averages_the_rest_anew() -> None:
    cluster = run([FAST, FAST, SLOW, FAST], servers=2)
    for _ in range(3):
        known = sum(note.event == "left-out" for note in cluster.masters[0].notes)
        cluster.run_until(
            lambda k=known: sum(n.event == "left-out" for n in cluster.masters[0].notes) > k  # type: ignore[misc]
        )
        cluster.kill_server(cluster.own_servers[0])
    assert left_out(finished(cluster))


# -- message by message -----------------------------------------------------------------------------------


def late(quorum: float = 0.5, **more: Any) -> tuple[Bench, Hand, Hand, m.Lease]:
    """Two workers; the second has done its unit, and the first takes long."""
    plan = Plan(shards=2, batch_size=5, epochs=1, quorum=quorum)
    bench = Bench(
        counting_case(plan, 3, 20),
        workers_at_start=2, race_after_s=0.5, liveness_timeout_s=100.0, keeps_ledger=True, **more,
    )  # fmt: skip
    first, second = bench.hand("w1"), bench.hand("w2")
    first.settle()
    slow = first.lease
    bench.now += 0.2
    return bench, first, second, slow


def test_who_is_left_out_is_told_and_what_it_sends_later_changes_nothing() -> None:
    bench, first, second, slow = late()
    second.settle()
    bench.wait(1.0)
    assert bench.master.progress.version == 1
    assert first.heard(m.Accepted)[-1] == m.Accepted(slow.lease, False, "the round was closed without it")
    first.say(first.push(slow))
    assert (bench.master.progress.version, bench.notes("rejection")) == (1, [])
    (averaged,) = [effect for effect in bench.effects if isinstance(effect, Averaged)]
    assert [(u.shard, u.worker, u.verdict) for u in averaged.units] == [
        (1 - slow.shard, "w2", AVERAGED),
        (slow.shard, "w1", LEFT_OUT),
    ]


def test_what_has_begun_to_come_is_not_left_out() -> None:
    """Part of it may be in the sum already."""
    bench, first, second, slow = late()
    first.say(first.push(slow))
    first.say(*first.chunk(slow, 0))
    second.settle()
    bench.wait(2.0)
    assert bench.master.progress.version == 0
    assert not bench.notes("left-out")


@pytest.mark.parametrize("state", ["average", "local"])
def test_a_round_whose_others_all_wait_for_their_turn_is_closed_without_the_one_in_turn(state: str) -> None:
    """Nobody is idle: what has come before its turn fills the memory for it."""
    plan = Plan(shards=3, batch_size=5, epochs=1, quorum=0.6, optimizer_state=state)
    settings = {"held_bytes": 64, "workers_at_start": 3, "race_after_s": 0.5, "liveness_timeout_s": 100.0}
    bench = Bench(counting_case(plan, 3, 30), **settings)
    hands = [bench.hand(f"w{number}") for number in (1, 2, 3)]
    hands[0].settle()
    for hand in hands:
        hand.settle()
    assert bench.master.progress.version == 1
    slow, *others = sorted(hands, key=lambda hand: hand.lease.shard)
    granted = {hand: hand.say(hand.push(hand.lease)) for hand in others}
    answers = {hand: [i for g in granted[hand] for i in g.chunks] for hand in others}
    assert not bench.master.members.idle
    bench.wait(1.0)
    assert [note.fields["unit"] for note in bench.notes("left-out")] == [
        f"train round 1 shard {slow.lease.shard}"
    ]
    for hand, chunks in answers.items():
        for index in chunks:
            hand.say(*hand.chunk(hand.lease, index))
    assert bench.master.progress.version == 1


def test_below_its_quorum_a_round_waits() -> None:
    bench, _, second, slow = late(quorum=0.6)
    second.settle()
    bench.wait(2.0)
    assert bench.master.progress.version == 0
    assert second.lease.shard == slow.shard, "it is raced instead"


def test_a_round_without_a_unit_is_the_mean_of_the_others() -> None:
    """With samples as weights, and with what came in chunks before the turn of the one that is missing."""
    bench, _, second, slow = late()
    assert slow.shard == 0
    bench.master.exchange.round._factors = (3, 5)  # as if sizes differed
    expected = second.contribution(second.lease).vector.copy()
    second.settle()
    bench.wait(1.0)
    assert bytes(bench.master.canonical.vector) == bytes(expected)


def test_an_account_of_a_left_out_unit_that_never_comes_does_not_add_up() -> None:
    rounds = finished(run([FAST, FAST, SLOW, FAST]))
    (round_, shard), *_ = left_out(rounds)
    account = Account(counting_case(PLAN, 7, sum(PLAN.shards)).description.schedule)
    without = []
    for one in rounds:
        units = [u for u in one.units if (u.round, u.shard, u.verdict) != (round_, shard, AVERAGED)]
        without.append(dataclasses.replace(one, units=tuple(units)))
    with pytest.raises(AccountError, match=r"was not averaged|averages nothing"):
        list(map(account.take, without))
