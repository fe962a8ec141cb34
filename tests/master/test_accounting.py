"""Rounds held against the schedule: each unit once, and whatever is otherwise is named."""

import dataclasses
import re

import pytest

from paramserver.accounting import AVERAGED, LEFT_OUT, Account, AccountError, refusal_in, refused
from paramserver.effects import Averaged
from ps_common.errors import NotFinite, PeerError
from ps_common.loop_job import LoopJob
from ps_common.plan import Plan
from support_ledgers import SCHEDULE, averaged, snapshot

UNITS = 8  # an epoch: 3 + 3 + 2


def account_of(*rounds):
    account = Account(SCHEDULE)
    for one in rounds:
        account.take(one)
    return account


def changed(version, at, /, **changes):
    """A round with something else about the unit of a shard."""
    one = averaged(version)
    units = [dataclasses.replace(u, **changes) if u.shard == at else u for u in one.units]
    return dataclasses.replace(one, units=tuple(units))


def without(version, shard):
    one = averaged(version)
    return dataclasses.replace(one, units=tuple(u for u in one.units if u.shard != shard))


def with_more(version, *units):
    one = averaged(version)
    return dataclasses.replace(one, units=(*one.units, *units))


def unit(round_, shard, **changes):
    found = next(u for u in averaged(round_ + 1).units if u.shard == shard)
    return dataclasses.replace(found, **changes)


