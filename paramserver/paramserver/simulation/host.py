"""A host in the simulation: its processes share memory, a link and cores.

The memory is that of production without a kernel. Link and cores are there where they are modelled.
"""

from paramserver.simulation.cores import Cores
from paramserver.simulation.links import Links
from ps_common.arrays import HostArray
from ps_common.errors import PeerError
from ps_common.memory import Heap, Unshared


class Host:
    """What is mapped on one machine: vectors by process and descriptor. A process's own go with it."""

    def __init__(self, links: Links | None = None, cores: Cores | None = None) -> None:
        self.links, self.cores = links, cores
        self.vectors: dict[int, dict[int, HostArray]] = {}
        self._processes = 0

    def process(self) -> "HostMemory":
        self._processes += 1
        own = self.vectors[self._processes] = {}
        return HostMemory(self, self._processes, own)

    def end(self, pid: int) -> None:
        """The process is gone: nobody can attach its vectors any more; who has attached keeps them."""
        self.vectors.pop(pid, None)


class HostMemory(Heap):
    """The memory of one process of a host; `own` are its vectors by descriptor."""

    home = place = "host"

    def __init__(self, host: Host, pid: int, own: dict[int, HostArray]) -> None:
        self.host, self.pid, self.own = host, pid, own

    def allocate(self, nbytes: int) -> HostArray:
        number = len(self.own)
        self.own[number] = super().allocate(nbytes)
        return self.own[number]

    def descriptor(self, vector: HostArray) -> int:
        found = (number for number, one in self.own.items() if one is vector)
        return next(found, super().descriptor(vector))

    def attach(self, pid: int, descriptor: int, nbytes: int) -> HostArray:
        vector = self.host.vectors.get(pid, {}).get(descriptor)
        if vector is None:
            raise Unshared(f"process {pid} is gone")
        if vector.nbytes != nbytes:
            raise PeerError(f"the vector of process {pid} has {vector.nbytes} bytes, not {nbytes}")
        return vector
