"""Clocks: each machine shows a time of its own, none of which goes back."""

import math

from hypothesis import given
from hypothesis import strategies as st

from paramserver.settings import Settings
from paramserver.simulation.clock import Clock
from paramserver.simulation.world import World
from ps_common.plan import Plan
from simulation.cluster import Cluster
from simulation.jobs import counting_case


def test_no_two_clocks_show_the_same_time_and_all_run_alike():
    world = World(1)
    one, other = Clock(world), Clock(world)
    apart = one.now - other.now
    assert abs(apart) > 1.0
    world.let_pass(100.0)
    assert math.isclose(one.now - other.now, apart)


@given(st.integers(0, 10**6), st.floats(0.0, 1e4))
def test_a_deadline_has_come_when_the_world_is_there(seed, wait_s):
    world = World(seed)
    clock = Clock(world)
    deadline = clock.now + wait_s
    moment = clock.when(deadline)
    world.now = moment
    assert clock.now >= deadline
    assert math.isclose(clock.now, deadline)


def test_a_clock_that_steps_wakes_its_machine():
    """Who sleeps until a deadline that the step has passed would otherwise oversleep it."""
    cluster = Cluster(1, counting_case(Plan(shards=2, batch_size=5, epochs=3), 3, 20), Settings())
    master = cluster.start_master()
    cluster.start_worker()
    cluster.run_until(lambda: cluster.checks._version == 1)
    cluster.workers[0].pause()
    before = master.now
    master.step_clock(60.0)
    assert master.now == before + 60.0
    assert master.next_deadline() > before + 60.0, "it has had its turn"
    assert not any("lost" in note.text for note in master.notes), "that it was away is nobody's silence"
    cluster.workers[0].resume()
    cluster.run()
    assert cluster.finished is not None
    assert cluster.finished.exit_code == 0
