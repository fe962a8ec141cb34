"""The vectors of a replica that trains no model: the same slots as those of `ps_worker.replica.Replica`."""

from ps_common.arrays import HostArray
from ps_common.layout import Layout
from ps_common.memory import Memory


class Slots:
    """Vectors of `layout` by slot; `vector` is that of the slot in use."""

    def __init__(self, layout: Layout, memory: Memory) -> None:
        self.layout = layout
        self._memory = memory
        self._slots: dict[int, HostArray] = {}
        self.use(0)

    def use(self, slot: int, vector: HostArray | None = None) -> HostArray | None:
        before = None
        if vector is not None:
            before, self._slots[slot] = self._slots.get(slot), vector
        if slot not in self._slots:
            self._slots[slot] = self._memory.allocate(self.layout.nbytes)
        self.vector = self._slots[slot]
        return before
