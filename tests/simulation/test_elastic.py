"""Workers come and go: who comes works within a round, and rows move as little as possible."""

import collections
from typing import Any

import pytest

from paramserver.settings import Settings
from paramserver.simulation.computing import Pace
from paramserver.simulation.master_node import MasterNode
from paramserver.simulation.worker_node import WorkerNode
from ps_common import messages as m
from ps_common.memory import Heap
from ps_common.plan import Plan
from ps_common.wire import decode
from simulation.cluster import Cluster
from simulation.counting import check_counts
from simulation.jobs import counting_case
from simulation.naive import naive_run

SIZES = (40, 36, 40, 31, 40, 40, 17, 40, 38, 40, 40, 40)
PLAN = Plan(shards=SIZES, batch_size=2, local_steps=2, epochs=6)
PACE = Pace(0.1, 0.02)


class Story:
    """A run, and who fetched the rows of which shard."""

    def __init__(self, workers: int, **more: Any) -> None:
        self.case = counting_case(PLAN, 7, sum(SIZES))
        self.cluster = Cluster(3, self.case, Settings(workers_at_start=workers), **more)
        self.fetched: collections.Counter[tuple[bytes, int]] = collections.Counter()
        self.cluster.network.tamper = self._look
        self.cluster.start_master()
        for _ in range(workers):
            self.cluster.start_worker(PACE)
        self.rounds(2)

    def _look(self, source: bytes, target: bytes, frames: Any) -> list[tuple[float, Any]]:
        message = decode([memoryview(frame) for frame in frames])
        if isinstance(message, m.Fetch):
            self.fetched[source, message.shard] += 1
        return [(0.0, frames)]

    @property
    def master(self) -> MasterNode:
        assert self.cluster.master is not None
        return self.cluster.master

    def rounds(self, count: int) -> None:
        until = self.master.machine.progress.version + count
        self.cluster.run_until(lambda: self.master.machine.progress.version >= until)

    def seconds(self, rounds: int) -> float:
        began = self.cluster.world.now
        self.rounds(rounds)
        return (self.cluster.world.now - began) / rounds

    def units_of(self, node: WorkerNode) -> int:
        member = self.master.machine.members.get(node.address)
        return member.units if member is not None else 0

    def moved(self) -> int:
        """Shards that were fetched since this was last asked."""
        moved = len(self.fetched)
        self.fetched.clear()
        return moved

    def end(self) -> None:
        self.cluster.run()
        oracle = naive_run(
            self.case.description, self.case.make_replica(self.case.description, Heap()), self.case.sources
        )
        assert bytes(self.cluster.final) == bytes(oracle)
        check_counts(self.cluster.final.view("float64"), PLAN.epochs)


@pytest.mark.parametrize("more", [{}, {"is_shared": True}, {"servers": 2}])
def test_one_worker_then_four_then_two_then_three_count_every_sample_once(more: dict[str, Any]) -> None:
    story = Story(1, **more)
    for _ in range(3):
        story.cluster.start_worker(PACE)
    story.rounds(4)
    for node in story.cluster.workers[:2]:
        node.ask_to_stop()
    story.rounds(4)
    assert len(story.cluster.workers) == 2
    story.cluster.start_worker(PACE)
    story.rounds(2)
    assert all(story.units_of(node) for node in story.cluster.workers)
    story.end()


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_joiner_works_within_one_round_and_costs_the_others_nothing(is_shared: bool) -> None:
    story = Story(2, is_shared=is_shared)
    before_s = story.seconds(4)
    joiner = story.cluster.start_worker(PACE)
    story.cluster.run_until(lambda: story.master.machine.members.get(joiner.address) is not None)
    began = story.cluster.world.now
    story.cluster.run_until(lambda: joiner.machine.state.value == "idle")
    story.rounds(1)  # that in which it came
    story.rounds(1)
    assert story.units_of(joiner) > 0
    assert story.cluster.world.now - began < 3 * before_s
    assert story.seconds(4) <= before_s
    story.end()


def test_who_comes_to_one_that_has_all_the_rows_takes_its_part_of_them() -> None:
    """With as many shards as workers, too: the one who is there is at work on one, and the other is open."""
    plan = Plan(shards=2, batch_size=2, local_steps=2, epochs=4)
    cluster = Cluster(3, counting_case(plan, 7, 80), Settings())
    cluster.start_master()
    cluster.start_worker(PACE)
    cluster.run_until(lambda: cluster.master is not None and cluster.master.machine.progress.version >= 3)
    joiner = cluster.start_worker(PACE)
    cluster.run()
    records = {one["name"]: one["units"] for one in cluster.masters[0].machine.members.records()}
    assert records[joiner.machine.name] >= 30


def test_rows_move_once_and_only_to_those_who_come() -> None:
    """A shard goes to a joiner, or to whoever takes over from one who has left, and then it stays."""
    story = Story(3)
    assert story.moved() == len(SIZES), "each to one worker"
    story.rounds(3)
    assert story.moved() == 0
    story.cluster.start_worker(PACE)
    story.rounds(6)
    assert 0 < story.moved() <= len(SIZES) // 4 + 1, "its fair share"
    story.rounds(4)
    assert story.moved() <= 1
    left = story.cluster.workers[0]
    mine = len(story.master.machine.leasing._own["train", left.address])
    left.ask_to_stop()
    story.rounds(6)
    assert story.moved() <= mine, "what the one who left had"
    story.end()
