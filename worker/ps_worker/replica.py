"""The replica: a model bound to one flat vector, and the three kinds of unit computed on it.

A unit is a pure function of the canonical weights, the shard's rows and names (round, shard) from which
its randomness derives. The replica keeps nothing from one unit to the next but memory to compute in
(and the optimizer's slots, where the plan says "local").
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ps_common.arrays import Array, Device, HostArray
from ps_common.errors import DataError
from ps_common.job import Description
from ps_common.layout import Entry, Layout
from ps_common.memory import Memory
from ps_common.messages import NOT_SHARED
from ps_common.seeds import Purpose, generator
from ps_common.vocabulary import from_plain
from ps_worker import nn
from ps_worker.arrival import Arrival
from ps_worker.device_copies import Copies, copies_for
from ps_worker.effects import Contribution
from ps_worker.nn.inputs import WrongNumber
from ps_worker.rows import ShardRows
from ps_worker.units import Order, require_finite

BINDINGS_MAX = 4  # two slots, and two more that take turns with them
EVALUATED_AT_ONCE = 64  # samples, or a batch if that is more: of a few MiB of words a model makes gigabytes
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
    while the other is lent; on the CPU `vector` is one of them. `Copies` knows the way to a GPU and back.
    """

    def __init__(
        self, job: Description, parts: Parts, device: Device, watch: Watch, memory: Memory | None = None
    ) -> None:
        self.job = job
        self._parts = parts
        self._xp = device.xp
        self._watch = watch
        self._network = network_of(job, parts)
        self.layout = layout_of(job, parts, self._network)
        self._copies: Copies = copies_for(device, memory)
        self._memory = self._copies.memory
        self._hosts: dict[int, HostArray] = {}  # by slot
        self._host = self._host_of(0)
        self.vector = self._copies.vector(self._host)
        self._bindings: list[Binding] = []  # of the vectors used last
        (self._weights,) = self.layout.run_views(self.vector, "weight")
        self._gradient = device.xp.zeros_like(self._weights)
        self._scratch = nn.scratch_for(self._weights)
        self._optimizer = parts.optimizer.decaying(self._network.decayed)
        self._own_slots = self._new_slots() if job.plan.optimizer_state != "average" else {}
        self._slots_of: dict[int, dict[str, Array]] = {}  # by shard, where they are local
        self._order = Order(job)
        self._bind()

    def use(self, slot: int, vector: HostArray | None = None) -> HostArray | None:
        """Compute in this slot from now on; in `vector`, if given, which takes the place of what was there.

        Returns what was there.
        """
        self._copies.settle()
        before = None
        if vector is not None:
            before, self._hosts[slot] = self._hosts.get(slot), vector
        self._host = self._host_of(slot)
        computed_in = self._copies.vector(self._host)
        if computed_in is not self.vector:
            self.vector = computed_in
            self._bind()
        return before

    def settle(self) -> None:
        """Come back when nothing is written to the host's vectors any more."""
        self._copies.settle()

    def initialise(self) -> Contribution:
        """The unit "initialise": the first weights, from the seed."""
        began = time.perf_counter()
        self.vector[...] = 0
        views = self.layout.views(self.vector)
        self._network.initialise(views, generator(self.job.seed, Purpose.INITIALISE))
        arrival = self._copies.store(self._host)
        return self._contribution(0, {}, began, arrival, layout=self.layout.to_plain())

    def train(self, base: HostArray | None, rows: ShardRows, round_: int, shard: int) -> Contribution:
        """The unit (round, shard): the plan's local steps from `base` on the shard's next batches.

        base: the canonical weights; None where they lie in the slot already.
        Raises `DataError` for a loss or a metric that is no number.
        """
        began = time.perf_counter()
        job = self.job
        self._begin(base, shard)
        chosen = self._order.of(round_, shard)
        context = UnitContext(job.seed, round_, shard)
        sums = Sums(self._parts.metrics if job.test is None else ())
        first = round_ * job.plan.local_steps  # step of the run: a learning rate follows it
        with contextlib.closing(rows.batches(chosen, job.plan.batch_size)) as batches:
            for number, batch in enumerate(batches, first):
                x, y = self._copies.fields(batch)
                loss_sum, output = self.step(x, y, context, number)
                sums.add(loss_sum, output, y)
                self._watch.step += 1
                if self._watch.is_cancelled:
                    break
        arrival = self._copies.store(self._host)
        values = sums.values(self._copies)
        self._require_finite(values, f"round {round_}, shard {shard}")
        if job.plan.optimizer_state == "local":
            self._slots_of[shard] = {name: slot.copy() for name, slot in self._slots.items()}
        return self._contribution(len(chosen), values, began, arrival)

    def step(self, x: Array, y: Array, context: nn.Context, number: int = 0) -> tuple[Array, Array]:
        """Step `number` of the run, on a batch that lies on the device: the sum of losses, and the output."""
        loss_sum, output = self._network.train_step(x, y, context)
        self._optimizer.at(number).step(self._weights, self._gradient, self._slots, self._scratch)
        return loss_sum, output

    def evaluate(self, base: HostArray | None, rows: ShardRows, shard: int) -> Contribution:
        """The unit that evaluates `base` on all rows of a test shard."""
        began = time.perf_counter()
        self._copies.load(base, self._host)
        sums = Sums(self._parts.metrics)
        at_once = max(self.job.plan.batch_size, EVALUATED_AT_ONCE)
        with contextlib.closing(rows.blocks(at_once)) as blocks:
            for _, block in blocks:
                x, y = self._copies.fields(block)
                loss_sum, output = self._network.evaluate(x, y)
                sums.add(loss_sum, output, y)
                self._watch.step += 1
                if self._watch.is_cancelled:
                    break
        self._copies.keep(base, self._host)
        values = sums.values(self._copies)
        self._require_finite(values, f"test shard {shard}")
        return Contribution(rows.size, values, time.perf_counter() - began)

    def check(self, split: str, shard: int, rows: ShardRows) -> None:
        """Raise `DataError` naming the first sample of a shard that the model or the loss cannot take."""
        with contextlib.closing(rows.blocks()) as blocks:
            for first, (inputs, targets) in blocks:
                where = f"{split} data, shard {shard}" + (f", from sample {first} on" if first else "")
                with self._named(split, shard, first, field=0):
                    self._parts.model.check_inputs(inputs, where)
                with self._named(split, shard, first, field=1):
                    self._parts.loss.check_targets(targets, self._network.output_shape, where)

    @contextlib.contextmanager
    def _named(self, split: str, shard: int, first: int, field: int) -> Iterator[None]:
        """Say of a wrong number, in samples from `first` on, which row of the data set and column it is."""
        try:
            yield
        except WrongNumber as error:
            data, shards = self.job.split(split)
            column = None if error.at is None else data.column(field, error.at)
            of = "" if column is None else f", column {column!r}"
            row = shards.row(shard, first + error.sample)
            raise DataError(f"{error} (row {row} of the data, from 0{of})") from error

    def _new_slots(self) -> dict[str, Array]:
        xp, dtype = self._xp, self.job.plan.dtype
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
        flat = (weights, self._gradient)
        bound = self._network.bind({name: views[name] for name in names}, gradients, flat)
        slots = {n.removeprefix(SLOT): view for n, view in views.items() if n not in names}
        return Binding(self.vector, weights, bound, slots or self._own_slots)

    def _host_of(self, slot: int) -> HostArray:
        if slot not in self._hosts:
            self._hosts[slot] = self._memory.allocate(self.layout.nbytes)
        return self._hosts[slot]

    def _begin(self, base: HostArray | None, shard: int) -> None:
        """Load the canonical weights, and have the optimizer's slots as the plan wants them."""
        self._copies.load(base, self._host)
        kept = self._slots_of.get(shard, {})
        for name, slot in self._own_slots.items():
            slot[...] = kept.get(name, 0)

    def _contribution(
        self,
        samples: int,
        sums: dict[str, list[float]],
        began: float,
        arrival: Arrival,
        layout: Any = None,
    ) -> Contribution:
        descriptor = self._memory.descriptor(self._host)
        if descriptor != NOT_SHARED:
            arrival.wait()  # the master may read all of it at once
        spent_s = time.perf_counter() - began
        return Contribution(samples, sums, spent_s, self._host, layout, descriptor, arrival=arrival)

    def _require_finite(self, sums: dict[str, list[float]], where: str) -> None:
        if not self._watch.is_cancelled:
            require_finite(sums, where)


