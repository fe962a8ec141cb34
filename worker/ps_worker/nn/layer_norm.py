"""Layer normalization."""

import dataclasses

from ps_common.arrays import Array, xp_of
from ps_common.vocabulary import word
from ps_worker.nn.bounds import check_count, check_number
from ps_worker.nn.layer import Context, Layer, Parameter, Shape, Tree, Views
from ps_worker.nn.precision import widened
from ps_worker.nn.shapes import check_features
from ps_worker.nn.vectors import column_dots, dots, rows


@word
@dataclasses.dataclass(frozen=True)
class LayerNorm(Layer):
    """y = s (x - mean) / √(variance + ε) + b, over the last axis: Ba, Kiros & Hinton 2016, eq. 4.

    x and y are (n, ..., features), scale s and shift b (features,); the variance is that of the `features`
    numbers, divided by their count, as in `torch.nn.LayerNorm`. It does the same in training and evaluation.
    """

    features: int
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_count(self, "features")
        check_number(self, "epsilon", above=0)

    def parameters(self, inputs: Shape) -> Tree:
        return {"scale": Parameter((self.features,), "ones"), "shift": Parameter((self.features,))}

    def output_shape(self, inputs: Shape) -> Shape:
        check_features(f"LayerNorm({self.features})", inputs, self.features)
        return inputs

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, tuple[Array, Array]]:
        xp, values = xp_of(x), widened(rows(x))
        centred = values - values.mean(axis=1, keepdims=True)
        variance = dots(centred, centred)  # (rows, 1)
        variance *= 1 / self.features
        inverse = 1 / xp.sqrt(variance + self.epsilon)
        normal = xp.multiply(centred, inverse, out=centred)
        y = normal * p["scale"]
        y += p["shift"]
        return y.reshape(x.shape).astype(x.dtype, copy=False), (normal, inverse)

    def backward(self, dy: Array, p: Views, g: Views, cache: tuple[Array, Array]) -> Array:
        """With x̂ = (x - mean) / σ and d = s dy: dx = (d - mean d - x̂ mean(d x̂)) / σ."""
        self.parameter_gradients(dy, p, g, cache)
        normal, inverse = cache
        dx = widened(rows(dy)) * p["scale"]
        along = dots(dx, normal)
        along *= 1 / self.features
        dx -= dx.mean(axis=1, keepdims=True)
        dx -= normal * along
        dx *= inverse
        return dx.reshape(dy.shape).astype(dy.dtype, copy=False)

    def parameter_gradients(self, dy: Array, p: Views, g: Views, cache: tuple[Array, Array]) -> None:
        normal, _ = cache
        column_dots(rows(dy), normal, g["scale"])
        rows(dy).sum(axis=0, out=g["shift"])
