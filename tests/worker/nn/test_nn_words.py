"""The public names: every description travels as plain data and comes back equal."""

import dataclasses
import json

import pytest

from ps_common.vocabulary import from_plain, has_own_code, is_word, to_plain
from ps_worker import nn

WORDS = [
    nn.Dense(4, 3),
    nn.Dense(4, 3, init="xavier", bias=False),
    nn.ReLU(),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.Flatten(),
    nn.Dropout(0.25),
    nn.Sequential(nn.Flatten(), nn.Sequential(nn.Dense(4, 3), nn.ReLU())),
    nn.MSE(),
    nn.SoftmaxCrossEntropy(),
    nn.SigmoidCrossEntropy(),
    nn.L2(1e-4),
    nn.SGD(0.1),
    nn.Momentum(0.1, 0.5),
    nn.Nesterov(0.1, 0.5),
    nn.Adam(0.01, 0.8, 0.99, 1e-6),
    nn.Accuracy(),
    nn.MeanSquaredError(),
    nn.MeanAbsoluteError(),
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
