"""Batch normalization."""

import dataclasses
from typing import Any

from ps_common.arrays import Array, xp_of
from ps_common.errors import ShapeMismatch
from ps_common.vocabulary import word
from ps_worker.nn.bounds import check_count, check_number
from ps_worker.nn.images import channels_first, channels_last
from ps_worker.nn.layer import Context, Layer, Parameter, Shape, Tree, Views
from ps_worker.nn.precision import widened


@word
@dataclasses.dataclass(frozen=True)
class BatchNorm(Layer):
    """y = scale x̂ + shift, x̂ = (x - μ) / √(σ² + ε), each feature by itself (Ioffe & Szegedy 2015).

    Samples are (features,), or images (features, h, w), whose pixels all count. While training, μ and σ²
    are the mean and variance of the batch, and move the running ones: running ← (1 - momentum) running +
    momentum · batch, with σ² m / (m - 1) for m numbers a feature. Evaluation uses the running ones. They
    are averaged like weights, and not trained. As `torch.nn.BatchNorm1d` and `BatchNorm2d`; but where
    m = 1, which torch refuses, y is the shift and the running ones stay.
    """

    features: int
    momentum: float = 0.1
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_count(self, "features")
        check_number(self, "momentum", above=0, below=1)
        check_number(self, "epsilon", above=0)

    def parameters(self, inputs: Shape) -> Tree:
        shape = (self.features,)
        return {
            "scale": Parameter(shape, "ones"),
            "shift": Parameter(shape, "zeros"),
            "running_mean": Parameter(shape, "zeros", trained=False),
            "running_variance": Parameter(shape, "ones", trained=False),
        }

    def output_shape(self, inputs: Shape) -> Shape:
        fits = len(inputs) in (1, 3)
        if not fits or inputs[0] != self.features:
            advice = f"use nn.BatchNorm({inputs[0]})" if fits else "put nn.Flatten() before it"
            raise ShapeMismatch(
                f"BatchNorm({self.features}) takes samples of shape ({self.features},) or "
                f"({self.features}, height, width), got {inputs}; {advice}"
            )
        return inputs

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Any]:
        rows = widened(_rows(x))
        if context.training:
            count = max(len(rows) * rows.shape[1], 1)
            mean = _sum(rows) / count
            centred = rows - mean
            variance = _sum(centred * centred) / count
            if count > 1:
                self._move(p["running_mean"], mean)
                self._move(p["running_variance"], variance * (count / (count - 1)))
        else:
            centred, variance = rows - p["running_mean"], p["running_variance"]
        deviation = xp_of(x).sqrt(variance + self.epsilon)
        centred /= deviation
        y = centred * p["scale"]
        y += p["shift"]
        return _unrows(y, x.shape).astype(x.dtype, copy=False), (centred, deviation, context.training)

    def _move(self, running: Array, batch: Array) -> None:
        running *= 1 - self.momentum
        running += batch * self.momentum

    def backward(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        """∂scale = Σ dy x̂, ∂shift = Σ dy, dx = scale / √(σ² + ε) (dy - ∂shift / m - x̂ ∂scale / m).

        After an evaluation, whose statistics are constants, dx = scale / √(σ² + ε) dy.
        """
        (normal, deviation, training), rows = cache, widened(_rows(dy))
        scale, shift = _sum(rows * normal), _sum(rows)
        g["scale"][...], g["shift"][...] = scale, shift
        if training:
            count = len(rows) * rows.shape[1]
            rows = rows - shift / count
            rows -= normal * (scale / count)
        return _unrows(rows * (p["scale"] / deviation), dy.shape).astype(dy.dtype, copy=False)


def _rows(x: Array) -> Array:
    """(n, pixels, features); a sample that is a vector has one pixel."""
    return x[:, None, :] if x.ndim == 2 else channels_last(x).reshape(len(x), -1, x.shape[1])


def _unrows(rows: Array, shape: Shape) -> Array:
    """(n, pixels, features) in the shape that it had before `_rows`."""
    if len(shape) == 2:
        return rows[:, 0]
    n, c, h, w = shape
    return channels_first(rows.reshape(n, h, w, c))


def _sum(rows: Array) -> Array:
    """Σ over samples and pixels, of each sample first: float32 keeps more digits so."""
    return rows.sum(axis=1).sum(axis=0)
