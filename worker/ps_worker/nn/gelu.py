"""The Gaussian error linear unit."""

import dataclasses
import math

import numpy as np

from ps_common.arrays import Array, kernel, xp_of
from ps_common.vocabulary import word
from ps_worker.nn.blocks import blocks
from ps_worker.nn.layer import Context, Layer, Views
from ps_worker.nn.precision import widened

SLOPE = math.sqrt(2 / math.pi)
CUBE = 0.044715
BLOCK = 65_536  # numbers: eight operations on three arrays find them in a core's own cache


@word
@dataclasses.dataclass(frozen=True)
class GELU(Layer):
    """y = x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))): Hendrycks & Gimpel 2016, §2.

    The approximation with tanh, which GPT-2 uses: as `torch.nn.GELU(approximate="tanh")`. It is within
    0.0005 of x Φ(x), which needs the error function, and NumPy has none.
    """

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, tuple[Array, Array]]:
        xp = xp_of(x)
        values = widened(x)
        y, gate = (xp.empty(x.shape, values.dtype) for _ in range(2))  # contiguous; gate: tanh(...)
        if xp is not np:
            body = (
                f"gate = tanh(x * (T({SLOPE}) + T({SLOPE * CUBE}) * x * x)); y = T(0.5) * x * (T(1) + gate)"
            )
            kernel("gelu", "T x", "T y, T gate", body)(values, y, gate)
            return y.astype(x.dtype, copy=False), (x, gate.astype(x.dtype, copy=False))
        flat_x, flat_y, flat_gate = values.reshape(-1), y.reshape(-1), gate.reshape(-1)
        for part in blocks(flat_x, BLOCK):
            xs, ys, t = flat_x[part], flat_y[part], flat_gate[part]
            xp.multiply(xs, xs, out=t)
            t *= SLOPE * CUBE
            t += SLOPE
            t *= xs
            xp.tanh(t, out=t)
            xp.add(t, 1, out=ys)
            ys *= xs
            ys *= 0.5
        return y.astype(x.dtype, copy=False), (x, gate.astype(x.dtype, copy=False))

    def backward(self, dy: Array, p: Views, g: Views, cache: tuple[Array, Array]) -> Array:
        """dx = dy/2 (1 + t + x (1 - t²) √(2/π) (1 + 3 · 0.044715 x²)), t the tanh."""
        xp, (x, gate) = xp_of(dy), cache
        x, gate, slope = widened(x), widened(gate), widened(dy)
        dx = xp.empty(slope.shape, slope.dtype)  # contiguous
        if xp is not np:
            inner = f"x * (T(1) - gate * gate) * (T({SLOPE}) + T({3 * CUBE * SLOPE}) * x * x)"
            body = f"dx = T(0.5) * dy * (T(1) + gate + {inner})"
            kernel("gelu_back", "T x, T gate, T dy", "T dx", body)(x, gate, slope, dx)
            return dx.astype(dy.dtype, copy=False)
        flat_x, flat_gate, flat_dy, flat_dx = (a.reshape(-1) for a in (x, gate, slope, dx))
        for part in blocks(flat_x, BLOCK):
            xs, t, d = flat_x[part], flat_gate[part], flat_dx[part]
            xp.multiply(xs, xs, out=d)
            d *= 3 * CUBE * SLOPE
            d += SLOPE
            d *= xs
            d *= 1 - t * t
            d += t
            d += 1
            d *= flat_dy[part]
            d *= 0.5
        return dx.astype(dy.dtype, copy=False)
