"""TransformerBlock: gradients, and the same training as PyTorch's own block."""

import functools
import tracemalloc

import numpy as np
import pytest
import torch
from torch.nn import functional

from ps_common.errors import ShapeMismatch, UsageError
from ps_worker import nn
from support_gradients import check_layer
from support_networks import first_values
from support_torch import compare_layer

VOCABULARY, STEPS, FEATURES, HEADS = 11, 8, 16, 2
MODEL = nn.Sequential(
    nn.Embedding(VOCABULARY, FEATURES),
    nn.PositionalEmbedding(STEPS, FEATURES),
    nn.TransformerBlock(FEATURES, HEADS),
    nn.LayerNorm(FEATURES),
    nn.Dense(FEATURES, VOCABULARY, "normal"),
)
NAMES = {
    "embedding.weight": "0.weight",
    "positions": "1.weight",
    "block.norm1.weight": "2.0.0.scale",
    "block.norm1.bias": "2.0.0.shift",
    "block.self_attn.in_proj_weight": "2.0.1.qkv.weight",
    "block.self_attn.in_proj_bias": "2.0.1.qkv.bias",
    "block.self_attn.out_proj.weight": "2.0.1.output.weight",
    "block.self_attn.out_proj.bias": "2.0.1.output.bias",
    "block.norm2.weight": "2.1.0.scale",
    "block.norm2.bias": "2.1.0.shift",
    "block.linear1.weight": "2.1.1.weight",
    "block.linear1.bias": "2.1.1.bias",
    "block.linear2.weight": "2.1.3.weight",
    "block.linear2.bias": "2.1.3.bias",
    "norm.weight": "3.scale",
    "norm.bias": "3.shift",
    "last.weight": "4.weight",
    "last.bias": "4.bias",
}


