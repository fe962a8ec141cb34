"""Cores: tasks that are more than these share them, and messages go first."""

import math

import pytest

from paramserver.simulation.cores import Cores
from paramserver.simulation.world import World


def ends(count: float, tasks: list[tuple[float, float]], interruptions: list[tuple[float, float]] = ()):
    """When tasks (begin, seconds) end; interruptions: when a message takes how long."""
    world = World(1)
    cores, start, found = Cores(world, count), world.now, {}
    for number, (begin_s, seconds) in enumerate(tasks):

        def begin(number=number, seconds=seconds):
            cores.begin(seconds, lambda: found.update({number: world.now - start}))

        world.after(begin_s, begin)
    for when_s, seconds in interruptions:
        world.after(when_s, lambda seconds=seconds: cores.interrupt(seconds))
    world.let_pass(1e4)
    return [pytest.approx(found[number]) for number in range(len(tasks))]


@pytest.mark.parametrize("count", [2, 3, math.inf])
def test_where_there_are_enough_nobody_waits(count):
    assert ends(count, [(0.0, 4.0), (1.0, 2.0)]) == [4.0, 3.0]


def test_three_tasks_on_one_core_take_three_times_as_long():
    assert ends(1, [(0.0, 2.0)] * 3) == [6.0, 6.0, 6.0]


def test_four_tasks_on_two_cores_take_twice_as_long():
    assert ends(2, [(0.0, 2.0)] * 4) == [4.0] * 4


def test_whoever_comes_later_shares_from_then_on():
    # alone for 1 s; two for 2 s, in which each comes 1 s further; the second then alone for its last second
    assert ends(1, [(0.0, 2.0), (1.0, 2.0)]) == [3.0, 4.0]


def test_the_work_of_a_full_host_is_done_in_its_time_whatever_the_order():
    assert ends(1, [(0.0, 1.0), (0.2, 3.0), (0.3, 0.5)])[1] == 4.5  # the longest


def test_a_message_delays_tasks_where_no_core_is_free_and_else_none():
    assert ends(1, [(0.0, 2.0), (0.0, 2.0)], [(1.0, 0.5)]) == [4.5, 4.5]
    assert ends(3, [(0.0, 2.0), (0.0, 2.0)], [(1.0, 0.5)]) == [2.0, 2.0]
