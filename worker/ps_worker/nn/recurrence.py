"""What recurrent layers share: sequences turned to one matrix a step, and what all steps do at once."""

from collections.abc import Iterator

from ps_common.arrays import Array, xp_of
from ps_worker.nn.layer import Parameter, Tree, Views
from ps_worker.nn.vectors import rows


def gate_weights(inputs: int, hidden: int, gates: int) -> Tree:
    """Matrices from inputs and from h to all gates, side by side; each starts by Glorot's rule."""
    return {
        "input": Parameter((inputs, gates * hidden), "xavier", decay=True, fan_out=hidden),
        "recurrent": Parameter((hidden, gates * hidden), "xavier", decay=True, fan_out=hidden),
    }


def by_steps(x: Array) -> Array:
    """(n, steps, inputs) to (steps, n, inputs): each step's matrix in one piece."""
    return xp_of(x).ascontiguousarray(x.swapaxes(0, 1))


def last_or_all(h: Array, return_sequences: bool) -> Array:
    """The output, from h (1 + steps, n, hidden) whose first is what it began with."""
    return xp_of(h).ascontiguousarray(h[1:].swapaxes(0, 1)) if return_sequences else h[-1].copy()


def steps_of(dy: Array, steps: int, return_sequences: bool) -> Iterator[tuple[int, Array | None]]:
    """The steps, last first, each with its part of dy; None where only the last step was given out."""
    for t in range(steps - 1, -1, -1):
        if return_sequences:
            yield t, dy[:, t]
        else:
            yield t, dy if t == steps - 1 else None


def input_backward(da: Array, p: Views) -> Array:
    """dx (n, steps, inputs) from da (steps, n, gates · hidden)."""
    dx = rows(da) @ p["input"].T
    return by_steps(dx.reshape(*da.shape[:2], -1))
