"""Steps scaled by running moments of the gradient: Adam, and AdamW, which decays weights beside it.

Each is written twice: block by block on the host, and on a GPU as one kernel, after a tiny one that
computes the correction from the number of steps there, so that nothing waits for a number.
"""

import dataclasses
import math

from ps_common.arrays import Array, is_on_host, kernel, xp_of
from ps_common.vocabulary import word
from ps_worker.nn.blocks import blocks
from ps_worker.nn.bounds import check_number
from ps_worker.nn.denormals import flush_denormals
from ps_worker.nn.layer import Shape
from ps_worker.nn.optimizer import Optimizer, Slots
from ps_worker.nn.rates import LearningRate, as_number, check_rate


@word
@dataclasses.dataclass(frozen=True)
class Adam(Optimizer):
    """m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²; w ← w - η m̂ / (√v̂ + ε).

    m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ), t counted from 1: Kingma & Ba 2015, algorithm 1. The slot
    `steps` holds t as a number of the weights' dtype: it is averaged with the moments, so the correction
    fits them, and may be a fraction then.
    """

    learning_rate: float | LearningRate = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_rate(self)
        check_number(self, "beta1", at_least=0, below=1)
        check_number(self, "beta2", at_least=0, below=1)
        check_number(self, "epsilon", above=0)

    def slots(self, n: int) -> dict[str, Shape]:
        return {"first_moment": (n,), "second_moment": (n,), "steps": (1,)}

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        _step(self, weights, gradient, slots, scratch, 0.0, 0)


@word
@dataclasses.dataclass(frozen=True)
class AdamW(Adam):
    """w ← w - η λ w, for weights that are to be decayed, and then Adam's step.

    λ is `decay`: "decoupled weight decay", Loshchilov & Hutter 2019, algorithm 2, as `torch.optim.AdamW`.
    In a job it decays the parameters with `decay=True`: weights, and no biases or scales of norms. Unlike
    with `L2`, large gradients do not make the decay smaller.
    """

    decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "decay", at_least=0)

    def decaying(self, count: int) -> Optimizer:
        return _AdamWOfSome(self.learning_rate, self.beta1, self.beta2, self.epsilon, self.decay, count)

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        _step(self, weights, gradient, slots, scratch, self.decay, len(weights))


@dataclasses.dataclass(frozen=True)
class _AdamWOfSome(AdamW):
    """AdamW for a vector of which only the first `count` weights are decayed."""

    count: int = 0

    def step(self, weights: Array, gradient: Array, slots: Slots, scratch: Array) -> None:
        _step(self, weights, gradient, slots, scratch, self.decay, self.count)


def _step(
    adam: Adam, weights: Array, gradient: Array, slots: Slots, scratch: Array, decay: float, decayed: int
) -> None:
    """Adam's step, with decay of the first `decayed` weights."""
    rate = as_number(adam.learning_rate)
    if is_on_host(weights):
        _step_on_host(adam, rate, weights, gradient, slots, scratch, rate * decay, decayed)
    else:
        _step_on_gpu(adam, rate, weights, gradient, slots, rate * decay, decayed)


def _step_on_host(
    adam: Adam, rate: float, weights: Array, gradient: Array, slots: Slots, scratch: Array,
    shrink: float, decayed: int,
) -> None:  # fmt: skip
    xp = xp_of(weights)
    slots["steps"][:] += 1
    # m̂ / (√v̂ + ε) = m √c₂ / c₁ / (√v + ε √c₂), with c = 1 - βᵗ: one division less a weight
    root = xp.sqrt(_correction(adam.beta2, slots["steps"]))  # (1,): √c₂
    corrected = rate * root / _correction(adam.beta1, slots["steps"])  # (1,): η √c₂ / c₁
    epsilon = adam.epsilon * root
    for part in blocks(weights):
        g, w = gradient[part], weights[part]
        m, v = slots["first_moment"][part], slots["second_moment"][part]
        s = scratch[: len(w)]
        shrunk = w[: max(0, decayed - part.start)] if shrink else w[:0]
        shrunk -= xp.multiply(shrunk, shrink, out=s[: len(shrunk)])
        m *= adam.beta1
        m += xp.multiply(g, 1 - adam.beta1, out=s)
        flush_denormals(m)
        v *= adam.beta2
        g *= g
        v += xp.multiply(g, 1 - adam.beta2, out=g)
        flush_denormals(v)
        xp.sqrt(v, out=s)
        s += epsilon
        xp.divide(m, s, out=g)
        g *= corrected
        w -= g


def _correction(beta: float, steps: Array) -> Array:
    """1 - βᵗ, losing no digits in float32 for β near 1."""
    if beta == 0:
        return xp_of(steps).ones_like(steps)
    return -xp_of(steps).expm1(steps * math.log(beta))


def _step_on_gpu(
    adam: Adam, rate: float, weights: Array, gradient: Array, slots: Slots, shrink: float, decayed: int
) -> None:
    """The same: `corrected` and `epsilon` are computed there, by one thread, and read by all."""
    numbers = xp_of(weights).empty(2, weights.dtype)
    corrected, epsilon = numbers[:1], numbers[1:]
    correct = kernel(
        "adam_correction",
        "float64 rate, float64 log_beta1, float64 log_beta2, float64 small",
        "T steps, T corrected, T epsilon",
        """
        steps += 1;
        const double root = sqrt(-expm1(log_beta2 * (double)steps));
        corrected = rate * root / -expm1(log_beta1 * (double)steps);
        epsilon = small * root;
        """,
    )
    logs = [math.log(beta) if beta else -math.inf for beta in (adam.beta1, adam.beta2)]
    correct(rate, *logs, adam.epsilon, slots["steps"], corrected, epsilon)
    step = kernel(
        "adam_step",
        "T g, T beta1, T beta2, T fresh1, T fresh2, T shrink, int64 decayed, raw T corrected, raw T epsilon",
        "T w, T m, T v",
        """
        m = beta1 * m + fresh1 * g;
        v = beta2 * v + fresh2 * (g * g);
        if (i < decayed) w -= shrink * w;
        w -= corrected[0] * (m / (sqrt(v) + epsilon[0]));
        """,
    )
    betas = (adam.beta1, adam.beta2, 1 - adam.beta1, 1 - adam.beta2)
    moments = slots["first_moment"], slots["second_moment"]
    step(gradient, *betas, shrink, decayed, corrected, epsilon, weights, *moments)
