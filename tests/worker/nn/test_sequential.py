"""Sequential: composition, names by position, nesting and messages."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common.arrays import Array
from ps_common.errors import ShapeMismatch, UsageError
from ps_common.vocabulary import from_plain, to_plain
from ps_worker import nn
from ps_worker.nn.layer import Views
from ps_worker.nn.tree import flatten
from support_gradients import check_layer

DEEP = nn.Sequential(
    nn.Flatten(),
    nn.Sequential(nn.Dense(6, 5, init="xavier"), nn.Tanh()),
    nn.Dropout(0.3),
    nn.Dense(5, 4, bias=False),
    nn.Sigmoid(),
    nn.Dense(4, 2),
)


def test_gradients_of_a_composite() -> None:
    check_layer(DEEP, np.random.default_rng(1).normal(size=(4, 2, 3)))


def test_gradients_without_parameters() -> None:
    check_layer(nn.Sequential(nn.Tanh(), nn.Sigmoid()), np.random.default_rng(1).normal(size=(4, 3)))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(["dense", "tanh", "sigmoid", "dropout", "nested"]), min_size=1, max_size=6))
def test_gradients_of_any_composite(kinds: list[str]) -> None:
    make: dict[str, nn.Layer] = {
        "dense": nn.Dense(3, 3),
        "tanh": nn.Tanh(),
        "sigmoid": nn.Sigmoid(),
        "dropout": nn.Dropout(0.3),
        "nested": nn.Sequential(nn.Sigmoid(), nn.Dense(3, 3)),
    }
    check_layer(nn.Sequential(*(make[kind] for kind in kinds)), np.random.default_rng(1).normal(size=(2, 3)))


def test_parameters_are_named_by_position() -> None:
    names = list(flatten(DEEP.parameters((2, 3))))
    assert names == ["1.0.weight", "1.0.bias", "3.weight", "5.weight", "5.bias"]


def test_one_layer_at_two_places_has_two_sets_of_parameters() -> None:
    layer = nn.Dense(3, 3)
    assert len(flatten(nn.Sequential(layer, layer).parameters((3,)))) == 4


def test_both_ways_to_build_are_one() -> None:
    layers = (nn.Dense(4, 3), nn.ReLU())
    assert nn.Sequential(*layers) == nn.Sequential(layers=layers) == nn.Sequential(layers=list(layers))
    assert nn.Sequential(*layers).layers == layers
    assert hash(nn.Sequential(*layers)) == hash(nn.Sequential(layers=layers))
    assert nn.Sequential(*layers) != nn.Sequential(*layers[:1])
    with pytest.raises(dataclasses.FrozenInstanceError):
        nn.Sequential(*layers).layers = ()  # type: ignore[misc]


def test_round_trip_as_plain_data() -> None:
    assert from_plain(to_plain(DEEP)) == DEEP


def test_repr_reads_like_the_code() -> None:
    assert repr(nn.Sequential(nn.ReLU(), nn.Tanh())) == "Sequential(ReLU(), Tanh())"


def test_a_wrong_shape_names_position_layer_and_both_shapes() -> None:
    model = nn.Sequential(nn.Dense(784, 100), nn.ReLU(), nn.Dense(50, 10))
    for ask in (model.output_shape, model.parameters):
        with pytest.raises(ShapeMismatch) as caught:
            ask((784,))
        assert str(caught.value).startswith("layer 2: Dense(50, 10) takes samples of shape (50,), got (100,)")


def test_a_wrong_shape_inside_a_nested_model_names_the_path() -> None:
    with pytest.raises(ShapeMismatch, match=r"layer 1: layer 0: Dense\(5, 1\) .* \(5,\), got \(6,\)"):
        nn.Sequential(nn.Flatten(), nn.Sequential(nn.Dense(5, 1))).output_shape((2, 3))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((nn.ReLU(), nn.Tanh), r"layer 1 must be a layer, got <class .*; write Tanh\(\.\.\.\)"),
        ((nn.ReLU(), "tanh"), "layer 1 must be a layer, got 'tanh'"),
        ((), "needs its layers once"),
    ],
)
def test_what_is_no_layer_is_refused(layers: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nn.Sequential(*layers)
    with pytest.raises(UsageError, match=message):
        nn.Sequential(layers=layers)


@dataclasses.dataclass(frozen=True)
class Loud(nn.Layer):
    """Passes through, and cannot give dx."""

    def forward(self, x: Array, p: Views, context: nn.Context) -> tuple[Array, Any]:
        return x, None

    def backward(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        raise AssertionError("dx was computed for nobody")


def test_nothing_is_computed_below_the_first_trained_layer() -> None:
    model = nn.Sequential(Loud(), nn.Sequential(Loud(), nn.Dense(2, 2)), nn.ReLU())
    p = {"1": {"1": {"weight": np.eye(2), "bias": np.zeros(2)}}}
    g = {"1": {"1": {"weight": np.empty((2, 2)), "bias": np.empty(2)}}}
    y, cache = model.forward(np.ones((3, 2)), p, nn.Context(training=True))
    model.parameter_gradients(np.ones_like(y), p, g, cache)
    np.testing.assert_array_equal(g["1"]["1"]["weight"], np.full((2, 2), 3))
    _, cache = model.forward(np.ones((3, 2)), p, nn.Context(training=True))
    with pytest.raises(AssertionError):
        model.backward(np.ones_like(y), p, g, cache)


@pytest.mark.parametrize(("training", "passes"), [(True, 2), (False, 1)])
@pytest.mark.parametrize("way", ["backward", "parameter_gradients"])
def test_a_pass_back_that_has_none_to_go_with_it_says_so(training: bool, passes: int, way: str) -> None:
    model, p = nn.Sequential(nn.Dense(2, 2), nn.Tanh()), {"0": {"weight": np.eye(2), "bias": np.zeros(2)}}
    y, cache = model.forward(np.ones((3, 2)), p, nn.Context(training=training))
    for _ in range(passes - 1):
        getattr(model, way)(y, p, p, cache)
    with pytest.raises(UsageError, match=r"a forward pass of its own .* there for 0 of 2 layers"):
        getattr(model, way)(y, p, p, cache)
