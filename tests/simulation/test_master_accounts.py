"""What the master says for the ledger: of every round who did what, and of nothing else."""

import pytest

from paramserver.averaging import digests
from paramserver.effects import Averaged, Contribution
from ps_common import messages as m
from simulation.bench import Bench, Hand, two_shards
from simulation.cluster import through_a_file


def accounts(bench: Bench) -> list[Averaged]:
    return [effect for effect in bench.effects if isinstance(effect, Averaged)]


def digest_of(hand: Hand) -> str:
    """Of the contribution to the lease in hand."""
    lease = hand.lease
    chunks = range(len(hand.bench.master.canonical.spans))
    return digests.of_chunks(hand.chunk(lease, index)[0].checksum for index in chunks)


def two_hands(**settings: object) -> tuple[Bench, Hand, Hand]:
    """Weights are there, and each of two workers has a unit of the first round."""
    bench = Bench(workers_min=2, **settings)
    first, second = bench.hand("first"), bench.hand("second")
    next(hand for hand in (first, second) if hand.heard(m.Lease)).settle()
    return bench, first, second


def test_a_round_is_accounted_for_unit_by_unit_when_it_is_closed():
    bench, first, second = two_hands(keeps_ledger=True)
    assert accounts(bench) == [], "the first weights are of no round"
    wanted = []
    for hand in (first, second):
        lease = hand.lease
        wanted.append(
            Contribution(
                0, lease.shard, hand.sender.decode(), hand.sender.hex(), 5, digest_of(hand), "averaged"
            )
        )
    for hand in (second, first):
        hand.settle()
    assert accounts(bench) == [Averaged(1, tuple(sorted(wanted, key=lambda unit: unit.shard)))]


def test_a_contribution_that_was_refused_has_its_line_and_does_not_count():
    bench, first, second = two_hands(keeps_ledger=True)
    lease = first.lease
    first.say(first.push(lease, samples=4))
    assert second.lease.shard != lease.shard
    second.settle()
    max((first, second), key=lambda hand: hand.lease.lease).settle()  # whoever has it now
    (averaged,) = accounts(bench)
    assert [(unit.shard, unit.verdict) for unit in averaged.units[:2]] == [(0, "averaged"), (1, "averaged")]
    (refused,) = averaged.units[2:]
    assert (refused.shard, refused.worker, refused.samples, refused.digest) == (lease.shard, "first", 4, "")
    assert refused.verdict.startswith("refused: ")
    while bench.master.progress.version < 2:
        max((first, second), key=lambda hand: hand.lease.lease).settle()
    assert [unit.verdict for unit in accounts(bench)[1].units] == ["averaged", "averaged"]


def test_where_no_ledger_is_kept_nothing_is_said():
    bench, first, second = two_hands()
    for hand in (first, second):
        hand.settle()
    assert bench.master.progress.version == 1
    assert accounts(bench) == []


@pytest.mark.parametrize("until", [1, 2])
def test_a_run_stops_after_the_round_that_it_was_told_to_and_saves_that(until):
    bench = Bench(two_shards(epochs=2), until_round=until)
    hand = bench.hand("alone")
    while bench.master.progress.version < until:
        hand.settle()
    assert bench.master.is_over
    assert bench.saves[-1].version == until
    bench.wait(30.0)
    assert bench.finished is not None
    assert (bench.finished.exit_code, bench.finished.reason) == (0, f"stopped after round {until}")
    again = Bench(two_shards(epochs=2), through_a_file(bench.saves[-1]), until_round=1)
    again.wait(30.0)
    assert again.finished is not None, "it waits for nobody"
    assert again.finished.reason == f"stopped after round {until}"


def test_a_run_that_ends_before_the_round_it_was_to_stop_after_is_finished():
    bench = Bench(until_round=2)
    hand = bench.hand("alone")
    while not bench.master.is_over:
        hand.settle()
    bench.wait(30.0)
    assert bench.finished is not None
    assert bench.finished.reason == "finished"
