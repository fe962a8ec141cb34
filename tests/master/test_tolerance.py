"""What a robust rule withstands, with the numbers: refused before anyone waits for workers."""

import pytest

from paramserver import tolerance
from paramserver.settings import Settings
from ps_common import rules
from ps_common.errors import UsageError
from ps_common.plan import Plan
from simulation.jobs import counting_case


def job(rule: rules.Rule, shards: int | tuple[int, ...] = 8, samples: int = 80):
    plan = Plan(shards=shards, batch_size=5, rule=rule)
    return counting_case(plan, 1, sum(shards) if isinstance(shards, tuple) else samples).description


@pytest.mark.parametrize(
    ("rule", "least"),
    [
        (rules.Median(1), 3), (rules.Median(3), 7), (rules.TrimmedMean(1), 3), (rules.TrimmedMean(4), 9),
        (rules.Krum(1), 5), (rules.Krum(2), 7), (rules.MultiKrum(1, 2), 5), (rules.MultiKrum(1, 6), 9),
        (rules.ClippedMean(), 3), (rules.ClippedMean(1.0, 2), 5),
    ],
)  # fmt: skip
def test_a_plan_with_too_few_shards_for_its_rule_is_refused_with_the_numbers(rule, least):
    assert rule.least == least
    assert Plan(shards=least, rule=rule).rule == rule
    told = (
        f"the rule {rule.name} withstands {rule.faulty} faulty contributions? of {least} or more, and a round"
    )
    with pytest.raises(UsageError, match=f"{told} has {least - 1}: take more shards"):
        Plan(shards=least - 1, rule=rule)


def test_a_last_round_with_too_few_shards_is_refused():
    tolerance.check(job(rules.Krum(1), (10, 10, 10, 10, 10)), Settings(trusts_workers=True), 1)
    with pytest.raises(UsageError, match=r"krum withstands 1 faulty .* of 5 or more, .* last round .* has 4"):
        tolerance.check(job(rules.Krum(1), (10, 10, 5, 10, 10)), Settings(trusts_workers=True), 1)


def test_a_robust_rule_and_a_watch_over_the_mean_are_not_both_taken():
    for rule in (rules.Median(1), rules.ClippedMean()):
        given = Settings(trusts_workers=True, rejects_outliers=True)
        with pytest.raises(UsageError, match="--reject-outliers watches over a mean"):
            tolerance.check(job(rule), given, 1)
        tolerance.check(job(rules.Mean()), given, 1)


@pytest.mark.parametrize(
    ("faulty", "workers", "units", "withstood"),
    [(1, 8, 1, 1), (2, 4, 2, 1), (2, 7, 2, 1), (3, 8, 1, 3), (3, 3, 3, 1), (3, 6, 2, 1)],
)
def test_a_worker_may_make_its_part_of_a_round_and_so_many_workers_are_withstood(
    faulty, workers, units, withstood
):
    given, settings = job(rules.Median(faulty)), Settings(workers_min=workers)
    tolerance.check(given, settings, 1)
    assert tolerance.units_max(given, settings) == units
    assert tolerance.faulty_workers(given, settings) == withstood
    told = tolerance.told(given, settings, 1_000_000)
    assert f"the rule {given.plan.rule.promise} of 8 in a round, that is {withstood} of at least " in told
    assert f"of at least {workers} workers, each of which makes at most {units}; " in told
    assert "8.0 MB" in told


@pytest.mark.parametrize(("faulty", "workers", "units", "enough"), [(1, 7, 2, 8), (2, 3, 3, 4), (1, 1, 8, 8)])
def test_where_one_worker_could_make_more_than_is_withstood_the_run_does_not_begin(
    faulty, workers, units, enough
):
    told = f"with --workers {workers} one worker makes up to {units} of them: take --workers {enough} or more"
    with pytest.raises(UsageError, match=told):
        tolerance.check(job(rules.TrimmedMean(faulty)), Settings(workers_min=workers), 1)


def test_workers_that_are_trusted_make_any_number():
    given, settings = job(rules.Krum(1)), Settings(trusts_workers=True)
    tolerance.check(given, settings, 1)
    assert tolerance.units_max(given, settings) is None
    assert tolerance.told(given, settings, 1000).endswith(
        "a round; all are held until the last is in: 0.0 MB"
    )


def test_the_mean_withstands_nothing_and_asks_for_nothing():
    given = job(rules.Mean(), 1)
    tolerance.check(given, Settings(), 4)
    assert tolerance.units_max(given, Settings()) is None
    assert tolerance.faulty_workers(given, Settings()) == 0
    assert tolerance.check_memory(given, Settings(memory_bytes=1), 10**12) == ""


@pytest.mark.parametrize("rule", [rules.Krum(), rules.MultiKrum(), rules.ClippedMean()])
def test_a_rule_of_whole_vectors_is_refused_with_several_servers(rule):
    with pytest.raises(UsageError, match=f"{rule.name} holds whole vectors .* take --servers 1, or the rule"):
        tolerance.check(job(rule), Settings(trusts_workers=True), 2)


def test_a_round_that_does_not_fit_into_memory_is_refused_with_the_numbers():
    given = job(rules.Median())
    assert tolerance.check_memory(given, Settings(memory_bytes=8_000_000), 1_000_000) == ""
    assert tolerance.check_memory(given, Settings(), 10**15) == "", "not known"
    why = tolerance.check_memory(given, Settings(memory_bytes=7_900_000), 1_000_000)
    assert why == (
        "the rule median holds all 8 contributions of a round, 8.0 MB, and this machine has 7.9 MB left: "
        "take fewer shards"
    )
