"""JAX's trees as named arrays and as a vector, and back."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ps_common.errors import UsageError
from ps_worker.jax_tree import flatten, leaves_of, named, unnamed

Pair = collections.namedtuple("Pair", "w b")


def tree():
    return {"dense": [Pair(jnp.arange(6.0).reshape(2, 3), jnp.ones(3)), {"scale": jnp.float32(5)}]}


def test_leaves_are_named_by_their_path_and_may_be_changed():
    arrays = named(tree())
    assert {name: array.shape for name, array in arrays.items()} == {
        "dense.0.w": (2, 3), "dense.0.b": (3,), "dense.1.scale": (),
    }  # fmt: skip
    for array in arrays.values():
        array[...] = 7
    again = unnamed(tree(), arrays)
    assert isinstance(again["dense"][0], Pair)
    assert all((leaf == 7).all() for leaf in jax.tree.leaves(again))
    assert list(named(jnp.ones(2))) == ["0"]


def test_new_arrays_do_not_change_with_what_they_were_made_of():
    memory = np.zeros(32, np.float32)
    start = -memory.ctypes.data % 64 // 4  # where JAX would take memory over as it lies
    value = memory[start : start + 16]
    again = unnamed({"w": jnp.ones(16)}, {"w": value})
    value[...] = 9
    assert again["w"].tolist() == [0.0] * 16


def test_a_tree_becomes_a_vector_and_comes_back():
    vector, unflatten = flatten(tree())
    assert isinstance(vector, np.ndarray)
    assert vector.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 1.0, 1.0, 5.0]
    vector += 1
    again = unflatten(vector)
    assert jax.tree.structure(again) == jax.tree.structure(tree())
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b + 1).all()), again, tree()))
    with pytest.raises(UsageError, match=r"the vector has the shape \(9,\), the tree's has \(10,\)"):
        unflatten(vector[1:])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, "the tree has no arrays: there is nothing to average"),
        ({"w": jnp.ones(2, jnp.bfloat16)}, "w (2,) is bfloat16; what is averaged must be float32 or float64"),
        ({"a": {"n": jnp.ones(2, jnp.int32)}}, "a.n (2,) is int32"),
        ({"w": 3.0}, "w is a float, not an array"),
        ({"a.b": jnp.ones(2), "a": {"b": jnp.ones(2)}}, "two arrays of the tree are called a.b"),
    ],
)
def test_trees_that_cannot_be_averaged_are_refused_by_name(wrong, told):
    for act in (named, flatten):
        with pytest.raises(UsageError) as caught:
            act(wrong)
        assert told in str(caught.value)


def test_one_vector_is_of_one_dtype():
    with pytest.raises(UsageError, match=r"w \(2,\) is float64, b \(3,\) is float32; one vector is of one"):
        flatten({"b": np.ones(3, np.float32), "w": np.ones(2)})


def test_values_of_other_names_are_refused():
    with pytest.raises(UsageError, match=r"the tree has the arrays \['w'\], not \['v'\]"):
        unnamed({"w": jnp.ones(2)}, {"v": np.ones(2)})
    assert list(leaves_of({"n": jnp.int32(1)})) == ["n"]
