"""Rows added up by index: the gradient of a look-up in a table.

The sums of one index are added in the order of the batch, whatever the machine does meanwhile, so that a unit
has the same bits again. (On a GPU large tables are summed by atomic additions, in no fixed order.)
"""

import numpy as np

from ps_common.arrays import Array, HostArray, xp_of
from ps_worker.nn.precision import widened

PRODUCT_MAX = 2**24  # numbers of a one-hot matrix up to which a GPU multiplies with it


def scatter_sum(rows: Array, indexes: Array, out: Array) -> None:
    """out[v] = Σ rows[i] over the i with indexes[i] = v; zero where there is none.

    rows: (n, features). indexes: (n,) whole numbers from 0 to len(out) - 1. out: (vocabulary, features).
    """
    if isinstance(rows, np.ndarray):
        sum_sorted(rows, indexes, out)
    elif len(indexes) * len(out) <= PRODUCT_MAX:
        sum_by_product(rows, indexes, out)
    else:
        sum_atomically(rows, indexes, out)


def sum_sorted(rows: HostArray, indexes: HostArray, out: HostArray) -> None:
    """By runs of equal indexes: of all ways in NumPy the fastest, but for a handful of rows."""
    out[...] = 0
    if len(indexes):
        order = np.argsort(indexes, kind="stable")
        ordered = indexes[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))  # where a run begins
        out[ordered[starts]] = np.add.reduceat(rows[order], starts, axis=0)


def sum_by_product(rows: Array, indexes: Array, out: Array) -> None:
    """One-hot columns times rows."""
    xp = xp_of(rows)
    one_hot = xp.arange(len(out), dtype=indexes.dtype)[:, None] == indexes  # (vocabulary, n)
    xp.matmul(one_hot.astype(rows.dtype), rows, out=out)


def sum_atomically(rows: Array, indexes: Array, out: Array) -> None:
    """By atomic additions: of halves in float32, or sums keep three digits; CuPy adds no bfloat16 so."""
    xp, values = xp_of(rows), widened(rows)
    sums = out if out.dtype == values.dtype else xp.empty(out.shape, values.dtype)
    sums[...] = 0
    xp.add.at(sums, indexes, values)
    if sums is not out:
        out[...] = sums
