"""The models that gpu.py measures: an MLP, a CNN and a transformer, of this project's parts and of PyTorch's.

Both have the same sizes, activations, loss and optimizer; weights start anew on each side, which does not
change how long a step takes.
"""

import dataclasses
import itertools
from typing import Any

import numpy as np

from paramserver import nn

CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Size:
    """batch: samples a step. width, depth: of layers. length: of a text, or pixels along an image."""

    batch: int
    width: int
    depth: int
    length: int


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained, of this project's parts; `sample` draws so many samples x, y of uint8."""

    name: str
    size: Size
    model: nn.Layer
    optimizer: nn.Optimizer
    inputs: tuple[int, ...]
    targets: tuple[int, ...]
    highest: int  # of x

    def sample(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(1)
        x = rng.integers(0, self.highest, (count, *self.inputs), np.uint8)
        y = rng.integers(0, self.highest if self.targets else CLASSES, (count, *self.targets), np.uint8)
        return x, y


SIZES = {
    "mlp": Size(batch=512, width=2048, depth=2, length=28),
    "cnn": Size(batch=256, width=32, depth=2, length=28),
    "transformer": Size(batch=32, width=384, depth=6, length=256),
}
SMALL = {
    "mlp": Size(batch=16, width=32, depth=2, length=8),
    "cnn": Size(batch=4, width=4, depth=2, length=8),
    "transformer": Size(batch=2, width=16, depth=1, length=8),
}
VOCABULARY, HEAD = 65, 64  # characters of Shakespeare's plays; features of a head


def case(name: str, is_small: bool = False) -> Case:
    """The model of that name. Raises `AttributeError` for one with layers that are not here."""
    size = (SMALL if is_small else SIZES)[name]
    return {"mlp": _mlp, "cnn": _cnn, "transformer": _transformer}[name](size)


def _mlp(size: Size) -> Case:
    wide = [size.length**2, *[size.width] * size.depth]
    hidden = [layer for a, b in itertools.pairwise(wide) for layer in (nn.Dense(a, b), nn.ReLU())]
    model = nn.Sequential(*hidden, nn.Dense(size.width, CLASSES))
    return Case("mlp", size, model, nn.Momentum(0.01), (size.length**2,), (), 4)


def _cnn(size: Size) -> Case:
    w, side = size.width, size.length // 4
    model = nn.Sequential(
        nn.Conv2D(1, w, 3, padding=1), nn.ReLU(), nn.MaxPool2D(2),
        nn.Conv2D(w, 2 * w, 3, padding=1), nn.ReLU(), nn.MaxPool2D(2),
        nn.Flatten(), nn.Dense(2 * w * side * side, 128), nn.ReLU(), nn.Dense(128, CLASSES),
    )  # fmt: skip
    return Case("cnn", size, model, nn.Momentum(0.01), (1, size.length, size.length), (), 4)


def _transformer(size: Size) -> Case:
    w = size.width
    model = nn.Sequential(
        nn.Embedding(VOCABULARY, w), nn.PositionalEmbedding(size.length, w),
        *[nn.TransformerBlock(w, heads(size)) for _ in range(size.depth)],
        nn.LayerNorm(w), nn.Dense(w, VOCABULARY),
    )  # fmt: skip
    inputs = (size.length,)
    return Case("transformer", size, model, nn.Adam(1e-4), inputs, inputs, VOCABULARY)


def heads(size: Size) -> int:
    return max(1, size.width // HEAD)


def theirs(torch: Any, one: Case) -> tuple[Any, Any]:
    """The same model and optimizer of PyTorch's parts, on the CPU."""
    t, size, w = torch.nn, one.size, one.size.width
    if one.name == "mlp":
        wide = [size.length**2, *[w] * size.depth]
        hidden = [layer for a, b in itertools.pairwise(wide) for layer in (t.Linear(a, b), t.ReLU())]
        model = t.Sequential(*hidden, t.Linear(w, CLASSES))
    elif one.name == "cnn":
        side = size.length // 4
        model = t.Sequential(
            t.Conv2d(1, w, 3, padding=1), t.ReLU(), t.MaxPool2d(2),
            t.Conv2d(w, 2 * w, 3, padding=1), t.ReLU(), t.MaxPool2d(2),
            t.Flatten(), t.Linear(2 * w * side * side, 128), t.ReLU(), t.Linear(128, CLASSES),
        )  # fmt: skip
    else:
        model = _their_transformer(torch, size)
    if one.name == "transformer":
        return model, torch.optim.Adam(model.parameters(), 1e-4)
    return model, torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)


def _their_transformer(torch: Any, size: Size) -> Any:
    t, functional, w = torch.nn, torch.nn.functional, size.width

    class Block(t.Module):
        """x + attention(norm(x)), then x + mlp(norm(x)), as GPT has it."""

        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = t.LayerNorm(w), t.LayerNorm(w)
            self.qkv, self.output = t.Linear(w, 3 * w), t.Linear(w, w)
            self.mlp = t.Sequential(t.Linear(w, 4 * w), t.GELU(approximate="tanh"), t.Linear(4 * w, w))

        def forward(self, x: Any) -> Any:
            n, length, _ = x.shape
            parts = self.qkv(self.before(x)).view(n, length, 3, heads(size), -1).permute(2, 0, 3, 1, 4)
            seen = functional.scaled_dot_product_attention(*parts, is_causal=True)
            x = x + self.output(seen.transpose(1, 2).reshape(n, length, w))
            return x + self.mlp(self.between(x))

    class Transformer(t.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = t.Embedding(VOCABULARY, w)
            self.places = t.Parameter(torch.zeros(size.length, w))
            self.blocks = t.Sequential(*[Block() for _ in range(size.depth)])
            self.last = t.Sequential(t.LayerNorm(w), t.Linear(w, VOCABULARY))

        def forward(self, x: Any) -> Any:
            return self.last(self.blocks(self.words(x) + self.places))

    return Transformer()
