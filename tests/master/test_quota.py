"""How many units of a round one worker may contribute."""

import pytest

from paramserver.members import Member, Members
from paramserver.quota import Quota
from simulation.cluster import join_of


def member(sender: str, key: str = "") -> Member:
    one = Members().add(sender.encode(), join_of(sender), 0.0)
    one.key = key
    return one


@pytest.mark.parametrize("units_max", [1, 2, 3])
def test_a_worker_may_take_so_many_units_and_those_it_has_had_again(units_max):
    quota, one, other = Quota(units_max), member("w1"), member("w2")
    for shard in range(units_max):
        assert quota.allows(one, shard)
        assert not quota.is_used_up(one)
        quota.take(one, shard)
        quota.give_back(one, shard, is_announced=True)
    assert quota.is_used_up(one)
    assert not quota.allows(one, units_max)
    assert all(quota.allows(one, shard) for shard in range(units_max))
    assert quota.allows(other, units_max)
    quota.begin()
    assert quota.allows(one, units_max)


def test_what_is_in_hand_counts_and_what_came_back_with_nothing_does_not():
    quota, one = Quota(1), member("w1")
    quota.take(one, 4)
    assert not quota.allows(one, 5)
    quota.give_back(one, 4, is_announced=False)
    assert quota.allows(one, 5)


def test_what_is_in_hand_when_the_round_begins_anew_still_counts():
    quota, one = Quota(2), member("w1")
    quota.take(one, 4)
    quota.give_back(one, 4, is_announced=True)
    quota.take(one, 5)
    assert quota.is_used_up(one)
    quota.begin_anew()
    assert not quota.is_used_up(one)
    quota.take(one, 6)
    assert not quota.allows(one, 4)
    quota.begin()
    assert quota.allows(one, 4)


def test_processes_with_one_key_are_one_worker_and_without_keys_each_is_one():
    quota, (first, second) = Quota(1), (member("w1", "anna"), member("w2", "anna"))
    quota.take(first, 0)
    assert not quota.allows(second, 1)
    assert quota.allows(member("w3", "berta"), 1)
    quota, (first, second) = Quota(1), (member("w1"), member("w2"))
    quota.take(first, 0)
    assert quota.allows(second, 1)


def test_without_a_limit_nothing_is_kept():
    quota, one = Quota(), member("w1")
    for shard in range(9):
        quota.take(one, shard)
    quota.give_back(one, 3, is_announced=True)
    assert quota.allows(one, 100)
    assert not quota.is_used_up(one)
