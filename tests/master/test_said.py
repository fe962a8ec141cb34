"""Who says that its contribution is of far more samples than others say."""

import pytest

from paramserver.said import KEPT, Said


def test_who_says_many_times_what_others_say_is_told_by_it():
    said = Said()
    assert [said.times_usual(name, 512) for name in "abc"] == [1.0] * 3
    assert said.times_usual("d", 2**31) == 2**31 / 512
    assert said.times_usual("a", 512) == 1.0


def test_of_two_workers_nobody_can_tell_which_is_wrong():
    said = Said()
    assert [said.times_usual("a", 512), said.times_usual("b", 2**31)] == [1.0, 1.0]
    assert said.times_usual("c", 512) == 1.0


def test_what_one_worker_says_counts_once_so_that_others_are_not_unusual():
    said = Said()
    for _ in range(2 * KEPT):
        said.times_usual("liar", 1)
    assert [said.times_usual(name, 512) for name in "abc"] == [1.0] * 3


def test_what_all_come_to_say_becomes_usual():
    said = Said()
    for name in "abc":
        said.times_usual(name, 1)
    assert [said.times_usual(name, 100) for name in "abc"] == [100.0, 1.0, 1.0]


@pytest.mark.parametrize("workers", [1000])
def test_workers_without_end_are_not_all_kept(workers):
    said = Said()
    for number in range(workers):
        said.times_usual(number, 512)
    assert len(said._last) == KEPT
