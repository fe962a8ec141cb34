"""Runs with several averaging servers in which something particular happens to one of them."""

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from paramserver.effects import Effect
from paramserver.machine import Master
from paramserver.servers.averager import Averager
from paramserver.settings import Settings
from paramserver.simulation.computing import Pace
from paramserver.simulation.host import HostMemory
from paramserver.simulation.server_node import ServerNode
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.memory import Heap, Unshared
from ps_common.plan import Plan
from simulation.cluster import Cluster
from simulation.counting import check_counts
from simulation.jobs import counting_case
from simulation.naive import naive_run

SETTINGS = Settings(chunk_bytes=64, window=2, held_bytes=64, checkpoint_every_rounds=1, workers_at_start=2)
CASE = counting_case(Plan(shards=(10, 7, 12, 9, 8), batch_size=4, local_steps=1, epochs=2), 7, 46, 5)
SLOW = Pace(step_s=0.3)


def cluster_of(**changes: Any) -> Cluster:
    settings = {"is_shared": True, "servers": 2, **changes}
    cluster = Cluster(1, CASE, SETTINGS, **settings)
    cluster.start_master()
    cluster.start_worker(SLOW)
    cluster.start_worker()
    return cluster


def finish(cluster: Cluster, exit_code: int = 0) -> Cluster:
    cluster.run(within_s=200.0)
    assert cluster.finished is not None
    assert cluster.finished.exit_code == exit_code, cluster.finished.reason
    if exit_code == 0:
        job = CASE.description
        oracle = naive_run(job, CASE.make_replica(job, Heap()), CASE.sources)
        assert bytes(cluster.final) == bytes(oracle), "the final weights are not the oracle's"
        check_counts(cluster.final.view("float64"), 2)
    return cluster


def notes(cluster: Cluster, event: str) -> list[str]:
    return [note.text for master in cluster.masters for note in master.notes if note.event == event]


def test_who_waits_for_its_turn_is_announced_once_however_often_it_asks():
    """What comes before the turn of shard 0, which takes long, waits with it."""
    announced: collections.Counter[tuple[int, int, int]] = collections.Counter()
    pushed: collections.Counter[int] = collections.Counter()

    class Counting(Averager):
        def handle(self, sender: bytes, message: m.Message, *rest: Any) -> list[Effect]:
            if isinstance(message, m.Announce):
                announced[id(self), message.version, message.shard] += 1
            return super().handle(sender, message, *rest)

    class Asked(Master):
        def handle(self, sender: bytes, message: m.Message, *rest: Any) -> list[Effect]:
            if isinstance(message, m.Push):
                pushed[message.lease] += 1
            return super().handle(sender, message, *rest)

    case = counting_case(Plan(shards=5, batch_size=4, local_steps=1, epochs=2), 7, 20)
    settings = dataclasses.replace(SETTINGS, workers_at_start=5, race_after_s=100.0)
    cluster = Cluster(1, case, settings, servers=2, make_server=Counting, make_master=Asked)
    cluster.start_master()
    for first in (True, False, False, False, False):
        cluster.start_worker(Pace(step_s=8.0 if first else 0.1))
    cluster.run(within_s=200.0)
    assert cluster.finished is not None
    assert cluster.finished.exit_code == 0
    assert max(pushed.values()) > 2
    assert max(announced.values()) == 1


class Blind(HostMemory):
    """Memory that others' cannot be seen from. sees: whether a process's can."""

    sees: Callable[[int], bool]

    def attach(self, pid: int, descriptor: int, nbytes: int) -> HostArray:
        if not self.sees(pid):
            raise Unshared("not permitted")
        return super().attach(pid, descriptor, nbytes)


def blind(sees: Callable[[int], bool]) -> Callable[..., Averager]:
    def make(now: float, memory: HostMemory) -> Averager:
        mine = Blind(memory.host, memory.pid, memory.own)
        mine.sees = sees
        return Averager(now, mine)

    return make


def test_where_no_server_sees_the_masters_memory_all_goes_over_the_network() -> None:
    cluster = finish(cluster_of(make_server=blind(lambda pid: False)))
    assert not notes(cluster, "loss")
    members = [*cluster.masters[0].machine.members.gone]
    assert {one.transport for one in members} == {"tcp"}


def test_a_server_that_sees_the_master_and_no_worker_is_sent_chunks() -> None:
    cluster = cluster_of(make_server=blind(lambda pid: pid == cluster_pid))
    cluster_pid = cluster.masters[0].memory.pid
    finish(cluster)
    assert any("not permitted" in text for text in notes(cluster, "transport"))


