"""A recurrent layer with two gates."""

import dataclasses
from typing import Any

from ps_common.arrays import Array, xp_of
from ps_common.vocabulary import word
from ps_worker.nn.bounds import check_count
from ps_worker.nn.layer import Context, Layer, Parameter, Shape, Tree, Views
from ps_worker.nn.recurrence import by_steps, gate_weights, input_backward, last_or_all, steps_of
from ps_worker.nn.shapes import check_sequence
from ps_worker.nn.vectors import rows


@word
@dataclasses.dataclass(frozen=True)
class GRU(Layer):
    """Gated recurrent unit: Cho et al. 2014, §2.3, in the form of `torch.nn.GRU`.

    For each step, from h = 0 on, with a = x W + b and s = h U, both cut into three:

        r, z = σ(aᵣ + sᵣ), σ(a_z + s_z);  g = tanh(a_g + r (s_g + v));  h ← (1 - z) g + z h

    x is (n, steps, inputs); y is h of every step, (n, steps, hidden), or with `return_sequences=False` of the
    last, (n, hidden). W is `input` (inputs, 3 hidden), U `recurrent` (hidden, 3 hidden), b `bias` (3 hidden,)
    and v `recurrent_bias` (hidden,); gates in the order r, z, g. PyTorch's other recurrent biases are only
    ever added to b. (In the paper r is multiplied with h, before U; with all else equal it learns as well.)
    """

    inputs: int
    hidden: int
    return_sequences: bool = True

    def __post_init__(self) -> None:
        check_count(self, "inputs")
        check_count(self, "hidden")

    def parameters(self, inputs: Shape) -> Tree:
        biases = {"bias": Parameter((3 * self.hidden,)), "recurrent_bias": Parameter((self.hidden,))}
        return {**gate_weights(self.inputs, self.hidden, gates=3), **biases}

    def output_shape(self, inputs: Shape) -> Shape:
        check_sequence(f"GRU({self.inputs}, {self.hidden})", inputs, self.inputs)
        return (inputs[0], self.hidden) if self.return_sequences else (self.hidden,)

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Any]:
        xp, size = xp_of(x), self.hidden
        x = by_steps(x)
        steps, n, _ = x.shape
        gates = (rows(x) @ p["input"]).reshape(steps, n, 3 * size)  # one product for all steps
        gates += p["bias"]
        h = xp.zeros((steps + 1, n, size), x.dtype)  # h[t + 1] is that of step t
        recalled = xp.empty_like(h[1:])  # s_g + v
        for t in range(steps):
            s = h[t] @ p["recurrent"]
            through, g = gates[t, :, : 2 * size], gates[t, :, 2 * size :]
            through += s[:, : 2 * size]
            through *= 0.5
            xp.tanh(through, out=through)
            through += 1
            through *= 0.5  # σ(a) = (1 + tanh(a / 2)) / 2
            r, z = through[:, :size], through[:, size:]
            xp.add(s[:, 2 * size :], p["recurrent_bias"], out=recalled[t])
            g += r * recalled[t]
            xp.tanh(g, out=g)
            xp.subtract(h[t], g, out=h[t + 1])
            h[t + 1] *= z
            h[t + 1] += g
        return last_or_all(h, self.return_sequences), (x, gates, h, recalled)

    def backward(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        return input_backward(self._back_to_gates(dy, p, g, cache), p)

    def parameter_gradients(self, dy: Array, p: Views, g: Views, cache: Any) -> None:
        self._back_to_gates(dy, p, g, cache)

    def _back_to_gates(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        """Back through time: da and ds (steps, n, 3 hidden), apart in the last third; then the rest."""
        x, gates, h, recalled = cache
        xp, size = xp_of(dy), self.hidden
        da, ds = xp.empty_like(gates), xp.empty_like(gates)
        dh = xp.zeros_like(h[0])
        back = xp.ascontiguousarray(p["recurrent"].T)  # a product a step with it: the copy is soon paid for
        for t, dy_t in steps_of(dy, len(gates), self.return_sequences):
            if dy_t is not None:
                dh += dy_t
            r, z, candidate = (gates[t, :, k * size : (k + 1) * size] for k in range(3))
            dr, dz, dg = (da[t, :, k * size : (k + 1) * size] for k in range(3))
            xp.multiply(dh * (1 - z), 1 - candidate * candidate, out=dg)
            xp.multiply(dh * (h[t] - candidate), z * (1 - z), out=dz)
            xp.multiply(dg * recalled[t], r * (1 - r), out=dr)
            ds[t, :, : 2 * size] = da[t, :, : 2 * size]
            xp.multiply(dg, r, out=ds[t, :, 2 * size :])
            dh *= z
            dh += ds[t] @ back
        xp.matmul(rows(x).T, rows(da), out=g["input"])
        xp.matmul(rows(h[:-1]).T, rows(ds), out=g["recurrent"])
        rows(da).sum(axis=0, out=g["bias"])
        rows(ds)[:, 2 * size :].sum(axis=0, out=g["recurrent_bias"])
        return da
