"""A block of a transformer."""

import dataclasses
import functools
from typing import Any

from ps_common.arrays import Array
from ps_common.vocabulary import word
from ps_worker.nn.attention import CausalSelfAttention
from ps_worker.nn.bounds import check_count, check_number
from ps_worker.nn.dense import Dense
from ps_worker.nn.dropout import Dropout
from ps_worker.nn.gelu import GELU
from ps_worker.nn.layer import Context, Layer, Shape, Tree, Views
from ps_worker.nn.layer_norm import LayerNorm
from ps_worker.nn.residual import Residual
from ps_worker.nn.sequential import Sequential


@word
@dataclasses.dataclass(frozen=True)
class TransformerBlock(Layer):
    """Attention between steps, then two Dense at each step, both added to their input, normalised before.

    h = x + Dropout(CausalSelfAttention(LayerNorm(x))); y = h + Dropout(Dense(GELU(Dense(LayerNorm(h))))):
    the decoder of Vaswani et al. 2017 without its encoder, with the normalisation where GPT-2 has it (Radford
    et al. 2019, §2.3). x and y are (n, steps, features). `hidden` is the width between the two Dense, 4
    features by default; `dropout` the rate of both. Weights start normal with deviation 0.02.

    It is made of other layers, so its parameters are called by their places: `0.1.qkv.weight` is that of the
    attention, `1.1.weight` and `1.3.weight` are those of the Dense.
    """

    features: int
    heads: int
    hidden: int | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.hidden is not None:
            check_count(self, "hidden")
        check_number(self, "dropout", at_least=0, below=1)
        _ = self.parts

    @functools.cached_property
    def parts(self) -> Sequential:
        hidden = self.hidden or 4 * self.features
        return Sequential(
            Residual(
                LayerNorm(self.features),
                CausalSelfAttention(self.features, self.heads),
                Dropout(self.dropout),
            ),
            Residual(
                LayerNorm(self.features),
                Dense(self.features, hidden, "normal"),
                GELU(),
                Dense(hidden, self.features, "normal"),
                Dropout(self.dropout),
            ),
        )

    def parameters(self, inputs: Shape) -> Tree:
        return self.parts.parameters(inputs)

    def output_shape(self, inputs: Shape) -> Shape:
        return self.parts.output_shape(inputs)

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Any]:
        return self.parts.forward(x, p, context)

    def backward(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        return self.parts.backward(dy, p, g, cache)

    def parameter_gradients(self, dy: Array, p: Views, g: Views, cache: Any) -> None:
        self.parts.parameter_gradients(dy, p, g, cache)
