"""The public names: every description travels as plain data and comes back equal."""

import dataclasses
import json

import pytest

from ps_common.vocabulary import from_plain, has_own_code, is_word, to_plain
from ps_worker import nn

WORDS = [
    nn.Dense(4, 3),
    nn.Dense(4, 3, init="xavier", bias=False),
    nn.Embedding(9, 4, 0.5),
    nn.PositionalEmbedding(9, 4),
    nn.LayerNorm(4, 1e-6),
    nn.CausalSelfAttention(4, 2),
    nn.TransformerBlock(4, 2, hidden=8, dropout=0.1),
    nn.LSTM(4, 3, return_sequences=False),
    nn.GRU(4, 3, return_sequences=False),
    nn.MatrixFactorisation(9, 7, 3, mean=3.5, deviation=0.2),
    nn.GELU(),
    nn.Softmax(),
    nn.ReLU(),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.Flatten(),
    nn.Dropout(0.25),
    nn.Sequential(nn.Flatten(), nn.Sequential(nn.Dense(4, 3), nn.ReLU())),
    nn.Residual(nn.Dense(4, 4), nn.ReLU()),
    nn.Residual(nn.Dense(4, 3), shortcut=nn.Dense(4, 3)),
    nn.Conv2D(1, 8, 3),
    nn.Conv2D(1, 8, (5, 3), stride=2, padding=(2, 1), bias=False, init="xavier"),
    nn.Conv2D(1, 8, 3, padding="same"),
    nn.MaxPool2D(2),
    nn.MaxPool2D((3, 2), stride=1, padding=1),
    nn.AvgPool2D(2, stride=(2, 1)),
    nn.GlobalAveragePool2D(),
    nn.BatchNorm(8, momentum=0.2, epsilon=1e-3),
    nn.Reshape((1, 28, 28)),
    nn.MSE(),
    nn.MSE(skip_missing=True),
    nn.SoftmaxCrossEntropy(),
    nn.SoftmaxCrossEntropy(ignore=-100),
    nn.SigmoidCrossEntropy(skip_missing=True),
    nn.SigmoidCrossEntropy(),
    nn.L2(1e-4),
    nn.SGD(0.1),
    nn.Momentum(0.1, 0.5),
    nn.Nesterov(0.1, 0.5),
    nn.Adam(0.01, 0.8, 0.99, 1e-6),
    nn.AdamW(0.01, decay=0.1),
    nn.Adagrad(0.01, 1e-6),
    nn.RMSprop(0.01, 0.9, 1e-6),
    nn.ClipByNorm(nn.SGD(nn.Step(0.1, every=50)), 1.0),
    nn.Warmup(0.1, 20),
    nn.Cosine(0.1, steps=50, warmup=5, final=0.01),
    nn.LinearDecay(0.1, steps=50, warmup=5, final=0.01),
    nn.Step(0.1, every=50, factor=0.5, warmup=5),
    nn.Accuracy(),
    nn.Accuracy(ignore=0),
    nn.MeanSquaredError(),
    nn.MeanAbsoluteError(),
    nn.MeanSquaredError(skip_missing=True),
    nn.MeanAbsoluteError(skip_missing=True),
    nn.RMSE(),
    nn.TopK(3, ignore=0),
    nn.AUC(),
    nn.Perplexity(ignore=-1),
    nn.BitsPerCharacter(),
]


@pytest.mark.parametrize("described", WORDS, ids=repr)
def test_round_trip_as_plain_data(described: object) -> None:
    plain = json.loads(json.dumps(to_plain(described)))
    assert from_plain(plain) == described
    assert not has_own_code(plain)
    assert hash(from_plain(plain)) == hash(described)


def test_every_public_description_is_tried_above() -> None:
    words = {name for name in nn.__all__ if is_entered(getattr(nn, name))}
    assert words == {type(described).__name__ for described in WORDS}


def is_entered(thing: object) -> bool:
    return isinstance(thing, type) and dataclasses.is_dataclass(thing) and is_word(object.__new__(thing))
