"""What goes wrong, and when: faults at random moments until the weather calms down."""

import math
from collections.abc import Callable

from paramserver.simulation.computing import Pace
from paramserver.simulation.disk import DELAY_S
from paramserver.simulation.network import CALM, Weather
from paramserver.simulation.server_node import ServerNode
from paramserver.simulation.worker_node import WorkerNode
from simulation.cluster import Cluster


class Faults:
    """Plans the faults of a run; from `calm_at` on nothing goes wrong any more."""

    def __init__(self, cluster: Cluster, calm_after_s: float, every_s: float) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self.calm_at = self._world.now + calm_after_s
        self.counts: dict[str, int] = {}
        self._every_s = every_s
        cluster.on_left = self._replace
        self._world.at(self.calm_at, self._calm)
        self._plan_next()

    def _plan_next(self) -> None:
        self._world.after(self._world.random.expovariate(1 / self._every_s), self._strike)

    def _strike(self) -> None:
        if self._cluster.finished is not None or self._world.now >= self.calm_at:
            return
        has_servers = self._cluster.server_count > 1
        names, weights = zip(*(_WEIGHTS | (_OF_SERVERS if has_servers else {})).items(), strict=True)
        name = self._world.random.choices(names, weights)[0]
        self.counts[name] = self.counts.get(name, 0) + 1
        getattr(self, f"_{name}")()
        self._plan_next()

    def _later(self, most_s: float, event: Callable[[], None]) -> None:
        """The fault is mended after a while, unless the run is over."""
        self._world.after(
            self._world.random.uniform(0.0, most_s),
            lambda: None if self._cluster.finished is not None else event(),
        )

    def _someone(self) -> WorkerNode | None:
        workers = self._cluster.workers
        return self._world.random.choice(workers) if workers else None

    # -- kinds of faults ------------------------------------------------------------------------------

    def _kill_worker(self) -> None:
        node = self._someone()
        if node is not None:
            self._cluster.kill_worker(node)
            self._later(3.0, self._new_worker)

    def _replace(self, node: WorkerNode) -> None:
        """A worker has left: it was asked to, or the run is over, which is on disk before anyone is told."""
        assert node.exit is not None
        is_asked = node.exit.reason.startswith("asked to stop")
        assert is_asked or self._cluster.is_end_saved, str(node)
        self._later(3.0, self._new_worker)

    def _new_worker(self) -> None:
        self._cluster.start_worker(random_pace(self._cluster))

    def _kill_master(self) -> None:
        if self._cluster.master is not None:
            self._cluster.kill_master()
            self._later(5.0, self._new_master)

    def _new_master(self) -> None:
        if self._cluster.server_count > 1 and self._world.chance(0.2):  # other flags than before
            self._cluster.server_count = self._world.random.randint(1, 3)
        self._cluster.start_master()

    def _pause_worker(self) -> None:
        node = self._someone()
        if node is not None and not node.is_paused:
            node.pause()
            self._world.after(self._world.random.uniform(0.0, 6.0), node.resume)

    def _pause_master(self) -> None:
        node = self._cluster.master
        if node is not None and not node.is_paused:
            node.pause()
            self._world.after(self._world.random.uniform(0.0, 6.0), node.resume)

    def _partition(self) -> None:
        node = self._someone()
        if node is not None:
            towards, back = self._world.random.choice([(True, True), (True, False), (False, True)])
            self._cluster.network.cut(node.address, towards, back)
            heal = self._cluster.network.heal
            self._world.after(self._world.random.uniform(0.0, 6.0), lambda: heal(node.address))

    def _hang(self) -> None:
        node = self._someone()
        if node is not None and not node.computing.is_hanging:
            node.computing.is_hanging = True
            self._world.after(self._world.random.uniform(0.0, 30.0), node.computing.end_hanging)

    def _leave(self) -> None:
        node = self._someone()
        if node is not None and not node.is_paused:
            node.ask_to_stop()

    def _some_server(self) -> ServerNode | None:
        servers = list(self._cluster.servers.values())
        return self._world.random.choice(servers) if servers else None

    def _kill_server(self) -> None:
        node = self._some_server()
        if node is not None:
            self._cluster.kill_server(node.address)
            if node.address not in self._cluster.own_servers:
                self._world.after(
                    self._world.random.uniform(0.0, 5.0), lambda: self._cluster.start_server(node.address)
                )

    def _pause_server(self) -> None:
        node = self._some_server()
        if node is not None and not node.is_paused:
            node.pause()
            self._world.after(self._world.random.uniform(0.0, 15.0), node.resume)

    def _partition_server(self) -> None:
        """Cut a server off the master or a worker."""
        node, master, worker = self._some_server(), self._cluster.master, self._someone()
        others = [other for other in (master and master.connection, worker and worker.address) if other]
        if node is not None and others:
            other = self._world.random.choice(others)
            towards, back = self._world.random.choice([(True, True), (True, False), (False, True)])
            self._cluster.network.cut(node.address, towards, back, other)
            heal = self._cluster.network.heal
            self._world.after(self._world.random.uniform(0.0, 12.0), lambda: heal(node.address, other))

    def _clock_step(self) -> None:
        """The machine of one of the processes was suspended, at a moment when none of its processes ran."""
        master, servers = self._cluster.master, self._cluster.servers.values()
        nodes = [*self._cluster.workers, *servers, *([master] if master else [])]
        if nodes:
            self._world.random.choice(nodes).step_clock(
                self._world.random.choice([0.01, 1.0, 60.0]) * self._world.random.random()
            )

    def _slow_disk(self) -> None:
        """For a while a checkpoint takes longer than the rounds between two of them."""
        disk = self._cluster.disk
        disk.delay_s = self._world.random.uniform(0.0, 10.0)
        self._world.after(self._world.random.uniform(0.0, 15.0), self._quick_disk)

    def _quick_disk(self) -> None:
        self._cluster.disk.delay_s = DELAY_S

    def _storm(self) -> None:
        self._cluster.network.weather = random_weather(self._cluster)

    def _calm(self) -> None:
        self._cluster.network.weather = CALM
        self._quick_disk()


_WEIGHTS = {
    "kill_worker": 4,
    "kill_master": 2,
    "pause_worker": 2,
    "pause_master": 1,
    "partition": 3,
    "hang": 2,
    "leave": 1,
    "storm": 3,
    "clock_step": 2,
    "slow_disk": 1,
}
_OF_SERVERS = {"kill_server": 3, "pause_server": 2, "partition_server": 2}


def random_weather(cluster: Cluster) -> Weather:
    random = cluster.world.random
    return Weather(
        latency_s=random.uniform(0.0, 0.05),
        jitter_s=random.uniform(0.0, 0.1),
        drop=random.choice([0.0, 0.02, 0.1, 0.3]),
        duplicate=random.choice([0.0, 0.05, 0.3]),
        reorder=random.choice([0.0, 0.05, 0.3]),
        detour_s=random.choice([0.1, 1.0, 5.0]),
        corrupt=random.choice([0.0, 0.0, 0.05]),
        bandwidth=random.choice([math.inf, math.inf, 1e6, 1e5, 2e4]),
    )


def random_pace(cluster: Cluster) -> Pace:
    random = cluster.world.random
    return Pace(random.uniform(0.0, 1.0), random.choice([0.01, 0.1, 0.5]) * random.uniform(0.5, 2.0))
