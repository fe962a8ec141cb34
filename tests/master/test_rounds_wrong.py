"""A round some of whose contributions are not finite: they are never added, and others take their place."""

import numpy as np
import pytest

from master.test_gathered import COUNT, RULES
from master.test_gathered import Case as Gathered
from paramserver.averaging import mean
from paramserver.averaging.mean import is_finite
from ps_common.errors import NotFinite
from ps_common.layout import Entry, Layout
from support_rounds import SMALL, Case

MIXED = Layout(
    [Entry("w", (200,)), Entry("m", (50,), "float16", "slot"), Entry("d", (30,), "float64", "slot")]
)
BAD = [np.nan, np.inf, -np.inf]


def spoil(case, vector, at=0.9, value=np.nan, layout=None):
    """One number of a copy of a vector is no number."""
    wrong = vector.copy()
    spans = case.spans
    part = spans[int(at * len(spans))].of(wrong)
    part[int(at * len(part))] = value
    return wrong


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", BAD)
def test_one_number_that_is_none_is_found_wherever_it_is(dtype, value):
    part = np.linspace(-3, 3, 1000).astype(dtype)
    assert is_finite(part)
    for place in (0, 17, 999):
        wrong = part.copy()
        wrong[place] = value
        assert not is_finite(wrong)
    wrong[0], wrong[1] = np.inf, -np.inf  # their sum would be NaN, which is found; and so are they
    assert not is_finite(wrong)


def test_what_is_too_large_to_be_a_weight_is_none():
    assert is_finite(np.full(1000, 1e15, "float32"))
    assert is_finite(np.full(1000, 6e4, "float16"))
    assert not is_finite(np.full(1000, 1e38, "float32"))


@pytest.mark.parametrize("value", [*BAD, 1e38])
def test_a_chunk_that_is_not_finite_is_refused_and_may_come_again(value):
    case = Case(SMALL, [1, 2])
    shard = case.shards[0]
    case.announce(shard)
    span = case.spans[1]
    part = span.of(case.vectors[shard].copy()).copy()
    part[3] = value
    with pytest.raises(NotFinite, match="chunk 1 of shard 1 has NaN, infinity or numbers too large"):
        case.round.deliver(shard, 1, part.view(np.uint8).data)
    assert not case.round.has_begun(shard)
    for one in case.shards:
        if one not in case.may:
            case.announce(one)
        while case.may.get(one):
            case.send(one, min(case.may[one]))
    case.assert_right()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("at", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("layout", [SMALL, MIXED])
def test_a_lent_contribution_that_is_not_finite_is_found_when_the_round_is_finished(
    place, at, layout, monkeypatch
):
    monkeypatch.setattr(mean, "BLOCK", 5)  # several a chunk: some are closed when it is found
    case = Case(layout, [1, 2, 3])
    wrong_one = case.shards[place]
    right = case.vectors[wrong_one]
    case.vectors[wrong_one] = spoil(case, right, at)
    for shard in case.shards:
        case.lend(shard)
    mirrors = [case.lent[case.shards[0]], layout.empty()]  # one of them is a contribution
    case.round.finish(mirrors)
    assert list(case.round.take_wrong()) == [wrong_one]
    assert case.round.take_wrong() == {}
    assert not case.round.is_closed
    assert not case.round.is_delivered(wrong_one)
    case.vectors[wrong_one] = right
    case.round.lend(wrong_one, right.copy())
    case.round.finish(mirrors)
    assert case.round.take_wrong() == {}
    case.assert_right(*mirrors)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_it_may_come_in_chunks_instead(place):
    case = Case(SMALL, [1, 2, 3])
    wrong_one = case.shards[place]
    right = case.vectors[wrong_one]
    case.vectors[wrong_one] = spoil(case, right)
    for shard in case.shards:
        case.lend(shard)
    case.round.finish()
    assert list(case.round.take_wrong()) == [wrong_one]
    case.vectors[wrong_one] = right
    case.announce(wrong_one)
    while case.may.get(wrong_one):
        index = min(case.may[wrong_one])
        span = case.spans[index]
        case.may[wrong_one].discard(index)
        case.round.deliver(wrong_one, index, right[span.start : span.stop].data)
        case.take_grants() if not case.round.is_delivered(wrong_one) else None
    case.round.finish()
    case.assert_right()


@pytest.mark.parametrize("how", ["absorb", "keep", "deliver"])
def test_a_lent_contribution_that_is_not_finite_is_found_however_it_comes_to_be_read(how):
    case = Case(SMALL, [1, 2, 3])
    first, wrong_one, last = case.shards
    right = case.vectors[wrong_one]
    if how == "absorb":
        case.lend(first)
        case.absorb(first)
    case.vectors[wrong_one] = spoil(case, right)
    case.lend(wrong_one)
    if how == "absorb":
        assert not case.round.absorb(wrong_one)
    elif how == "keep":
        case.round.keep(wrong_one)
        case.lend(first)
        case.round.absorb(first)
    else:
        case.round.announce(first)
        for index in range(len(case.spans)):
            case.round.announce(first, [index])
            span = case.spans[index]
            case.round.deliver(first, index, case.vectors[first][span.start : span.stop].data)
    assert list(case.round.take_wrong()) == [wrong_one]
    assert case.round.held_bytes == 0
    case.vectors[wrong_one] = right
    case.round.lend(wrong_one, right.copy())
    case.round.lend(last, case.vectors[last].copy())
    case.round.finish()
    case.assert_right()


def test_of_several_that_are_not_finite_each_is_found_in_the_end():
    case = Case(SMALL, [1, 1, 1, 1])
    right = dict(case.vectors)
    for place in (0, 2):
        shard = case.shards[place]
        case.vectors[shard] = spoil(case, right[shard], at=0.3 + 0.3 * place)
    for shard in case.shards:
        case.lend(shard)
    case.round.finish()
    found = set(case.round.take_wrong())
    assert found == {case.shards[0], case.shards[2]}
    for shard in found:
        case.round.lend(shard, right[shard].copy())
    case.vectors = right
    case.round.finish()
    case.assert_right()


def test_what_is_taken_back_counts_as_so_many_samples_as_the_next_says():
    case = Case(SMALL, [1, 1])
    first, second = case.shards
    case.round.weigh(first, 10)
    case.lend(first)
    assert not case.round.take_back(first), "nothing of it is summed"
    case.round.weigh(first, 2)
    case.round.weigh(second, 4)
    case.samples = [2, 4]
    for shard in case.shards:
        case.lend(shard)
    case.round.finish()
    case.assert_right()


def test_large_sums_of_right_contributions_are_right():
    case = Case(SMALL, [1, 1])
    for shard in case.shards:
        case.spans[0].of(case.vectors[shard])[0] = 1.5e19
        case.lend(shard)
    case.round.finish()
    assert case.round.take_wrong() == {}
    case.assert_right()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("place", [0, COUNT - 1])
def test_a_rule_other_than_the_mean_takes_none_that_is_not_finite_either(rule, place):
    case = Gathered(rule)
    wrong_one = case.shards[place]
    for shard in case.shards:
        vector = case.vectors[shard]
        case.round.lend(shard, spoil(case, vector) if shard == wrong_one else vector.copy())
    case.round.finish()
    assert list(case.round.take_wrong()) == [wrong_one]
    assert not case.round.is_closed
    case.round.lend(wrong_one, case.vectors[wrong_one].copy())
    case.round.finish()
    assert case.round.take_wrong() == {}
    case.assert_right()
