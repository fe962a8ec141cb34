"""The replica: a model bound to one flat vector, and the three kinds of unit computed on it.

A unit is a pure function of the canonical weights, the shard's rows and names (round, shard) from which
its randomness derives. The replica keeps nothing from one unit to the next but memory to compute in
(and the optimizer's slots, where the plan says "local").
"""

import dataclasses
import functools
import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from ps_common.arrays import Array, Device, HostArray, to_device, to_host
from ps_common.errors import DataError
from ps_common.job import Description
from ps_common.layout import Entry, Layout
from ps_common.memory import Heap, Memory
from ps_common.seeds import Purpose, generator
from ps_common.shards import shuffled
from ps_common.vocabulary import from_plain
from ps_worker import nn
from ps_worker.effects import Contribution
from ps_worker.rows import ShardRows

BINDINGS_MAX = 4  # two slots, and two more that take turns with them
SLOT = "optimizer."  # how an optimizer's slots are called in the layout


@dataclasses.dataclass(frozen=True)
class Parts:
    """The objects a job is made of."""

    model: nn.Layer
    loss: nn.Loss
    optimizer: nn.Optimizer
    regularizer: nn.Regularizer | None
    metrics: tuple[nn.Metric, ...]

    @classmethod
    def of(cls, job: Description) -> "Parts":
        """Built from the description alone; raises `PeerError` for what is not in the vocabulary."""
        return cls(*(from_plain(getattr(job, field.name)) for field in dataclasses.fields(cls)))


@dataclasses.dataclass
class Watch:
    """What the computing side shows while it works, and how it is told to stop: read by another thread."""

    step: int = 0
    is_cancelled: bool = False


class UnitContext(nn.Context):
    """What a unit's training steps may ask. Its random stream is made when first asked for.

    Most models draw no random numbers, and making a stream takes as long as a step of a small one.
    """

    def __init__(self, seed: int, round_: int, shard: int) -> None:
        vars(self).update(training=True, _names=(seed, Purpose.TRAIN, round_, shard))

    @functools.cached_property
    def rng(self) -> np.random.Generator:
        return generator(*vars(self)["_names"])


@dataclasses.dataclass(frozen=True)
class Binding:
    """What a replica computes with, while it computes in one vector: views into that."""

    vector: Array
    weights: Array
    bound: nn.Bound
    slots: dict[str, Array]  # the optimizer's