def test_a_vector_that_one_server_cannot_write_the_average_to_is_not_used() -> None:
    """A server that was started again has to find the vectors of idle workers anew."""
    makes: list[int] = []

    def make(now: float, memory: HostMemory) -> Averager:
        makes.append(memory.pid)
        sees_all = len(makes) <= 2  # those that were there first
        return blind(lambda pid: sees_all or pid == cluster.masters[0].memory.pid)(now, memory)

    cluster = cluster_of(make_server=make)
    cluster.run_until(lambda: cluster.checks._version == 3)
    cluster.kill_server(b"own-0-1")
    finish(cluster)
    assert len(makes) == 3


def test_a_server_that_loses_sight_of_the_masters_memory_begins_anew_without_it() -> None:
    cluster = cluster_of(make_server=blind(lambda pid: cluster.checks._version < 0))
    finish(cluster)
    assert not notes(cluster, "loss")
    assert {one.transport for one in cluster.masters[0].machine.members.gone} == {"tcp"}


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("elsewhere", [[], [1], [0, 1]])
def test_a_server_is_killed_again_and_again(is_shared: bool, elsewhere: list[int]) -> None:
    cluster = cluster_of(is_shared=is_shared, elsewhere=elsewhere)
    for times in range(12):
        delay_s = 0.3 + 0.37 * times

        def strike(number: int = times) -> None:
            addresses = sorted(cluster.servers)
            if addresses and cluster.finished is None:
                address = addresses[number % len(addresses)]
                cluster.kill_server(address)
                if address.startswith(b"server-"):
                    cluster.start_server(address)

        cluster.world.after(delay_s, strike)
    finish(cluster)
    assert len(notes(cluster, "loss")) >= 5


def test_a_server_that_dies_whenever_it_serves_ends_the_run() -> None:
    cluster = cluster_of()

    def mortal(node: ServerNode) -> None:
        if node.machine._serve is not None and node.address == b"own-0-1":
            cluster.world.after(0.0, lambda: node.is_alive and cluster.kill_server(node.address))

    cluster._on_server = mortal  # type: ignore[method-assign]
    for node in cluster.servers.values():
        node._on_turn = mortal
    finish(cluster, exit_code=75)
    assert cluster.finished is not None
    assert "were lost 11 times in one round" in cluster.finished.reason


def test_a_master_that_was_stopped_for_a_while_does_not_take_its_servers_for_lost() -> None:
    cluster = cluster_of()
    cluster.run_until(lambda: cluster.checks._version == 1)
    master = cluster.masters[0]
    master.pause()
    cluster.world.let_pass(60.0)
    master.resume()
    finish(cluster)
    assert not [text for text in notes(cluster, "loss") if "averaging server" in text]


def test_a_server_elsewhere_that_does_not_come_back_ends_the_run_in_time() -> None:
    cluster = Cluster(1, CASE, Settings(workers_min=1, wait_timeout_s=30.0), servers=2, elsewhere=[0, 1])
    cluster.start_master()
    cluster.start_worker()
    cluster.run_until(lambda: cluster.checks._version == 1)
    cluster.kill_server(b"server-1")
    began = cluster.world.now
    finish(cluster, exit_code=75)
    assert cluster.finished is not None
    assert "no averaging server at server-1" in cluster.finished.reason
    assert cluster.world.now - began < 50.0
    assert len(notes(cluster, "loss")) == 1


def test_asked_to_stop_while_servers_average_the_round_is_not_lost() -> None:
    class Slow(Averager):
        """Says that a round is closed only when it is asked again."""

        asked = 0

        def handle(self, *given: Any) -> list[Effect]:
            effects = super().handle(*given)
            closed = [one for one in effects if type(getattr(one, "message", None)).__name__ == "Closed"]
            self.asked += len(closed)
            return [one for one in effects if one not in closed] if self.asked == 1 else effects

    cluster = cluster_of(make_server=Slow)
    cluster.run_until(lambda: cluster.masters[0].machine._is_closing)
    version = cluster.checks._version
    cluster.masters[0].ask_to_stop()
    cluster.run(within_s=60.0)
    assert cluster.finished is not None
    assert cluster.finished.reason == "asked to stop"
    assert cluster.checks._version == version + 1


def test_nobody_computes_where_a_server_may_still_write_the_average() -> None:
    """One is lost while the round is finished, and the other has not yet heard of either."""
    cluster = cluster_of()
    machine = cluster.masters[0].machine
    cluster.run_until(lambda: cluster.checks._version == 1 and machine._is_closing)
    cluster.servers[b"own-0-0"].pause()
    cluster.kill_server(b"own-0-1")
    cluster.world.let_pass(5.0)
    cluster.servers[b"own-0-0"].resume()
    finish(cluster)
