"""Flat dotted names and nested trees."""

import numpy as np
import pytest

from ps_common.errors import UsageError
from ps_worker.nn import Parameter
from ps_worker.nn.tree import flatten, nest

ONE, TWO, THREE = Parameter((1,)), Parameter((2,)), Parameter((3,))


def test_flatten_joins_names_with_dots_in_order() -> None:
    flat = flatten({"2": {"weight": TWO}, "0": {"inner": {"bias": ONE}, "weight": THREE}})
    assert list(flat.items()) == [("2.weight", TWO), ("0.inner.bias", ONE), ("0.weight", THREE)]


def test_nest_is_the_inverse_and_keeps_the_very_arrays() -> None:
    flat = {"0.weight": np.zeros(2), "0.bias": np.ones(1), "3.1.weight": np.ones(3), "scale": np.ones(1)}
    tree = nest(flat)
    assert set(tree) == {"0", "3", "scale"}
    assert tree["0"]["weight"] is flat["0.weight"]
    assert tree["3"]["1"]["weight"] is flat["3.1.weight"]
    assert tree["scale"] is flat["scale"]


@pytest.mark.parametrize("name", ["", "a.b"])
def test_a_name_without_a_place_in_the_tree_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="must not be empty or hold a dot"):
        flatten({"0": {name: ONE}})
