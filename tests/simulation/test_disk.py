"""The disk of a simulated master: one checkpoint at a time, and the last of those that wait."""

import dataclasses

import numpy as np
import pytest

from paramserver.effects import Snapshot
from paramserver.simulation.disk import Disk, Writer
from paramserver.simulation.world import World
from ps_common.layout import Entry, Layout

LAYOUT = Layout([Entry("w", (1000,))])
FIRST = Snapshot(LAYOUT, np.zeros(4000, np.uint8), 0, "run", 1, {}, "", 0, {}, [], 0.0)


def written(bandwidth: float, delay_s: float, puts: list[float]) -> list[tuple[int, float]]:
    """Version and time of what is safe, where version i is put at the i-th time."""
    world = World(1)
    start, found = world.now, []
    disk = Disk(world, bandwidth)
    disk.delay_s = delay_s
    writer = Writer(world, disk, lambda one, is_last: found.append((one.version, world.now - start)))
    for version, when_s in enumerate(puts):
        world.after(when_s, lambda v=version: writer.put(dataclasses.replace(FIRST, version=v)))
    world.let_pass(1e5)
    return found


def test_a_checkpoint_takes_its_bytes_and_not_more_than_the_delay():
    assert written(1000.0, 0.0, [0.0]) == [(0, pytest.approx(4.0))]
    ((_, at),) = written(1000.0, 10.0, [0.0])
    assert 4.0 < at < 14.0


def test_of_several_that_wait_the_last_is_written():
    assert written(1000.0, 0.0, [0.0, 1.0, 2.0, 3.0]) == [(0, pytest.approx(4.0)), (3, pytest.approx(8.0))]