@pytest.mark.parametrize("version", range(10))
def test_an_undisturbed_run_adds_up_at_every_version(version):
    account = account_of(*map(averaged, range(1, version + 1)))
    at = snapshot(version)
    account.close(version, at.samples, len(at.history))
    assert account.units == UNITS * (version // 3) + 3 * (version % 3)


def test_a_verdict_on_what_was_refused_says_kind_and_reason():
    assert refusal_in(refused(NotFinite("w: 3 values are NaN"))) == ("not-finite", "w: 3 values are NaN")
    assert refusal_in(refused(PeerError("x" * 1000))) == ("message", "x" * 200)
    assert refusal_in("refused: its layout: another") == ("message", "its layout: another")
    assert [refusal_in(verdict) for verdict in (AVERAGED, LEFT_OUT, "")] == [None] * 3


REFUSED = {"digest": "", "verdict": "refused: its layout is another"}
WRONG = {
    "a round is missing": ([averaged(2)], "version 2 comes after version 0: 1 to 1 are missing"),
    "a round comes twice": ([averaged(1), averaged(1)], "version 1 comes after version 1: repeats"),
    "a round averages nothing": ([Averaged(1, ())], "version 1 averages nothing"),
    "a unit comes twice in a round": (
        [with_more(1, unit(0, 1))],
        "version 1 averages unit (round 0, shard 1) again: it was averaged in version 1",
    ),
    "a unit comes again in a later round": (
        [averaged(1), with_more(2, unit(0, 1))],
        "version 2 averages unit (round 0, shard 1) again: it was averaged in version 1",
    ),
    "a unit comes again in a later epoch": (
        [*map(averaged, range(1, 4)), with_more(4, unit(1, 1))],
        "version 4 averages unit (round 1, shard 1) again: it was averaged in an epoch that was complete",
    ),
    "a unit is missing when the next epoch begins": (
        [averaged(1), without(2, 2), averaged(3), averaged(4)],
        "version 4 averages unit (round 3, shard 0) of epoch 2: unit (round 1, shard 2) of epoch 1 was not",
    ),
    "two units of one shard": (
        [averaged(1), with_more(2, unit(2, 0))],
        "version 2 averages two units of shard 0",
    ),
    "a later unit comes first": (
        [without(1, 2), changed(2, 2, round=2), with_more(3)],
        "version 3 averages unit (round 2, shard 2) again",
    ),
    "an earlier unit comes after a later one": (
        [without(1, 2), averaged(2), changed(3, 2, round=0)],
        "version 3 averages unit (round 0, shard 2) after its unit of round 1",
    ),
    "a shard that there is not": ([changed(1, 1, shard=3)], "(round 0, shard 3), and the schedule has no"),
    "a unit that there is not": ([changed(1, 1, round=2)], "(round 2, shard 1), and the schedule has no"),
    "other samples": (
        [changed(1, 1, samples=5)],
        "version 1: unit (round 0, shard 1) has 5 samples, the schedule says 4",
    ),
    "no digest": ([changed(1, 1, digest="")], "version 1: unit (round 0, shard 1) has no digest"),
    "a unit that does not count beside none": ([Averaged(1, (unit(0, 0, **REFUSED),))], "averages nothing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_add_up_is_named(name):
    rounds, told = WRONG[name]
    account = account_of(*rounds[:-1])
    with pytest.raises(AccountError, match=re.escape(told)):
        account.take(rounds[-1])


@pytest.mark.parametrize("shard", range(3))
def test_a_unit_missing_from_the_last_round_is_seen_at_the_end(shard):
    account = account_of(averaged(1), without(2, shard))
    with pytest.raises(AccountError, match=rf"unit \(round 1, shard {shard}\) of epoch 1 was not averaged"):
        account.close(2, snapshot(2).samples, 0)


@pytest.mark.parametrize(
    ("version", "samples", "epochs", "told"),
    [
        (5, 0, 1, "the ledger has 4 rounds, the checkpoint 5"),
        (4, 1, 1, "the ledger has 41 samples, the checkpoint 42"),
        (4, 0, 2, "the ledger has 1 complete epochs, the checkpoint 2"),
    ],
)
def test_a_checkpoint_that_says_otherwise_is_named(version, samples, epochs, told):
    account = account_of(*map(averaged, range(1, 5)))
    with pytest.raises(AccountError, match=told):
        account.close(version, snapshot(4).samples + samples, epochs)


def test_what_was_refused_or_came_from_nobody_does_not_count():
    account = account_of(averaged(1), with_more(2, unit(1, 0, **REFUSED), unit(1, 1, samples=0, **REFUSED)))
    account.close(2, snapshot(2).samples, 0)


def test_a_unit_that_was_left_out_is_averaged_later_in_its_epoch():
    left = changed(2, 1, digest="", verdict="left out")
    account = account_of(averaged(1), left)
    account.close(2, snapshot(2).samples - 3, 0)  # it is still to come
    account.take(with_more(3, unit(1, 1)))
    account.close(3, snapshot(3).samples, 1)


def behind(version, shard, round_, verdict=AVERAGED):
    """A round in which a shard is at an earlier unit than the others."""
    digest = unit(round_, shard).digest if verdict == AVERAGED else ""
    late = unit(round_, shard, digest=digest, verdict=verdict)
    return Averaged(version, (*without(version, shard).units, late))


def test_a_shard_that_is_behind_since_a_unit_was_left_out_adds_up_at_every_version():
    rounds = [behind(1, 0, 0, LEFT_OUT), behind(2, 0, 0), behind(3, 0, 1, LEFT_OUT)]
    rounds += [Averaged(version, (unit(round_, 0),)) for version, round_ in ((4, 1), (5, 2))]
    account, samples = Account(SCHEDULE), 0
    for one in rounds:
        account.take(one)
        samples += sum(unit.samples for unit in one.units if unit.verdict == AVERAGED)
        account.close(one.version, samples, int(one.version == 5))


def test_a_shard_that_is_further_behind_than_units_of_it_were_left_out_is_missed():
    account = account_of(behind(1, 0, 0, LEFT_OUT), behind(2, 0, 0), without(3, 0))
    with pytest.raises(AccountError, match=r"\(round 1, shard 0\) of epoch 1 was not averaged"):
        account.close(3, account.samples, 0)


def test_a_unit_that_was_left_out_for_good_is_missed():
    left = changed(2, 1, digest="", verdict="left out")
    account = account_of(averaged(1), left, averaged(3))
    with pytest.raises(AccountError, match=r"\(round 1, shard 1\) of epoch 1 was not averaged"):
        account.take(averaged(4))


def test_where_each_contribution_says_its_samples_they_are_added_up():
    account = Account(SCHEDULE, has_open_samples=True)
    account.take(changed(1, 0, samples=500))
    others = sum(unit.samples for unit in averaged(1).units if unit.shard != 0)
    assert account.samples == 500 + others
    with pytest.raises(AccountError, match="has 0 samples"):
        account.take(changed(2, 0, samples=0))


def test_an_epoch_of_very_many_rounds_is_not_gone_through_one_by_one():
    schedule = LoopJob(plan=Plan(shards=3), rounds=2**31).describe().schedule
    Account(schedule, has_open_samples=True).close(0, 0, 0)
