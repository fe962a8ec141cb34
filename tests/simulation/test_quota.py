"""The master machine where workers are not trusted to be right: nobody fills a round with its own units."""

import collections
import random

import pytest

from paramserver.accounting import AVERAGED
from paramserver.quota import Quota
from paramserver.settings import Settings
from ps_common import messages as m
from ps_common import rules
from ps_common.plan import Plan
from simulation.bench import Bench, Hand
from simulation.cluster import Cluster
from simulation.faults import Faults, random_pace, random_weather
from simulation.jobs import counting_case

PLAN = Plan(shards=5, batch_size=5, rule=rules.Median(2))  # of 3 workers each makes 2 units of a round


def begun(**settings: object) -> tuple[Bench, list[Hand]]:
    """Three workers, each with a unit of the first round in hand."""
    case = counting_case(PLAN, 3, 25)
    bench = Bench(case, workers_min=3, workers_at_start=3, **settings)
    hands = [bench.hand(f"w{i}") for i in range(3)]
    (first,) = [hand for hand in hands if hand.heard(m.Lease)]
    first.settle()
    assert [hand.lease.kind for hand in hands] == ["train"] * 3
    return bench, hands


def units_of(bench: Bench, hand: Hand) -> list[int]:
    return [lease.shard for lease in hand.heard(m.Lease) if lease.kind == "train"]


def a_fast_worker_makes_no_more_than_its_part(bench: Bench, hands: list[Hand]) -> None:
    fast, *others = hands
    while bench.master.members.get(fast.sender).lease:
        fast.settle()
    assert len(units_of(bench, fast)) == 2, "it has filled the round"
    for hand in others:
        while not bench.master.is_over and bench.master.members.get(hand.sender).lease:
            hand.settle()
    assert bench.master.is_over
    assert bench.master.progress.version == 1


def test_a_fast_worker_makes_no_more_than_its_part_of_a_round() -> None:
    a_fast_worker_makes_no_more_than_its_part(*begun())


def without_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken: any worker may take any unit."""
    monkeypatch.setattr(Quota, "allows", lambda self, member, shard: True)
    monkeypatch.setattr(Quota, "is_used_up", lambda self, member: False)


def test_without_the_limit_it_fills_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_limit(monkeypatch)
    with pytest.raises(AssertionError, match="it has filled the round"):
        a_fast_worker_makes_no_more_than_its_part(*begun())


def test_what_nobody_may_take_waits_for_another_worker_and_the_run_says_so() -> None:
    bench, hands = begun()
    *honest, bad = hands
    for hand in honest:
        hand.settle()
        hand.settle()
    for _ in range(bench.settings.attempts_max):
        assert bench.master.members.get(bad.sender).lease, "nobody else may take it, so it tries again"
        bad.say(m.Failed(bad.lease.lease, "it is broken", "", "", 1))
        bad.say(m.Ready(-1))
    assert not bench.master.members.get(bad.sender).lease
    bench_wait(bench, hands, 1.0)
    told = bench.notes("waiting")[-1].text
    assert told == (
        "waiting for workers: 3 of 4 workers here; each of those has made its part of this round (2), "
        "and something is left"
    )
    assert not bench.master.is_over
    other = bench.hand("w3")
    other.settle()
    assert bench.master.progress.version == 1


def test_nobody_comes_and_the_run_gives_up() -> None:
    bench, hands = begun(wait_timeout_s=20.0)
    *honest, bad = hands
    for hand in honest:
        hand.settle()
        hand.settle()
    for _ in range(bench.settings.attempts_max):
        bad.say(m.Failed(bad.lease.lease, "it is broken", "", "", 1))
        bad.say(m.Ready(-1))
    bench_wait(bench, hands, 25.0)
    assert bench.master.is_over
    assert bench.master.snapshot() is not None
    stops = bad.heard(m.Stop)
    assert (stops[-1].exit_code, stops[-1].reason) == (
        75, "3 of 4 workers were here after 20 s; start more and try again"
    )  # fmt: skip


def bench_wait(bench: Bench, hands: list[Hand], seconds: float) -> None:
    """Let time pass in which all workers are alive."""
    for _ in range(round(2 * seconds)):
        for hand in hands:
            if not bench.master.is_over:
                hand.say(m.Heartbeat(0, 0))
        bench.wait(0.5)


def test_the_run_says_what_its_rule_takes_and_ends_where_there_is_less_memory() -> None:
    bench, _ = begun(memory_bytes=1000)
    (note,) = bench.notes("rule")
    assert note.text == (
        "the rule median withstands 2 faulty contributions of 5 in a round, that is 1 of at least 3 workers, "
        "each of which makes at most 2; all are held until the last is in: 0.0 MB"
    )
    bench = Bench(counting_case(PLAN, 3, 25), memory_bytes=999, workers_min=3)
    hands = [bench.hand(f"w{i}") for i in range(3)]
    next(hand for hand in hands if hand.heard(m.Lease)).settle()
    (stop,) = hands[0].heard(m.Stop)
    assert (stop.exit_code, "median holds all 5 contributions of a round, 0.0 MB" in stop.reason) == (2, True)


def test_of_a_unit_that_came_back_with_nothing_another_may_be_taken() -> None:
    bench, hands = begun()
    first = hands[0]
    given = first.lease
    first.say(m.Failed(given.lease, "it is broken", "", "", 1))
    first.say(m.Ready(-1))
    assert first.lease.shard != given.shard
    first.settle()
    first.settle()
    assert len(set(units_of(bench, first))) == 3


def no_worker_brings_more_than_its_part(seed: int) -> None:
    rng = random.Random(seed)
    plan = Plan(shards=6, batch_size=2, local_steps=2, epochs=2, rule=rules.TrimmedMean(2))
    settings = Settings(
        workers_min=3, wait_timeout_s=1e4, keeps_ledger=True, chunk_bytes=64, checkpoint_every_rounds=1,
        lease_timeout_s=5.0, race_after_s=0.5,
    )  # fmt: skip
    cluster = Cluster(
        seed, counting_case(plan, seed, 48), settings, is_shared=seed % 2 == 1, servers=1 + seed // 2 % 2
    )
    cluster.network.weather = random_weather(cluster)
    Faults(cluster, calm_after_s=20.0, every_s=rng.uniform(0.5, 2.0))
    cluster.start_master()
    for _ in range(6):
        cluster.start_worker(random_pace(cluster))
    cluster.run_until(lambda: cluster.finished is not None)
    assert cluster.finished is not None
    assert cluster.finished.exit_code == 0
    rounds = [averaged for master in cluster.masters for averaged in master.averaged]
    assert rounds
    for averaged in rounds:
        by_worker = collections.Counter(u.incarnation for u in averaged.units if u.verdict == AVERAGED)
        assert max(by_worker.values()) <= 2, f"version {averaged.version}: {by_worker}"


@pytest.mark.parametrize("seed", range(8))
def test_under_random_faults_no_worker_brings_more_than_its_part_of_a_round(seed: int) -> None:
    no_worker_brings_more_than_its_part(seed)


def test_without_the_limit_under_random_faults_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_limit(monkeypatch)

    def all_seeds() -> None:
        for seed in range(8):
            no_worker_brings_more_than_its_part(seed)

    with pytest.raises(AssertionError, match="version"):
        all_seeds()
