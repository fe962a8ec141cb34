"""JAX's trees of arrays as arrays with names, and back: what is averaged is known by name.

JAX's arrays cannot be changed in place, so each way makes new ones. A leaf is named by its path in the tree:
`{"dense": [{"w": ...}]}` has `dense.0.w`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ps_common.arrays import HostArray
from ps_common.errors import UsageError

FLOATS = ("float32", "float64")
Tree = Any
Named = dict[str, HostArray]
_MINE = ("key", "idx", "name")  # what the steps of a path have: of a dict, a list, a class


def named(tree: Tree) -> Named:
    """Each leaf by its name, as a NumPy array of its own that may be changed.

    Raises `UsageError` for a tree without leaves, one that is no array of float32 or float64, and for two of
    one name.
    """
    leaves = leaves_of(tree)
    if not leaves:
        raise UsageError("the tree has no arrays: there is nothing to average")
    for name, leaf in leaves.items():
        if str(leaf.dtype) not in FLOATS:
            raise UsageError(
                f"{name} {tuple(leaf.shape)} is {leaf.dtype}; what is averaged must be float32 or float64: "
                "keep weights so, and cast where you compute"
            )
    return {name: np.array(leaf) for name, leaf in leaves.items()}


def unnamed(tree: Tree, values: Mapping[str, HostArray]) -> Tree:
    """A tree like this one, with new arrays of these values. Raises `UsageError` for other names."""
    leaves = leaves_of(tree)
    if leaves.keys() != values.keys():
        raise UsageError(f"the tree has the arrays {list(leaves)}, not {list(values)}")
    made = [jnp.array(values[name], dtype=leaf.dtype, copy=True) for name, leaf in leaves.items()]
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(tree), made)


def leaves_of(tree: Tree) -> dict[str, Any]:
    """Each leaf by its name, in the tree's order. Raises `UsageError` for what is no array, or not alone."""
    leaves: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = ".".join(_said(step) for step in path) or "0"
        if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
            raise UsageError(f"{name} is a {type(leaf).__name__}, not an array")
        if name in leaves:
            raise UsageError(f"two arrays of the tree are called {name}; name one otherwise")
        leaves[name] = leaf
    return leaves


def flatten(tree: Tree) -> tuple[HostArray, Callable[[HostArray], Tree]]:
    """All arrays of a tree one after another in a NumPy vector, and the way back from such a vector.

    Raises `UsageError` as `named` does, and for arrays of two dtypes, which one vector does not hold.

        vector, unflatten = flatten(params)
        params = unflatten(vector)
    """
    arrays = named(tree)
    first, like = next(iter(arrays.items()))
    for name, array in arrays.items():
        if array.dtype != like.dtype:
            raise UsageError(
                f"{name} {array.shape} is {array.dtype}, {first} {like.shape} is {like.dtype}; one vector "
                "is of one dtype"
            )
    vector = np.concatenate([array.ravel() for array in arrays.values()])
    ends = np.cumsum([array.size for array in arrays.values()])

    def unflatten(vector: HostArray) -> Tree:
        if vector.shape != (ends[-1],):
            raise UsageError(f"the vector has the shape {vector.shape}, the tree's has {(int(ends[-1]),)}")
        parts = np.split(vector, ends[:-1])
        shaped = {n: part.reshape(a.shape) for (n, a), part in zip(arrays.items(), parts, strict=True)}
        return unnamed(tree, shaped)

    return vector, unflatten


def _said(step: Any) -> str:
    return str(next(getattr(step, what) for what in _MINE if hasattr(step, what)))
