"""A recurrent layer with a memory that it writes, keeps and reads through gates."""

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
class LSTM(Layer):
    """Long short-term memory: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    For each step, from h = c = 0 on, with σ the logistic function and a = x W + h U + b cut into four:

        i, f, o = σ(aᵢ), σ(a_f), σ(aₒ);  g = tanh(a_g);  c ← f c + i g;  h ← o tanh c

    x is (n, steps, inputs); y is h of every step, (n, steps, hidden), or with `return_sequences=False` of the
    last, (n, hidden). W is `input` (inputs, 4 hidden), U `recurrent` (hidden, 4 hidden), b `bias`; gates
    in the order i, f, g, o, as in `torch.nn.LSTM`, which has two biases that are only ever added.
    """

    inputs: int
    hidden: int
    return_sequences: bool = True

    def __post_init__(self) -> None:
        check_count(self, "inputs")
        check_count(self, "hidden")

    def parameters(self, inputs: Shape) -> Tree:
        return {**gate_weights(self.inputs, self.hidden, gates=4), "bias": Parameter((4 * self.hidden,))}

    def output_shape(self, inputs: Shape) -> Shape:
        check_sequence(f"LSTM({self.inputs}, {self.hidden})", inputs, self.inputs)
        return (inputs[0], self.hidden) if self.return_sequences else (self.hidden,)

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Any]:
        xp, size = xp_of(x), self.hidden
        x = by_steps(x)
        steps, n, _ = x.shape
        gates = (rows(x) @ p["input"]).reshape(steps, n, 4 * size)  # one product for all steps
        gates += p["bias"]
        h = xp.zeros((steps + 1, n, size), x.dtype)  # h[t + 1] is that of step t
        c = xp.zeros_like(h)
        squashed = xp.empty_like(h[1:])  # tanh c
        for t in range(steps):
            a = gates[t]
            a += h[t] @ p["recurrent"]
            i, f, g, o = _activate(a, size)
            xp.multiply(f, c[t], out=c[t + 1])
            c[t + 1] += i * g
            xp.tanh(c[t + 1], out=squashed[t])
            xp.multiply(o, squashed[t], out=h[t + 1])
        return last_or_all(h, self.return_sequences), (x, gates, h, c, squashed)

    def backward(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        return input_backward(self._back_to_gates(dy, p, g, cache), p)

    def parameter_gradients(self, dy: Array, p: Views, g: Views, cache: Any) -> None:
        self._back_to_gates(dy, p, g, cache)

    def _back_to_gates(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        """Back through time (Werbos 1990): da (steps, n, 4 hidden), and from it all gradients."""
        x, gates, h, c, squashed = cache
        xp, size = xp_of(dy), self.hidden
        da = xp.empty_like(gates)
        dh, dc = xp.zeros_like(h[0]), xp.zeros_like(h[0])
        back = xp.ascontiguousarray(p["recurrent"].T)  # a product a step with it: the copy is soon paid for
        for t, dy_t in steps_of(dy, len(gates), self.return_sequences):
            if dy_t is not None:
                dh += dy_t
            i, f, candidate, o = _cut(gates[t], size)
            di, df, dg, do = _cut(da[t], size)
            dc += dh * o * (1 - squashed[t] * squashed[t])
            xp.multiply(dh * squashed[t], o * (1 - o), out=do)
            xp.multiply(dc * candidate, i * (1 - i), out=di)
            xp.multiply(dc * c[t], f * (1 - f), out=df)
            xp.multiply(dc * i, 1 - candidate * candidate, out=dg)
            dc *= f
            xp.matmul(da[t], back, out=dh)
        xp.matmul(rows(x).T, rows(da), out=g["input"])
        xp.matmul(rows(h[:-1]).T, rows(da), out=g["recurrent"])
        rows(da).sum(axis=0, out=g["bias"])
        return da


def _cut(gates: Array, size: int) -> list[Array]:
    """The four gates of a step as views: i, f, g, o."""
    return [gates[:, k * size : (k + 1) * size] for k in range(4)]


def _activate(a: Array, size: int) -> list[Array]:
    """i, f, g and o in the place of a: σ(a) = (1 + tanh(a / 2)) / 2, so that one tanh does for all."""
    i, f, g, o = _cut(a, size)
    through = (a[:, : 2 * size], o)  # i and f lie side by side
    for gate in through:
        gate *= 0.5
    xp_of(a).tanh(a, out=a)
    for gate in through:
        gate += 1
        gate *= 0.5
    return [i, f, g, o]
