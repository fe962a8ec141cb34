"""Samples as rows of vectors: what layers of the last axis share."""

import numpy as np

from ps_common.arrays import Array


def rows(x: Array) -> Array:
    """(n, ..., features) as a matrix of one vector a row; no copy of a contiguous array."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def dots(a: Array, b: Array) -> Array:
    """Σ aᵢ bᵢ over the last axis, which stays with length 1. The host makes no product to add up then."""
    if isinstance(a, np.ndarray):
        return np.einsum("...i,...i->...", a, b)[..., None]
    return (a * b).sum(axis=-1, keepdims=True)


def column_dots(a: Array, b: Array, out: Array) -> None:
    """out[i] = Σ a[:, i] b[:, i], of matrices; `out` may be narrower than they are."""
    if isinstance(a, np.ndarray):
        np.einsum("ni,ni->i", a, b, out=out, casting="same_kind")
    else:
        out[...] = (a * b).sum(axis=0)
