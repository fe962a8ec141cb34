"""Rules of averaging as words of a plan: their bounds, their plain form, and settings replaced from text."""

import dataclasses

import pytest

from ps_common import rules
from ps_common.errors import PeerError, UsageError
from ps_common.job import Description
from ps_common.plan import Plan, overridden
from ps_common.vocabulary import from_plain, to_plain
from support_jobs import description

ALL = [
    rules.Mean(), rules.Median(2), rules.TrimmedMean(2), rules.Krum(2), rules.MultiKrum(1, 3),
    rules.ClippedMean(), rules.ClippedMean(0.5, 2),
]  # fmt: skip


def with_rule(rule, shards=9):
    made = description(n=45, shards=shards)
    return dataclasses.replace(made, plan=dataclasses.replace(made.plan, rule=rule))


@pytest.mark.parametrize("rule", ALL, ids=str)
def test_a_rule_comes_back_from_its_plain_form_equal(rule):
    assert from_plain(to_plain(rule)) == rule
    made = with_rule(rule)
    again = Description.from_plain(made.to_plain())
    assert again == made
    assert again.digest == made.digest


def test_a_job_that_is_averaged_by_the_mean_has_the_form_and_digest_of_before_there_were_rules():
    made = with_rule(rules.Mean())
    assert "rule" not in made.to_plain()["plan"]
    assert Description.from_plain(made.to_plain()).plan.rule == rules.Mean()


def test_the_rule_is_of_what_a_unit_becomes_so_of_the_digest():
    assert len({with_rule(rule).digest for rule in ALL}) == len(ALL)


@pytest.mark.parametrize("kind", [rules.Median, rules.TrimmedMean, rules.Krum, rules.MultiKrum])
@pytest.mark.parametrize("faulty", [0, -1, 1.0, "1", None, True, 2**20 + 1])
def test_who_is_faulty_is_counted(kind, faulty):
    with pytest.raises(UsageError, match=r"faulty must be 1 to 1048576 contributions, not .*take rules.Mean"):
        kind(faulty=faulty)


@pytest.mark.parametrize("norm", [0, -1.0, float("inf"), float("nan"), "1", True])
def test_a_norm_is_a_positive_number_or_none(norm):
    with pytest.raises(UsageError, match=r"clipped-mean: norm must be more than 0, or None"):
        rules.ClippedMean(norm)


@pytest.mark.parametrize("chosen", [0, 1.5, None])
def test_how_many_are_chosen_is_counted(chosen):
    with pytest.raises(UsageError, match="multi-krum: chosen must be 1 to"):
        rules.MultiKrum(1, chosen)


@pytest.mark.parametrize("rule", ["krum", None, rules.Krum, 1])
def test_a_plans_rule_is_a_rule(rule):
    with pytest.raises(UsageError, match=r"the plan's rule must be one of paramserver.rules, not"):
        Plan(shards=9, rule=rule)


@pytest.mark.parametrize("rule", ALL[1:], ids=str)
def test_a_robust_rule_and_a_quorum_do_not_go_together(rule):
    assert Plan(shards=9, quorum=0.5).quorum == 0.5
    with pytest.raises(UsageError, match=f"rule {rule.name} goes with a quorum of 1, not 0.5: it withstands"):
        Plan(shards=9, rule=rule, quorum=0.5)


def test_a_plan_from_elsewhere_has_a_rule_or_is_refused():
    for bad in ({"kind": "ReLU"}, "krum", {"kind": "Krum", "faulty": 5}):
        with pytest.raises(PeerError, match="Plan cannot be built"):
            from_plain({**to_plain(Plan(shards=9)), "rule": bad})


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"rule": "trimmed-mean"}, rules.TrimmedMean(1)),
        ({"rule": "mean"}, rules.Mean()),
        ({"rule.faulty": "3"}, rules.Krum(3)),
        ({"rule": "multi-krum", "rule.faulty": "2", "rule.chosen": "4"}, rules.MultiKrum(2, 4)),
        ({"rule.norm": "0.25", "rule": "clipped-mean"}, rules.ClippedMean(0.25)),
    ],
)
def test_a_rule_and_its_fields_are_replaced_from_text(changes, rule):
    assert overridden(Plan(shards=9, rule=rules.Krum(1)), changes).rule == rule


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rule": "trimed-mean"}, "there is no rule called 'trimed-mean'; did you mean 'trimmed-mean'?"),
        ({"rule.norm": "1"}, "--set norm=1: Krum has no norm"),
        ({"rule.faulty": "x"}, "faulty must be int"),
        ({"rule.faulty": "4"}, "krum withstands 4 faulty contributions of 11 or more, and a round has 9"),
        ({"epochs.x": "1"}, "--set epochs leaves no epochs.x to set"),
    ],
)
def test_text_that_makes_no_rule_is_refused(changes, told):
    with pytest.raises(UsageError) as caught:
        overridden(Plan(shards=9, rule=rules.Krum(1)), changes)
    assert told in str(caught.value)
