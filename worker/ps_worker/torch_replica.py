"""A PyTorch module and its optimizer as one flat vector, to be averaged.

Parameters, buffers and the optimizer's moments become views of the vector, so that averaging it in place
is all there is to synchronising. The module works on as before: who trains it, a job's worker or a loop of
the user's own, is not known here.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt
import torch

from ps_common.arrays import HostArray
from ps_common.errors import UsageError
from ps_common.plan import STATES
from ps_worker.torch_checks import check_buffers, checked_parameters
from ps_worker.torch_state import STEP, slots_of

Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Arrays = Mapping[str, HostArray]
Batch = tuple[npt.ArrayLike, npt.ArrayLike]


class Replica:
    """`module`, trained with `optimizer`, in one flat vector.

    loss: a function of (output, target), the mean over the batch. Without one, the module is called with
        (x, y) in a job, and returns the mean loss itself.
    metrics: by name, further functions of (output, target), means over the batch.
    optimizer_state: what becomes of what the optimizer remembers. "average": it is a part of the vector;
        for SGD, Adam and AdamW, and in a job the plan says what to do with it. "local": it stays as it is.
        "reset": it is forgotten whenever a unit of a job begins; in a loop of your own as "local".
    rate: in a job, the factor of the optimizer's learning rates after so many steps of a shard, as for
        torch.optim.lr_scheduler.LambdaLR. No scheduler of PyTorch's is asked: what it counts is its own,
        and a unit must come out the same whoever computes it.

    vector: a tensor of the module's dtype and on its device. Parameters, buffers of real numbers and moments
    are views of it. Counts are not in it, that of BatchNorm's batches and Adam's of steps: in a loop of your
    own they stay each replica's own, in a job they are averaged beside it, and the batches rounded. Buffers
    of several integers are constants, and stay as the module makes them.

    As a job, and in a loop of your own:

        job = Job(model=Replica(module, optimizer, torch.nn.CrossEntropyLoss()), train=..., plan=...)

        replica = Replica(module, optimizer)
        with paramserver.connect("tcp://master:5555") as server:
            server.init(replica.vector)
            ...  # and after some steps
            server.push_pull(replica.vector, samples=...)

    What is a view must stay one: move or cast the module, and load states, before. Raises `UsageError` for
    parameters that are shared, sparse, of less than 32 bits or of several dtypes or devices, for none to
    train, and for an optimizer whose state is to be averaged and is not known.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Function | None = None,
        *,
        metrics: Mapping[str, Function] | None = None,
        optimizer_state: str = "average",
        rate: Callable[[int], float] | None = None,
    ) -> None:
        if optimizer_state not in STATES:
            raise UsageError(f"optimizer_state must be one of {', '.join(STATES)}, not {optimizer_state!r}")
        if metrics and loss is None:
            raise UsageError("metrics need an output, and a module without a loss beside it returns none")
        named = checked_parameters(module, optimizer)
        self.module, self.optimizer, self.loss = module, optimizer, loss
        self._metrics = dict(metrics or {})
        self._is_reset = optimizer_state == "reset"
        self._rate, self._steps_before = rate, 0
        self._full_rates = [group["lr"] for group in optimizer.param_groups]
        slots = slots_of(optimizer) if optimizer_state == "average" else {}
        moments, self._steps = _remembered(optimizer, named, slots)
        buffers = _persistent_buffers(module)
        floats = {name: b for name, b in buffers.items() if b.is_floating_point()}
        check_buffers(floats, next(iter(named.values())))
        self._counts = {n: b for n, b in buffers.items() if b.numel() == 1 and _is_integer(b)}
        frozen = {name: p for name, p in named.items() if not p.requires_grad}
        kinds: dict[str, Mapping[str, torch.Tensor]] = {
            "parameters": {name: p for name, p in named.items() if p.requires_grad},
            "buffers": {**frozen, **floats},
            "state": moments,
        }
        self.vector = _flat([tensor for tensors in kinds.values() for tensor in tensors.values()])
        self._host = self.vector if self.vector.device.type == "cpu" else self.vector.cpu()
        self._stretches, self._views = _cut(self._host.numpy(), kinds)

    # -- what a job asks for, see ps_worker/own_replica.py ------------------------------------------------

    def parameters(self) -> dict[str, HostArray]:
        """What is trained, by its name in the module."""
        return self._look("parameters")

    def buffers(self) -> dict[str, HostArray]:
        """What is averaged and not trained: buffers, frozen parameters, and counts as float64."""
        counts = {name: np.asarray(count.item(), np.float64) for name, count in self._counts.items()}
        return {**self._look("buffers"), **counts}

    def state(self) -> dict[str, HostArray]:
        """The optimizer's moments and counts of steps."""
        steps = {name: np.asarray(step.item(), np.float32) for name, step in self._steps.items()}
        return {**self._look("state"), **steps}

    def load(self, parameters: Arrays, buffers: Arrays, state: Arrays) -> None:
        """Take values in the place of those by these names."""
        for kind, values in (("parameters", parameters), ("buffers", buffers), ("state", state)):
            is_whole = values.keys() >= self._views[kind].keys()
            for name, view in (self._views if is_whole else {kind: self._look(kind)})[kind].items():
                if name in values:
                    view[...] = values[name]
            if values and self._host is not self.vector:
                self.vector[self._stretches[kind]].copy_(self._host[self._stretches[kind]])
        for name in self._counts.keys() & buffers.keys():
            self._counts[name].fill_(round(float(buffers[name])))
        for name in self._steps.keys() & state.keys():
            self._steps[name].fill_(float(state[name]))

    def begin(self, rng: np.random.Generator) -> None:
        """A unit begins: what PyTorch draws in it follows from `rng`."""
        torch.manual_seed(int(rng.integers(2**63)))
        if self._is_reset:
            self.optimizer.state.clear()

    def follow(self, steps: int) -> None:
        """A unit begins, whose shard has made so many steps before."""
        self._steps_before = steps

    def train(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One step on (x, y); the mean loss and metrics."""
        if self._rate is not None:
            factor = self._rate(self._steps_before)
            for group, full in zip(self.optimizer.param_groups, self._full_rates, strict=True):
                group["lr"] = full * factor
        self._steps_before += 1
        self.module.train()
        x, y = self._tensors(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss, figures = self._forward(x, y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return figures

    def evaluate(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The mean loss and metrics on (x, y), in evaluation mode."""
        self.module.eval()
        with torch.no_grad():
            return self._forward(*self._tensors(batch))[1]

    # -- small things -------------------------------------------------------------------------------------

    def _forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss, and what is to be reported: in float64, for it is summed over a unit."""
        if self.loss is None:
            loss = self.module(x, y)
            return loss, {"loss": loss.detach().double()}
        output = self.module(x)
        loss = self.loss(output, y)
        with torch.no_grad():
            figures = {name: torch.as_tensor(metric(output, y)) for name, metric in self._metrics.items()}
        return loss, {n: figure.detach().double() for n, figure in {"loss": loss, **figures}.items()}

    def _look(self, kind: str) -> dict[str, HostArray]:
        """The values of a kind on the host; the very ones where the module is there."""
        if self._host is not self.vector:
            self._host[self._stretches[kind]].copy_(self.vector[self._stretches[kind]])
        return self._views[kind]

    def _tensors(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """x and y on the module's device; real numbers, and bytes as of images, in its dtype."""
        x, y = (torch.as_tensor(part).to(self.vector.device) for part in batch)
        if x.is_floating_point() or not _is_integer(x):
            x = x.to(self.vector.dtype)
        return x, y.to(self.vector.dtype if y.is_floating_point() else torch.int64)


def _is_integer(tensor: torch.Tensor) -> bool:
    return tensor.dtype in (torch.int8, torch.int16, torch.int32, torch.int64)


def _persistent_buffers(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Those that belong to the module's state, as opposed to tables that it makes itself."""
    kept = module.state_dict(keep_vars=True)
    return {name: buffer for name, buffer in module.named_buffers() if name in kept}


def _remembered(
    optimizer: torch.optim.Optimizer,
    named: Mapping[str, torch.nn.Parameter],
    slots: Mapping[torch.Tensor, Iterable[str]],
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The optimizer's moments and its counts of steps by name, made here where no step has made them yet."""
    moments: dict[str, torch.Tensor] = {}
    steps: dict[str, torch.Tensor] = {}
    for name, p in named.items():
        for slot in slots.get(p, ()):
            state = optimizer.state[p]
            if state.get(slot) is None:
                state[slot] = torch.tensor(0.0) if slot == STEP else torch.zeros_like(p)
            (steps if slot == STEP else moments)[f"{name}.{slot}"] = state[slot]
    return moments, steps


def _flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    """A vector of all tensors, which become views of it with the values they have."""
    first = tensors[0]
    vector = torch.empty(sum(t.numel() for t in tensors), dtype=first.dtype, device=first.device)
    at = 0
    for tensor in tensors:
        view = vector[at : at + tensor.numel()].view(tensor.shape)
        view.copy_(tensor.detach())
        tensor.data = view
        at += tensor.numel()
    return vector


def _cut(
    vector: HostArray, kinds: Mapping[str, Mapping[str, torch.Tensor]]
) -> tuple[dict[str, slice], dict[str, dict[str, HostArray]]]:
    """By kind, where it lies in the vector, and a view for each of its tensors."""
    stretches, views, at = {}, {}, 0
    for kind, tensors in kinds.items():
        ends = [at, *itertools.accumulate((t.numel() for t in tensors.values()), initial=at)][1:]
        stretches[kind] = slice(at, ends[-1])
        views[kind] = {
            name: vector[start:stop].reshape(tuple(tensor.shape))
            for (name, tensor), (start, stop) in zip(tensors.items(), itertools.pairwise(ends), strict=True)
        }
        at = ends[-1]
    return stretches, views
