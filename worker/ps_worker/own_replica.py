"""The replica of a class of the user's own, which has its arrays and makes its own steps.

    class Mean:                                       # the mean of x: Job(model=Mean(), train=..., plan=...)
        def __init__(self):
            self.mean = np.zeros(5, np.float32)

        def parameters(self):
            return {"mean": self.mean}

        def train(self, batch):
            x, y = batch
            error = x - self.mean
            self.mean += 0.1 * error.mean(axis=0)
            return (error * error).mean()

It must have

    parameters()     name -> array, float32 or float64, or a list of arrays: what is trained and averaged
    train(batch)     one step on (x, y), NumPy arrays of shape (n, ...); returns the mean loss, or a dict of
                     means over the batch with one called "loss"

and may have

    evaluate(batch)  the same without a step, on test data
    buffers()        arrays that are averaged and not trained: running statistics
    state()          arrays of its optimizer. The plan's `optimizer_state` says what becomes of them: averaged
                     with the weights, set back to their first values, or kept by whoever trained the shard
    begin(rng)       told before each unit; all that is random in the unit must come from this NumPy generator
    follow(steps)    told before each unit how many steps its shard has made in the run, epoch by epoch: what
                     a learning rate may follow
    load(parameters, buffers, state)
                     takes values, NumPy by name, where its arrays cannot be written in place. Of what is
                     not named the values stay

The object is made by running the job's file in each worker. Its first values are those it is made with, so
a seed belongs in the file. A unit is a pure function if all that a step changes is in the arrays above;
what else the object remembers from step to step goes from one unit to the next of the same worker, whichever
it is, and then results depend on who computed what, as with `optimizer_state="local"`.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ps_common.arrays import HostArray
from ps_common.errors import JobCodeError
from ps_common.job import Description
from ps_common.layout import Layout
from ps_common.memory import Heap, Memory
from ps_common.seeds import Purpose, generator
from ps_worker.effects import Contribution
from ps_worker.own_arrays import OwnArrays
from ps_worker.replica import EVALUATED_AT_ONCE, Watch
from ps_worker.rows import ShardRows
from ps_worker.units import Order, require_finite

Step = Callable[[tuple[HostArray, ...]], Any]


class OwnReplica:
    """Computes units with `model`, as `Replica` does with layers, and is used in the same way."""

    def __init__(self, job: Description, model: Any, watch: Watch, memory: Memory | None = None) -> None:
        self.job = job
        self._model, self._watch = model, watch
        self._arrays = OwnArrays(model)
        entries = self._arrays.entries
        self._is_averaged = job.plan.optimizer_state == "average"
        self.layout = Layout(e for e in entries.values() if e.role != "slot" or self._is_averaged)
        self._first = {name: np.empty(e.shape, e.dtype) for name, e in entries.items()}
        self._arrays.read(self._first)
        self._state = {n: v for n, v in self._first.items() if entries[n].role == "slot"}  # at first
        self._state_of: dict[int, dict[str, HostArray]] = {}  # by shard, where it is local
        self._memory: Memory = memory or Heap()
        self._slots: dict[int, HostArray] = {}
        self._order = Order(job)
        self.use(0)

    def use(self, slot: int, vector: HostArray | None = None) -> HostArray | None:
        """Contribute in this slot from now on; in `vector`, if given, in the place of what was there.

        Returns what was there.
        """
        before = None
        if vector is not None:
            before, self._slots[slot] = self._slots.get(slot), vector
        if slot not in self._slots:
            self._slots[slot] = self._memory.allocate(self.layout.nbytes)
        self.vector = self._slots[slot]
        return before

    def initialise(self) -> Contribution:
        """The unit "initialise": the values the object was made with."""
        began = time.perf_counter()
        self.vector[...] = 0
        for name, view in self.layout.views(self.vector).items():
            view[...] = self._first[name]
        return self._contribution(0, {}, began, self.layout.to_plain())

    def train(self, base: HostArray | None, rows: ShardRows, round_: int, shard: int) -> Contribution:
        """The unit (round, shard): the plan's local steps from `base` on the shard's next batches.

        base: the canonical weights; None where they lie in the slot already.
        Raises `DataError` for a loss or a metric that is no number.
        """
        began = time.perf_counter()
        state = {} if self._is_averaged else self._state
        if self.job.plan.optimizer_state == "local":
            state = self._state_of.get(shard, state)
        self._load(base, state)
        if (follow := getattr(self._model, "follow", None)) is not None:
            follow(self.job.schedule.batches_before(round_, shard))
        if (begin := getattr(self._model, "begin", None)) is not None:
            begin(generator(self.job.seed, Purpose.TRAIN, round_, shard))
        chosen = self._order.of(round_, shard)
        sums = Means("train", type(self._model).__name__)
        with contextlib.closing(rows.batches(chosen, self.job.plan.batch_size)) as batches:
            for batch in batches:
                sums.add(self._model.train, batch)
                if self._steps_on():
                    break
        values = self._values(sums, f"round {round_}, shard {shard}")
        self._arrays.read(self.layout.views(self.vector))
        if self.job.plan.optimizer_state == "local":
            self._state_of[shard] = {name: np.empty_like(value) for name, value in self._state.items()}
            self._arrays.read(self._state_of[shard])
        return self._contribution(len(chosen), values, began)

    def evaluate(self, base: HostArray | None, rows: ShardRows, shard: int) -> Contribution:
        """The unit that evaluates `base` on all rows of a test shard."""
        began = time.perf_counter()
        self._load(base, {})
        sums = Means("evaluate", type(self._model).__name__)
        at_once = max(self.job.plan.batch_size, EVALUATED_AT_ONCE)
        with contextlib.closing(rows.blocks(at_once)) as blocks:
            for _, block in blocks:
                sums.add(self._model.evaluate, block)
                if self._steps_on():
                    break
        values = self._values(sums, f"test shard {shard}")
        return Contribution(rows.size, values, time.perf_counter() - began)

    def settle(self) -> None:
        """Nothing is written to its vectors but in a unit."""

    def check(self, split: str, shard: int, rows: ShardRows) -> None:
        """What targets may be, the class alone knows."""

    def _load(self, base: HostArray | None, state: dict[str, HostArray]) -> None:
        """Take the canonical weights, which are in the slot then as the master assumes, and other state."""
        if base is not None:
            self.vector[...] = base
        self._arrays.write({**self.layout.views(self.vector), **state})

    def _steps_on(self) -> bool:
        """Count a step; whether the unit is wanted no more."""
        self._watch.step += 1
        return self._watch.is_cancelled

    def _values(self, sums: "Means", where: str) -> dict[str, list[float]]:
        values = sums.values()
        if not self._watch.is_cancelled:
            require_finite(values, where)
        return values

    def _contribution(
        self, samples: int, sums: dict[str, list[float]], began: float, layout: Any = None
    ) -> Contribution:
        spent_s = time.perf_counter() - began
        return Contribution(samples, sums, spent_s, self.vector, layout, self._memory.descriptor(self.vector))


class Means:
    """Sums over a unit, from means over its batches. Figures of a device stay there until the end."""

    def __init__(self, method: str, called: str) -> None:
        self._says = f"{called}.{method}(batch)"
        self._totals: dict[str, Any] = {}
        self._samples = 0

    def add(self, step: Step, batch: tuple[HostArray, ...]) -> None:
        """Make a step, and take in what it returns."""
        returned = step(batch)
        means = returned if isinstance(returned, Mapping) else {"loss": returned}
        if "loss" not in means or (self._totals and means.keys() != self._totals.keys()):
            raise JobCodeError(
                f'{self._says} must return the mean loss, or a dict with "loss" and each time the same '
                f"names; it returned {sorted(map(str, means))}"
            )
        samples = len(batch[0])
        for name, mean in means.items():
            self._totals[name] = self._totals.get(name, 0.0) + self._number(name, mean) * samples
        self._samples += samples

    def values(self) -> dict[str, list[float]]:
        """Numerator and denominator by name."""
        return {name: [float(total), float(self._samples)] for name, total in self._totals.items()}

    def _number(self, name: str, mean: Any) -> Any:
        if isinstance(mean, bool | int | float | np.generic) or (
            isinstance(mean, np.ndarray) and not mean.ndim
        ):
            return float(mean)
        if getattr(mean, "shape", None) != ():
            what = f"of shape {tuple(mean.shape)}" if hasattr(mean, "shape") else repr(mean)[:80]
            raise JobCodeError(
                f"{self._says}: {name} must be one number, the mean over the batch, not a "
                f"{type(mean).__name__} {what}"
            )
        return mean