class Theirs(torch.nn.Module):
    """MODEL from PyTorch's own modules."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, FEATURES)
        self.positions = torch.nn.Parameter(torch.zeros(STEPS, FEATURES))
        self.block = torch.nn.TransformerEncoderLayer(
            FEATURES,
            HEADS,
            4 * FEATURES,
            dropout=0.0,
            activation=functools.partial(functional.gelu, approximate="tanh"),
            batch_first=True,
            norm_first=True,
        )
        self.norm = torch.nn.LayerNorm(FEATURES)
        self.last = torch.nn.Linear(FEATURES, VOCABULARY)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.nn.Transformer.generate_square_subsequent_mask(STEPS, dtype=self.positions.dtype)
        h = self.block(self.embedding(x) + self.positions, src_mask=mask, is_causal=True)
        return self.last(self.norm(h))


def is_transposed(name: str) -> bool:
    """PyTorch keeps matrices of linear layers as (outputs, inputs)."""
    return name.endswith("weight") and "norm" not in name and "embedding" not in name


def batches(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences that go up by 1 or by 4: which, only an earlier step tells."""
    rng = np.random.default_rng(5)
    start, by = rng.integers(0, VOCABULARY, (steps, 8, 1)), rng.choice([1, 4], (steps, 8, 1))
    sequence = (start + by * np.arange(STEPS + 1)) % VOCABULARY
    return sequence[..., :-1], sequence[..., 1:]


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("float64", 1e-8)])
def test_a_hundred_steps_of_adamw_are_pytorchs(dtype: str, bound: float) -> None:
    """Keys' biases take no part in float32.

    A softmax does not see them, so their gradient is rounding alone, which AdamW scales to whole steps.
    """
    network = nn.Network(MODEL, nn.SoftmaxCrossEntropy(), None, (STEPS,), dtype)
    start = first_values(network, np.random.default_rng(1))
    flat = np.concatenate([array.reshape(-1) for array in start.values()])
    gradient = np.zeros_like(flat)
    ends = np.cumsum([array.size for array in start.values()])
    views, gradients = (
        {n: part.reshape(start[n].shape) for n, part in zip(start, np.split(v, ends[:-1]), strict=True)}
        for v in (flat, gradient)
    )
    network.bind(views, gradients)
    there = Theirs().to(getattr(torch, dtype))
    for name, parameter in there.named_parameters():
        ours = views[NAMES[name]]
        parameter.data.copy_(torch.tensor(ours.T if is_transposed(name) else ours))
    optimizer, theirs = nn.AdamW(0.003), torch.optim.AdamW(there.parameters(), 0.003)
    slots = {name: np.zeros(shape, dtype) for name, shape in optimizer.slots(len(flat)).items()}
    losses = []
    for x, y in zip(*batches(100), strict=True):
        loss_sum, _ = network.train_step(x, y, nn.Context(training=True))
        optimizer.step(flat, gradient, slots, nn.scratch_for(flat))
        theirs.zero_grad()
        functional.cross_entropy(there(torch.tensor(x)).flatten(0, 1), torch.tensor(y).flatten()).backward()
        theirs.step()
        losses.append(float(loss_sum) / len(x))
    assert losses[0] > 2.3
    assert losses[-1] < 1.5
    for name, parameter in there.named_parameters():
        expected = parameter.detach().numpy()
        ours = views[NAMES[name]].T if is_transposed(name) else views[NAMES[name]]
        if name == "block.self_attn.in_proj_bias" and dtype == "float32":
            ours, expected = (np.delete(b, slice(FEATURES, 2 * FEATURES)) for b in (ours, expected))
        np.testing.assert_allclose(ours, expected, rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize(
    "block", [nn.TransformerBlock(4, 2), nn.TransformerBlock(4, 1, hidden=3, dropout=0.3)]
)
def test_gradients(block: nn.TransformerBlock) -> None:
    check_layer(block, np.random.default_rng(1).normal(size=(2, 3, 4)))


def test_the_layer_is_pytorchs() -> None:
    def theirs(x: torch.Tensor, p: dict[str, torch.Tensor]) -> torch.Tensor:
        block = Theirs().block
        names = {n.removeprefix("block."): NAMES[n][2:] for n in NAMES if n.startswith("block.")}
        given = {n: p[o].T if is_transposed(n) else p[o] for n, o in names.items()}
        mask = torch.nn.Transformer.generate_square_subsequent_mask(STEPS)
        return torch.func.functional_call(block, given, (x,), {"src_mask": mask, "is_causal": True})

    x = np.random.default_rng(1).normal(size=(3, STEPS, FEATURES)).astype(np.float32)
    compare_layer(nn.TransformerBlock(FEATURES, HEADS), x, theirs)


def test_dropout_is_of_training_alone() -> None:
    block, x = nn.TransformerBlock(4, 2, dropout=0.5), np.ones((1, 3, 4))
    without = nn.TransformerBlock(4, 2)
    network, other = (nn.Network(b, nn.MSE(), None, (3, 4), "float64") for b in (block, without))
    weights = first_values(network, np.random.default_rng(0))
    for each in (network, other):
        each.bind(weights, {name: np.zeros_like(w) for name, w in weights.items()})
    np.testing.assert_array_equal(network.predict(x), other.predict(x))


def test_a_wrong_shape_names_layer_and_both_shapes() -> None:
    with pytest.raises(ShapeMismatch, match=r"\(4, 5\)"):
        nn.TransformerBlock(4, 2).output_shape((4, 5))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((4, 3), "heads must divide features, got 4 features and 3 heads"),
        ((4, 2, 0), "hidden must be a whole number"),
        ((4, 2, 8, 1.0), "dropout must be a number"),
    ],
)
def test_wrong_settings_are_refused(settings: tuple[int, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        nn.TransformerBlock(*settings)


@pytest.mark.parametrize(("blocks", "features", "steps"), [(1, 64, 32), (4, 32, 32), (2, 64, 16)])
def test_a_step_takes_the_memory_that_the_formula_says(blocks: int, features: int, steps: int) -> None:
    """A block keeps 20 features + heads · steps numbers a step; what is let go of in time takes none."""
    n, heads, vocabulary = 4, 4, 65
    model = nn.Sequential(
        nn.Embedding(vocabulary, features),
        nn.PositionalEmbedding(steps, features),
        *(nn.TransformerBlock(features, heads) for _ in range(blocks)),
        nn.LayerNorm(features),
        nn.Dense(features, vocabulary, "normal"),
    )
    network = nn.Network(model, nn.SoftmaxCrossEntropy(), None, (steps,))
    weights = first_values(network, np.random.default_rng(0))
    network.bind(weights, {name: np.zeros_like(w) for name, w in weights.items()})
    x = np.random.default_rng(0).integers(0, vocabulary, (n, steps))
    tracemalloc.start()
    try:
        network.train_step(x, x, nn.Context(training=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    kept = blocks * (20 * features + heads * steps)
    at_the_top = 10 * features + 4 * vocabulary
    predicted = 4 * n * steps * (kept + at_the_top)
    assert 0.9 * predicted < peak < 1.1 * predicted
