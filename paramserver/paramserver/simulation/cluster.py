"""A master, its workers and averaging servers in one world: starts them, kills them, and runs.

It decides nothing about the run, the machines do. A subclass may look at every node after every turn.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from paramserver.effects import Finished, Snapshot
from paramserver.machine import Master
from paramserver.servers.averager import Averager
from paramserver.settings import Settings
from paramserver.simulation.case import Case
from paramserver.simulation.computing import Pace
from paramserver.simulation.cores import Cores
from paramserver.simulation.disk import Disk, Writer
from paramserver.simulation.hardware import Hardware
from paramserver.simulation.host import Host
from paramserver.simulation.links import Links
from paramserver.simulation.master_node import MasterNode
from paramserver.simulation.network import CALM, Network, Weather
from paramserver.simulation.server_node import ServerNode
from paramserver.simulation.worker_node import WorkerNode
from paramserver.simulation.world import World
from ps_common import messages as m
from ps_common.memory import Heap, Memory
from ps_worker.effects import Compute

SPAWN_S = 0.5  # until a process that was started again listens


class Cluster:
    """One run.

    seed: of everything random. make_master: the machine of the master. is_shared: all processes are on one
    host, and weights go through its memory. servers: how many average; 1: the master does. Those of
    `elsewhere` share no memory with it, and live on when it dies; the others are its own, and do not.
    make_server: the machine of an averaging server. Whoever does not share the one host has one of its own.
    """

    def __init__(
        self,
        seed: int,
        case: Case,
        settings: Settings,
        weather: Weather = CALM,
        make_master: Callable[..., Master] = Master,
        is_shared: bool = False,
        servers: int = 1,
        elsewhere: Sequence[int] = (),
        make_server: Callable[..., Averager] = Averager,
        hardware: Hardware = Hardware(),  # noqa: B008
    ) -> None:
        self.world = World(seed)
        self.network = Network(self.world, weather, hardware.scale)
        self.hardware = hardware
        self.disk = Disk(self.world, hardware.disk_bandwidth)
        self.case = case
        self.settings = settings
        self.master: MasterNode | None = None  # while it is alive
        self.masters: list[MasterNode] = []  # all that were
        self.finished: Finished | None = None
        self.workers: list[WorkerNode] = []  # alive
        self.left: list[WorkerNode] = []  # by themselves
        self.before_compute: Callable[[WorkerNode, Compute], None] = lambda node, task: None
        self.on_left: Callable[[WorkerNode], None] = lambda node: None  # before the end
        self._make_master = make_master
        self._host = self.new_host()
        self._is_shared = is_shared
        self.saved: Snapshot | None = None  # what is on the disk
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
        snapshot = self._found()
        if snapshot is None:
            self._runs += 1
        addresses = self._start_servers()
        host, memory = self._place(self._is_shared)
        self.master = node = MasterNode(
            self.world, self.network, self.case.description, self.case.sources, self.settings,
            snapshot.run if snapshot else f"run-{self._runs}", snapshot, self._on_save, self._on_master,
            self._make_master, memory, addresses, f"m{len(self.masters)}".encode(), self._on_restart,
            host, self.hardware.costs,
        )  # fmt: skip
        self._writer = Writer(
            self.world, self.disk, lambda snapshot, is_last: self._on_written(node, snapshot, is_last)
        )
        self.masters.append(node)
        self.world.after(0.0, node.turn)
        return node

    def start_worker(
        self,
        pace: Pace = Pace(),  # noqa: B008
        is_shared: bool = True,
        host: Host | None = None,
        **changes: Any,
    ) -> WorkerNode:
        """Start a worker; every start is a new incarnation, with an address of its own.

        is_shared: where the cluster's processes are on one host, this one is there too. host: where it is
        otherwise, instead of a host of its own.
        """
        self._incarnations += 1
        join = dataclasses.replace(join_of(f"w{self._incarnations}"), **changes)
        place, memory = self._place(self._is_shared and is_shared)
        node = WorkerNode(
            self.world, self.network, f"sender-{self._incarnations}".encode(), join, pace,
            self.case.make_replica, memory, self._on_compute, self._on_worker,
            host=host or place, costs=self.hardware.costs,
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
        self._tell_end(node)

    def _tell_end(self, node: WorkerNode) -> None:
        """The kernel tells whoever runs on the same host."""
        master = self.master
        if master is not None:
            self.world.after(0.0, lambda: master.ended(node.address))

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
        host, memory = self._place(self._is_shared and address in self.own_servers)
        self.servers[address] = node = ServerNode(
            self.world, self.network, address, memory, self._make_server, self._on_server,
            host, self.hardware.costs,
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

    def new_host(self) -> Host:
        return Host(Links(self.world, self.hardware.bandwidth), Cores(self.world, self.hardware.cores))

    def _place(self, is_shared: bool) -> tuple[Host, Memory]:
        """Host and memory of a process: those that all share, or its own."""
        return (self._host, self._host.process()) if is_shared else (self.new_host(), Heap())

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

    def _found(self) -> Snapshot | None:
        """What a master that starts finds on the disk. It is the master's own: it averages into it."""
        saved = self.saved
        return None if saved is None else dataclasses.replace(saved, vector=np.array(saved.vector))

    # -- what the nodes tell ----------------------------------------------------------------------------

    def _on_save(self, node: MasterNode, snapshot: Snapshot) -> None:
        self._writer.put(dataclasses.replace(snapshot, vector=np.array(snapshot.vector)))

    def _on_written(self, node: MasterNode, snapshot: Snapshot, is_last: bool) -> None:
        """A master that is killed meanwhile has not saved. is_last: nothing else waits to be written."""
        if node.is_alive:
            self.saved = snapshot
            if is_last:
                node.saved()

    def _on_master(self, node: MasterNode) -> None:
        if node.finished is not None:
            self.finished, self.master = node.finished, None
            self._end_own_servers()

    def _on_server(self, node: ServerNode) -> None:
        """A server has had its turn."""

    def _on_worker(self, node: WorkerNode) -> None:
        if node.exit is not None and node in self.workers:
            self.workers.remove(node)
            self.left.append(node)
            self._tell_end(node)
            if self.finished is None:
                self.on_left(node)

    def _on_compute(self, node: WorkerNode, task: Compute) -> None:
        self.before_compute(node, task)


def join_of(name: str) -> m.Join:
    return m.Join(m.PROTOCOL, name, "host", 1, "cpu", "", "numpy")
