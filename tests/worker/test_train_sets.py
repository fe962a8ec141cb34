"""The data that a loop of a user's own goes through, in whatever it is held."""

import numpy as np
import pytest

from ps_common import data
from ps_common.errors import UsageError
from ps_worker.train_sets import count, read

ROWS = np.array([2, 0])
X, Y = np.arange(6).reshape(3, 2), np.arange(3)


def same(got, wanted):
    assert type(got) is type(wanted)
    if isinstance(wanted, dict):
        assert got.keys() == wanted.keys()
        got, wanted = got.values(), wanted.values()
    for mine, theirs in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("train_set", "batch"),
    [
        (X, X[ROWS]),
        ((X, Y), (X[ROWS], Y[ROWS])),
        ([X, Y], (X[ROWS], Y[ROWS])),
        ({"x": X, "y": Y}, {"x": X[ROWS], "y": Y[ROWS]}),
        (data.arrays(X, Y), (X[ROWS], Y[ROWS])),
        (3, ROWS),
    ],
    ids=["array", "tuple", "list", "dict", "source", "number"],
)
def test_samples_are_counted_and_read_as_they_are_held(train_set, batch):
    assert count(train_set) == 3
    same(read(train_set, ROWS), batch)


@pytest.mark.parametrize("train_set", [(X, Y[:2]), {"x": X, "y": Y[:2]}])
def test_parts_of_different_lengths_are_refused(train_set):
    with pytest.raises(UsageError, match=r"as many samples; they have \[2, 3\]"):
        count(train_set)