def network_of(job: Description, parts: Parts) -> nn.Network:
    """The model of a job, with its loss."""
    x = job.train.fields[0]
    plan = job.plan
    return nn.Network(parts.model, parts.loss, parts.regularizer, x.shape, plan.dtype, plan.precision)


def layout_of(job: Description, parts: Parts, network: nn.Network) -> Layout:
    """What is averaged: the network's parameters, and the optimizer's slots where the plan says so."""
    dtype, specification = job.plan.dtype, network.specification()
    entries = [
        Entry(n, p.shape, dtype, "weight" if p.trained else "buffer") for n, p in specification.items()
    ]
    if job.plan.optimizer_state == "average":
        trained = sum(entry.size for entry in entries if entry.role == "weight")
        slots = parts.optimizer.slots(trained)
        entries += [Entry(SLOT + name, shape, dtype, "slot") for name, shape in slots.items()]
    return Layout(entries)


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

    def values(self, copies: Copies) -> dict[str, list[float]]:
        """By name, those of a ratio as numerator and denominator: waits for what was computed."""
        numbers = iter(copies.numbers([part for parts in self._totals.values() for part in parts]))
        values = {name: [n for _ in parts for n in next(numbers)] for name, parts in self._totals.items()}
        values["loss"].append(float(self._samples))
        return values

    def _add(self, name: str, parts: tuple[Array, ...]) -> None:
        before = self._totals.get(name)
        self._totals[name] = (
            parts if before is None else tuple(a + b for a, b in zip(before, parts, strict=True))
        )
