"""Half precision: what a step computes in, where that is narrower than what weights are kept in.

Micikevicius et al. 2018, "Mixed precision training": weights, optimizer and loss stay in float32; before a
step one pass over the flat vector rounds the weights to a half-precision copy, forward and backward compute
in that, and one pass takes the gradients back. In float16, whose numbers end at 65,504 and begin at 6e-8,
the loss is scaled so that small gradients do not vanish. bfloat16 reaches as far as float32 and needs none.
"""

import dataclasses
from typing import Any

import numpy as np

from ps_common.arrays import Array, is_on_host, xp_of
from ps_common.errors import UsageError

LOSS_SCALES = {"float16": 1024.0, "bfloat16": 1.0}  # powers of 2: they change no digit


def half_dtype(name: str) -> np.dtype[Any]:
    """The dtype of that name. Raises `UsageError` where it is not to be had."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise UsageError(
            "precision bfloat16 needs the package ml_dtypes, and on a GPU CuPy 14; or use float16"
        ) from error
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def widened(x: Array) -> Array:
    """In float32 where x is in half precision: for sums of squares and for powers, which leave its range."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def stack_product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b of stacks of matrices, (..., n, k) and (..., k, m), anew or into `out`.

    CuPy multiplies stacks of float16 as float32, and none of bfloat16: on a GPU both are widened here.
    """
    if is_on_host(a):
        product: Array = np.matmul(a, b, out=out)
        return product
    left, right = widened(a), widened(b)
    if out is not None:
        return xp_of(a).matmul(left, right, out=out)
    return (left @ right).astype(a.dtype, copy=False)


@dataclasses.dataclass(frozen=True)
class Halves:
    """Half-precision copies of a flat vector of trained weights and of its gradient.

    loss_scale: what gradients are multiplied by on their way.
    """

    weights: Array  # (n,)
    gradient: Array  # (n,)
    loss_scale: float

    @classmethod
    def of(cls, name: str, weights: Array) -> "Halves":
        """For a flat vector like `weights`. Raises `UsageError` where the device does not know the dtype."""
        xp, dtype = xp_of(weights), half_dtype(name)
        try:
            weights[:1].astype(dtype)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"CuPy here does not know {name}: use CuPy 14, or float16") from error
        return cls(xp.zeros(weights.size, dtype), xp.zeros(weights.size, dtype), LOSS_SCALES[name])

    def scaled(self, gradient: Array) -> Array:
        """∂loss/∂output, in half precision and scaled."""
        return (gradient * self.loss_scale).astype(self.gradient.dtype)

    def give_back(self, out: Array) -> None:
        """The gradient, unscaled, into `out` in full precision.

        A gradient with a number that went beyond float16 counts as zero: the weights get no step in a wrong
        direction, and the host, which would have to wait for the answer, is not asked.
        """
        xp, gradient = xp_of(out), self.gradient
        if self.loss_scale == 1:
            out[...] = gradient
            return
        out[...] = xp.where(xp.isfinite(gradient).all(), gradient, gradient.dtype.type(0))
        out *= 1 / self.loss_scale
