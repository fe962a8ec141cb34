"""Gradients kept short, whatever the optimizer."""

import dataclasses
import math

import numpy as np

from ps_common.arrays import Array, is_on_host, kernel, xp_of
from ps_common.errors import UsageError
from ps_common.vocabulary import word
from ps_worker.nn.blocks import blocks
from ps_worker.nn.bounds import check_number
from ps_worker.nn.layer import Shape
from ps_worker.nn.optimizer import Optimizer, Slots, with_field

MARGIN = 1e-6  # as in PyTorch: a gradient of zero divides by this


@word
@dataclasses.dataclass(frozen=True)
class ClipByNorm(Optimizer):
    """g ← g · min(1, limit / ‖g‖) over all weights together, and then the step of `optimizer`.

    Pascanu et al. 2013, algorithm 1, as `torch.nn.utils.clip_grad_norm_`. g is a replica's gradient of one
    batch, with that of a regularizer.

        nn.ClipByNorm(nn.AdamW(0.001), 1.0)
    """

    optimizer: Optimizer
    limit: float

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, Optimizer):
            raise UsageError(f"ClipByNorm: optimizer must be an optimizer, got {self.optimizer!r}")
        check_number(self, "limit", above=0)

    def slots(self, n: int) -> dict[str, Shape]:
        return self.optimizer.slots(n)

    def decaying(self, count: int) -> Optimizer:
        return with_field(self, "optimizer", self.optimizer.decaying(count))

    def at(self, step: int) -> "ClipByNorm":
        there = self.optimizer.at(step)
        return self if there is self.optimizer else with_field(self, "optimizer", there)

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        if is_on_host(gradient):
            _clip_on_host(gradient, self.limit)
        else:
            _clip_on_gpu(gradient, self.limit, scratch)
        self.optimizer.step(weights, gradient, slots, scratch)


def _clip_on_host(gradient: Array, limit: float) -> None:
    """A block is added up in its dtype, the blocks in float64."""
    squared = math.fsum(float(np.dot(gradient[part], gradient[part])) for part in blocks(gradient))
    scale = limit / (math.sqrt(squared) + MARGIN)
    if scale < 1:
        for part in blocks(gradient):
            gradient[part] *= scale


def _clip_on_gpu(gradient: Array, limit: float, scratch: Array) -> None:
    """The norm stays on the device, in float64: nothing waits for it."""
    squares = xp_of(gradient).multiply(gradient, gradient, out=scratch[: len(gradient)])
    squared = squares.sum(dtype=np.float64, keepdims=True)  # (1,)
    body = "const double scale = limit / (sqrt(squared[0]) + margin); if (scale < 1) g = g * scale"
    one = kernel("clip_by_norm", "raw float64 squared, float64 limit, float64 margin", "T g", body)
    one(squared, limit, MARGIN, gradient)