class Replica:
    """A replica of the job's model on a device.

    vector: the flat vector on the device, weights first, then the averaged slots (see `Layout`).
    memory: where its vectors on the host lie. There are up to two, the slots, so that one can be computed in
    while the other is lent; on the CPU `vector` is one of them.
    """

    def __init__(
        self, job: Description, parts: Parts, device: Device, watch: Watch, memory: Memory | None = None
    ) -> None:
        self.job = job
        self._parts = parts
        self._device = device
        self._watch = watch
        x = job.train.fields[0]
        self._network = nn.Network(parts.model, parts.loss, parts.regularizer, x.shape, job.plan.dtype)
        self.layout = Layout(self._entries())
        self._memory: Memory = memory or Heap()
        self._hosts: dict[int, HostArray] = {}  # by slot
        self._host = self._host_of(0)
        self.vector = self._host if device.index is None else to_device(self._host, device)
        self._bindings: list[Binding] = []  # of the vectors used last
        (self._weights,) = self.layout.run_views(self.vector, "weight")
        self._gradient = device.xp.zeros_like(self._weights)
        self._scratch = nn.scratch_for(self._weights)
        self._own_slots = self._new_slots() if job.plan.optimizer_state != "average" else {}
        self._slots_of: dict[int, dict[str, Array]] = {}  # by shard, where they are local
        self._ordered = (-1, -1)  # epoch and shard of the order that was made last
        self._last_order: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._bind()

    def use(self, slot: int, vector: HostArray | None = None) -> HostArray | None:
        """Compute in this slot from now on; in `vector`, if given, which takes the place of what was there.

        Returns what was there.
        """
        before = None
        if vector is not None:
            before, self._hosts[slot] = self._hosts.get(slot), vector
        host = self._host_of(slot)
        if host is not self._host:
            self._host = host
            if self._device.index is None:
                self.vector = host
                self._bind()
        return before

    def initialise(self) -> Contribution:
        """The unit "initialise": the first weights, from the seed."""
        began = time.perf_counter()
        self.vector[...] = 0
        views = self.layout.views(self.vector)
        self._network.initialise(views, generator(self.job.seed, Purpose.INITIALISE))
        return self._contribution(0, {}, began, layout=self.layout.to_plain())

    def train(self, base: HostArray | None, rows: ShardRows, round_: int, shard: int) -> Contribution:
        """The unit (round, shard): the plan's local steps from `base` on the shard's next batches.

        base: the canonical weights; None where they lie in the slot already.
        Raises `DataError` for a loss or a metric that is no number.
        """
        began = time.perf_counter()
        job, schedule = self.job, self.job.schedule
        slots = self._begin(base, shard)
        positions = schedule.positions(round_, shard)
        chosen = self._order(schedule.epoch(round_), shard)[positions.start : positions.stop]
        context = UnitContext(job.seed, round_, shard)
        sums = Sums(self._parts.metrics if job.test is None else ())
        for first in range(0, len(chosen), job.plan.batch_size):
            x, y = self._to_device(rows.take(chosen[first : first + job.plan.batch_size]))
            loss_sum, output = self._network.train_step(x, y, context)
            self._parts.optimizer.step(self._weights, self._gradient, slots, self._scratch)
            sums.add(loss_sum, output, y)
            self._watch.step += 1
            if self._watch.is_cancelled:
                break
        values = sums.values()
        self._require_finite(values, f"round {round_}, shard {shard}")
        if job.plan.optimizer_state == "local":
            self._slots_of[shard] = {name: slot.copy() for name, slot in slots.items()}
        return self._contribution(len(chosen), values, began)

    def evaluate(self, base: HostArray | None, rows: ShardRows, shard: int) -> Contribution:
        """The unit that evaluates `base` on all rows of a test shard."""
        began = time.perf_counter()
        self._load(base)
        sums = Sums(self._parts.metrics)
        for _, block in rows.blocks():
            x, y = self._to_device(block)
            loss_sum, output = self._network.evaluate(x, y)
            sums.add(loss_sum, output, y)
            self._watch.step += 1
            if self._watch.is_cancelled:
                break
        values = sums.values()
        self._require_finite(values, f"test shard {shard}")
        return Contribution(rows.size, values, time.perf_counter() - began)

    def check(self, split: str, shard: int, rows: ShardRows) -> None:
        """Raise `DataError` naming the first sample of a shard whose target the loss cannot take."""
        for first, (_, targets) in rows.blocks():
            where = f"{split} data, shard {shard}" + (f", from sample {first} on" if first else "")
            self._parts.loss.check_targets(targets, self._network.output_shape, where)

    def _entries(self) -> list[Entry]:
        dtype = self.job.plan.dtype
        specification = self._network.specification()
        entries = [
            Entry(n, p.shape, dtype, "weight" if p.trained else "buffer") for n, p in specification.items()
        ]
        if self.job.plan.optimizer_state == "average":
            trained = sum(entry.size for entry in entries if entry.role == "weight")
            slots = self._parts.optimizer.slots(trained)
            entries += [Entry(SLOT + name, shape, dtype, "slot") for name, shape in slots.items()]
        return entries

    def _new_slots(self) -> dict[str, Array]:
        xp, dtype = self._device.xp, self.job.plan.dtype
        shapes = self._parts.optimizer.slots(self._weights.size)
        return {name: xp.zeros(shape, dtype) for name, shape in shapes.items()}

    def _bind(self) -> None:
        """Point the network and the optimizer at their parts of the flat buffers."""
        binding = next((b for b in self._bindings if b.vector is self.vector), None)
        if binding is None:
            binding = self._make_binding()
            self._bindings = [*self._bindings[1 - BINDINGS_MAX :], binding]
        self._weights, self._slots = binding.weights, binding.slots
        self._network.use(binding.bound)

    def _make_binding(self) -> "Binding":
        views = self.layout.views(self.vector)
        (weights,) = self.layout.run_views(self.vector, "weight")
        names = {e.name for e in self.layout.entries if e.role != "slot"}
        gradients, at = {}, 0
        for entry in self.layout.entries:
            if entry.role == "weight":
                gradients[entry.name] = self._gradient[at : at + entry.size].reshape(entry.shape)
                at += entry.size
        bound = self._network.bind({name: views[name] for name in names}, gradients)
        slots = {n.removeprefix(SLOT): view for n, view in views.items() if n not in names}
        return Binding(self.vector, weights, bound, slots or self._own_slots)

    def _host_of(self, slot: int) -> HostArray:
        if slot not in self._hosts:
            self._hosts[slot] = self._memory.allocate(self.layout.nbytes)
        return self._hosts[slot]

    def _load(self, base: HostArray | None) -> None:
        if base is not None:
            self._host[...] = base  # the slot holds what the unit begins with; on the CPU it is the vector
        if self._device.index is not None:
            self.vector[...] = to_device(self._host, self._device)

    def _begin(self, base: HostArray | None, shard: int) -> dict[str, Array]:
        """Load the canonical weights; return the optimizer's slots as the plan wants them."""
        self._load(base)
        kept = self._slots_of.get(shard, {})
        for name, slot in self._own_slots.items():
            slot[...] = kept.get(name, 0)
        return self._slots

    def _to_device(self, fields: tuple[HostArray, ...]) -> tuple[Array, Array]:
        x, y = (to_device(field, self._device) for field in fields)
        return x, y

    def _contribution(
        self, samples: int, sums: dict[str, list[float]], began: float, layout: Any = None
    ) -> Contribution:
        if self._device.index is not None:
            to_host(self.vector, out=self._host)
        descriptor = self._memory.descriptor(self._host)
        return Contribution(samples, sums, time.perf_counter() - began, self._host, layout, descriptor)

    def _order(self, epoch: int, shard: int) -> npt.NDArray[np.int64]:
        """The epoch's order of a shard: made once an epoch, where units of one shard follow each other."""
        if self._ordered != (epoch, shard):
            size = self.job.schedule.shards.size(shard)
            self._ordered, self._last_order = (epoch, shard), shuffled(self.job.seed, epoch, shard, size)
        return self._last_order

    def _require_finite(self, sums: dict[str, list[float]], where: str) -> None:
        if self._watch.is_cancelled:
            return
        for name, values in sums.items():
            if not all(map(math.isfinite, values)):
                raise DataError(
                    f"the {name} became {values[0] / (values[-1] or 1)} in {where}; the learning rate may be "
                    "too high or the data may hold NaN or infinity"
                )


class Sums:
    """The sums of the loss and the metrics over a unit, kept on the device until the end."""

    def __init__(self, metrics: tuple[nn.Metric, ...]) -> None:
        self._metrics = metrics
        self._totals: dict[str, tuple[Array, ...]] = {}
        self._samples = 0

    def add(self, loss_sum: Array, output: Array, target: Array) -> None:
        self._samples += len(output)
        self._add("loss", (loss_sum,))
        for metric in self._metrics:
            self._add(metric.name, metric.sums(output, target))

    def values(self) -> dict[str, list[float]]:
        """Numerator and denominator by name."""
        values = {name: [float(part) for part in parts] for name, parts in self._totals.items()}
        values["loss"].append(float(self._samples))
        return values

    def _add(self, name: str, parts: tuple[Array, ...]) -> None:
        before = self._totals.get(name)
        self._totals[name] = (
            parts if before is None else tuple(a + b for a, b in zip(before, parts, strict=True))
        )
