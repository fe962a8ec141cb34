"""A master and its workers in one world, and the supervisor that starts again what was killed."""

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paramserver import checkpoint
from paramserver.averager import Averager
from paramserver.effects import Finished, Snapshot
from paramserver.machine import Master
from paramserver.settings import Settings
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.memory import Heap, Memory
from ps_worker.effects import Compute
from simulation.checks import Checks
from simulation.computing import Pace
from simulation.host import Host
from simulation.jobs import Case
from simulation.master_node import MasterNode
from simulation.network import CALM, MASTER, Network, Weather
from simulation.server_node import ServerNode
from simulation.worker_node import WorkerNode
from simulation.world import World

DISK_S = 0.05  # until a snapshot is safe
SPAWN_S = 0.5  # until a process that was started again listens


class Cluster:
    """One run.

    seed: of everything random. make_master: a subclass, to show that a check can fail. is_thorough: check
    every member and chunk after every turn; not with thousands of workers. is_shared: all processes are on
    one host, and weights go through its memory. servers: how many average; 1: the master does. Those of
    `elsewhere` share no memory with it, and live on when it dies; the others are its own, and do not.
    make_server: as make_master.
    """

    def __init__(
        self,
        seed: int,
        case: Case,
        settings: Settings,
        weather: Weather = CALM,
        make_master: Callable[..., Master] = Master,
        is_thorough: bool = True,
        is_shared: bool = False,
        servers: int = 1,
        elsewhere: Sequence[int] = (),
        make_server: Callable[..., Averager] = Averager,
    ) -> None:
        self.world = World(seed)
        self.network = Network(self.world, weather)
        self.case = case
        self.settings = settings
        self.checks = Checks(case.description, is_thorough)
        self.master: MasterNode | None = None  # while it is alive
        self.masters: list[MasterNode] = []  # all that were
        self.finished: Finished | None = None
        self.workers: list[WorkerNode] = []  # alive
        self.left: list[WorkerNode] = []  # by themselves
        self.before_compute: Callable[[WorkerNode, Compute], None] = lambda node, task: None
        self.on_left: Callable[[WorkerNode], None] = lambda node: None  # before the end
        self._make_master = make_master
        self._host = Host()
        self._is_shared = is_shared
        self._saved: Snapshot | None = None
        self._runs = 0
        self._incarnations = 0
        self.servers: dict[bytes, ServerNode] = {}  # those who average and are alive
        self.all_servers: list[ServerNode] = []  # all that were
        self.server_count = servers  # from the next start of a master on
        self.elsewhere = frozenset(elsewhere)
        self._make_server = make_server
        self.own_servers: list[bytes] = []  # addresses of the master's own servers
        self._restarts: dict[bytes, int] = {}

    # -- starting and killing -------------------------------------------------------------------------

    def start_master(self) -> MasterNode:
        """Start the master from what was saved last, if anything was."""
        assert self.master is None
        snapshot = None if self._saved is None else through_a_file(self._saved)
        if snapshot is None:
            self._runs += 1
        addresses = self._start_servers()
        self.master = node = MasterNode(
            self.world, self.network, self.case.description, self.case.sources, self.settings,
            snapshot.run if snapshot else f"run-{self._runs}", snapshot, self._on_save, self._on_master,
            self._make_master, self._process(self._is_shared),
            addresses, f"m{len(self.masters)}".encode(), self._on_restart,
        )  # fmt: skip
        self.masters.append(node)
        self.checks.new_master(node)
        self.world.after(0.0, node.turn)
        return node

    def start_worker(
        self,
        pace: Pace = Pace(),  # noqa: B008
        is_shared: bool = True,
        **changes: Any,
    ) -> WorkerNode:
        """Start a worker; every start is a new incarnation, with an address of its own.

        is_shared: where the cluster's processes are on one host, this one is there too.
        """
        self._incarnations += 1
        join = dataclasses.replace(join_of(f"w{self._incarnations}"), **changes)
        node = WorkerNode(
            self.world, self.network, f"sender-{self._incarnations}".encode(), join, pace,
            self.case.make_replica, self._process(self._is_shared and is_shared),
            self._on_compute, self._on_worker,
        )  # fmt: skip
        self.workers.append(node)
        self.world.after(0.0, node.turn)
        return node

    def kill_master(self) -> None:
        assert self.master is not None
        self.master.kill()
        self._host.end(self.master.memory.pid)
        self.master = None
        self._end_own_servers()

    def kill_worker(self, node: WorkerNode) -> None:
        node.kill()
        self._host.end(node.memory.pid)
        self.workers.remove(node)

    def _start_servers(self) -> list[bytes]:
        """Addresses of as many servers as there are to be: those of the master itself are new ones."""
        addresses = []
        for index in range(self.server_count if self.server_count > 1 else 0):
            address = f"server-{index}" if index in self.elsewhere else f"own-{len(self.masters)}-{index}"
            addresses.append(address.encode())
            if index not in self.elsewhere:
                self.own_servers.append(address.encode())
            if address.encode() not in self.servers and address.encode() not in self._restarts:
                self.start_server(address.encode())
        return addresses

    def start_server(self, address: bytes) -> None:
        """Start an averaging server, which knows nothing."""
        self._restarts[address] = self._restarts.get(address, 0) + 1
        self.servers[address] = node = ServerNode(
            self.world, self.network, address, self._process(self._is_shared and address in self.own_servers),
            self._make_server, self._on_server,
        )  # fmt: skip
        self.all_servers.append(node)
        self.world.after(0.0, node.turn)

    def kill_server(self, address: bytes) -> None:
        """Its end is seen at once, if it is the master's own; else whoever runs it starts it again."""
        self._end_server(address)
        if self.master is not None and address in self.master.servers and address in self.own_servers:
            self.master.lose(self.master.servers.index(address), "killed")

    def _end_server(self, address: bytes) -> None:
        node = self.servers.pop(address)
        node.kill()
        self._host.end(node.memory.pid)

    def _end_own_servers(self) -> None:
        for address in self.own_servers:
            if address in self.servers:
                self._end_server(address)
        self.own_servers.clear()

    def _on_restart(self, master: MasterNode, server: int) -> None:
        """The master wants a server started again: it can do so with its own."""
        address = master.servers[server]
        if address not in self.own_servers:
            return
        if address in self.servers:
            self._end_server(address)
        self._restarts[address] += 1
        number = self._restarts[address]

        def listens() -> None:
            is_wanted = address in self.own_servers and self._restarts[address] == number
            if is_wanted and address not in self.servers:
                self.start_server(address)

        self.world.after(SPAWN_S * self.world.random.random(), listens)

    def _process(self, is_shared: bool) -> Memory:
        return self._host.process() if is_shared else Heap()

    # -- running --------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        return self.finished is not None and not self.workers

    def run(self, within_s: float = 1000.0) -> None:
        """Run to the end."""
        self.world.run(lambda: self.is_over, within_s, self.state)

    def run_until(self, condition: Callable[[], bool], within_s: float = 1000.0) -> None:
        self.world.run(condition, within_s, self.state)

    def state(self) -> str:
        """Who is where, for a failure's report."""
        last = [note.text for note in self.master.notes[-5:]] if self.master else []
        return "\n".join(
            map(str, [self.master, self.finished, *self.workers, *self.left, *self.servers.values(), *last])
        )

    @property
    def final(self) -> HostArray:
        """The flat vector that the last master ended with."""
        assert self.checks.last is not None
        return self.checks.last

    def weights_sha256(self) -> str:
        layout = self.case.make_replica(self.case.description, Heap()).layout
        return layout.weights_sha256(self.final)

    # -- what the nodes tell ----------------------------------------------------------------------------

    def _on_save(self, node: MasterNode, snapshot: Snapshot) -> None:
        """The disk takes a moment; a master that is killed meanwhile has not saved."""
        copy = dataclasses.replace(snapshot, vector=np.array(snapshot.vector))

        def written() -> None:
            if node.is_alive or node.finished is not None:
                self._saved = copy

        self.world.after(DISK_S * self.world.random.random(), written)

    def _on_master(self, node: MasterNode) -> None:
        self.checks.after_master(node, self.network)
        if node.finished is not None:
            self.finished, self.master = node.finished, None
            self._end_own_servers()

    def _on_server(self, node: ServerNode) -> None:
        self.checks.after_server(node, self.network)

    def _on_worker(self, node: WorkerNode) -> None:
        if node.exit is not None and node in self.workers:
            self.workers.remove(node)
            self.left.append(node)
            if self.finished is None:
                self.on_left(node)

    def _on_compute(self, node: WorkerNode, task: Compute) -> None:
        if not self._is_shared or self._is_current(node, task.lease):
            self.checks.before_compute(task)
        self.before_compute(node, task)

    def _is_current(self, node: WorkerNode, lease: m.Lease) -> bool:
        """Whether a unit counts. One that is fenced may read memory that is in use for a later version."""
        master = self.master.machine if self.master else None
        member = master.members.get(node.address) if master else None
        return (
            master is not None
            and member is not None
            and master.leasing.current(member, lease.lease) is not None
        )


def join_of(name: str) -> m.Join:
    return m.Join(m.PROTOCOL, name, "host", 1, "cpu", "", "numpy")


def through_a_file(snapshot: Snapshot) -> Snapshot:
    """What a master that starts finds: the snapshot as the real checkpoint files give it back."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.write(Path(folder), snapshot)
        found = checkpoint.newest(Path(folder), snapshot.job_digest, _must_not_skip)
    assert found is not None
    return found


def _must_not_skip(text: str) -> None:
    raise AssertionError(text)


def undisturbed(case: Case, settings: Settings, workers: int = 1, **changes: Any) -> Cluster:
    """A run to its end in calm weather."""
    settings = dataclasses.replace(settings, workers_min=workers, **changes)
    cluster = Cluster(0, case, settings)
    cluster.start_master()
    for _ in range(workers):
        cluster.start_worker()
    cluster.run()
    return cluster


__all__ = ["MASTER", "Cluster", "join_of", "through_a_file", "undisturbed"]
