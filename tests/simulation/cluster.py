"""A simulated cluster in which everything is checked after every turn, whatever is done to it."""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paramserver import checkpoint
from paramserver.effects import Snapshot
from paramserver.machine import Master
from paramserver.progress import Progress
from paramserver.settings import Settings
from paramserver.simulation import cluster
from paramserver.simulation.case import Case
from paramserver.simulation.cluster import join_of
from paramserver.simulation.master_node import MasterNode
from paramserver.simulation.network import CALM, MASTER, Weather
from paramserver.simulation.server_node import ServerNode
from paramserver.simulation.worker_node import WorkerNode
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.memory import Heap
from ps_worker.effects import Compute
from simulation.checks import Checks


class Cluster(cluster.Cluster):
    """One run, with its checks.

    make_master, make_server: subclasses, to show that a check can fail. is_thorough: check every member and
    chunk after every turn; not with thousands of workers.
    """

    def __init__(
        self,
        seed: int,
        case: Case,
        settings: Settings,
        weather: Weather = CALM,
        make_master: Callable[..., Master] = Master,
        is_thorough: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(seed, case, settings, weather, make_master, **more)
        self.checks = Checks(case.description, is_thorough)

    def start_master(self) -> MasterNode:
        node = super().start_master()
        self.checks.new_master(node)
        return node

    @property
    def is_end_saved(self) -> bool:
        """Whether a master that starts now finds nothing left to do, or the disk was given up."""
        notes = [note.text for master in self.masters for note in master.notes if note.event == "checkpoint"]
        if any("takes too long" in text for text in notes):
            return True
        saved = self.saved
        if saved is None:
            return False
        progress = Progress(saved.version, saved.samples, saved.sums, saved.history, saved.done)
        return progress.next_stage(self.case.description) is None

    @property
    def final(self) -> HostArray:
        """The flat vector that the last master ended with."""
        assert self.checks.last is not None
        return self.checks.last

    def weights_sha256(self) -> str:
        layout = self.case.make_replica(self.case.description, Heap()).layout
        return layout.weights_sha256(self.final)

    def _found(self) -> Snapshot | None:
        return None if self.saved is None else through_a_file(self.saved)

    def _on_master(self, node: MasterNode) -> None:
        self.checks.after_master(node, self.network)
        super()._on_master(node)

    def _on_server(self, node: ServerNode) -> None:
        self.checks.after_server(node, self.network)

    def _on_compute(self, node: WorkerNode, task: Compute) -> None:
        if not self._is_shared or self._is_current(node, task.lease):
            self.checks.before_compute(task)
        super()._on_compute(node, task)

    def _is_current(self, node: WorkerNode, lease: m.Lease) -> bool:
        """Whether a unit counts. One that is fenced may read memory that is in use for a later version."""
        master = self.master.machine if self.master else None
        member = master.members.get(node.address) if master else None
        return (
            master is not None
            and member is not None
            and master.leasing.current(member, lease.lease) is not None
        )


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
