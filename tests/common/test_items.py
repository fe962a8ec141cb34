"""Objects with len() and []: their items are samples, held to the first; what is unlike it is named."""

import numpy as np
import pytest
import torch

from ps_common import data
from ps_common.errors import DataError, JobCodeError, UsageError
from ps_common.fields import Field

X = np.arange(30, dtype=np.float32).reshape(10, 3)
Y = np.arange(10, dtype=np.int64)


class Dicts:
    """As a data set of Hugging Face: dicts, and several at once."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return {"image": X[index].tolist(), "label": int(Y[index]), "name": f"sample {index}"}

    def __getitems__(self, indices):
        assert all(type(index) is int for index in indices)
        self.asked.append(indices)
        return [self[index] for index in indices]


class Image:
    """As an image of PIL: an array only when it is asked to be one."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


class Failing(list):
    def __getitem__(self, index):
        if index == 3:
            raise OSError("disk full of holes")
        return super().__getitem__(index)


TENSORS = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


@pytest.mark.parametrize(
    "source",
    [
        data.items(TENSORS),
        data.items(torch.utils.data.Subset(TENSORS, range(10))),
        data.items(list(zip(X, Y, strict=True))),
        data.items([(Image(x), int(y)) for x, y in zip(X, Y, strict=True)]),
        data.items([(x.tolist(), int(y)) for x, y in zip(X, Y, strict=True)], dtype="float32"),
        data.items([(int(y), "no number", x.astype(">f4")) for x, y in zip(X, Y, strict=True)], x=2, y=0),
        data.items([(x, float(y)) for x, y in zip(X, Y, strict=True)], y_dtype="int64"),
        data.items(Dicts(), "image", "label", dtype="float32"),
    ],
)
def test_items_are_the_samples(source):
    assert (source.samples, len(source)) == (10, 10)
    assert source.fields == (Field("x", "float32", (3,)), Field("y", "int64", ()))
    for rows in (slice(None), slice(8, 1, -3), np.array([7, 0, 7]), np.array([], int)):
        x, y = source.read(rows)
        np.testing.assert_array_equal(x, X[rows], strict=True)
        np.testing.assert_array_equal(y, Y[rows], strict=True)
    assert source.fingerprint() == data.arrays(X, Y).fingerprint()
    x[...] = 99
    assert source.fingerprint() == data.arrays(X, Y).fingerprint()
    with pytest.raises(IndexError, match="of a source of 10 samples"):
        source.read(np.array([10]))


def test_items_that_are_x_alone():
    for source in (
        data.items(X),
        data.items([(x,) for x in X]),
        data.items(Dicts(), "image", dtype="float32"),
    ):
        assert source.fingerprint() == data.arrays(X).fingerprint()


def test_many_items_are_asked_for_at_once_where_that_can_be():
    of = Dicts()
    data.items(of, "image").read(np.array([4, 1]))
    assert of.asked == [[4, 1]]


@pytest.mark.parametrize(
    ("of", "settings", "error", "told"),
    [
        (iter([]), {}, UsageError, r"the list_iterator of the job needs len\(\) and \[\]"),
        ([], {}, DataError, "the list of the job has no items"),
        (Dicts(), {}, UsageError, r"dicts with 'image', 'label', 'name': .*x='image'"),
        (
            Dicts(),
            {"x": "imgae"},
            UsageError,
            "have no 'imgae'; they have image, label, name; did you mean 'image'",
        ),
        (Dicts(), {"x": "image", "y": "class"}, UsageError, "have no 'class'"),
        (Dicts(), {"x": "name"}, DataError, r"item 0 of the Dicts of the job, 'name' is a str .*not numbers"),
        (TENSORS, {"x": 2}, UsageError, "tuples of 2; there is no 2"),
        (TENSORS, {"x": "image"}, UsageError, "there is no 'image'"),
        (X, {"y": 1}, UsageError, "neither tuples nor dicts"),
        (TENSORS, {"dtype": "U3"}, UsageError, "dtype must be"),
        ([(1.5, 0)], {"dtype": "int8"}, DataError, "item 0 .*, 0 holds numbers that are no int8"),
        ([([1, [2]], 0)], {}, DataError, "item 0 .*, 0 is a list, which NumPy cannot take"),
        ([(torch.ones(2, requires_grad=True), 0)], {}, DataError, "item 0 .*Tensor, which NumPy cannot take"),
        ([(np.empty((2, 0)), 0)], {}, DataError, "samples have no values"),
        (Failing([0, 1]), {}, None, ""),
    ],
)
def test_what_cannot_be_samples_is_refused(of, settings, error, told):
    if error is None:
        assert data.items(of, **settings).samples == 2
        return
    with pytest.raises(error, match=told):
        data.items(of, **settings)


@pytest.mark.parametrize(
    ("third", "told"),
    [
        (
            (np.zeros(2, np.float32), 0),
            r"item 2 of the list of the job has x: \(2,\) float32, but item 0 has x: \(3,\)",
        ),
        ((np.zeros(3), 0), r"item 2 .* has x: \(3,\) float64, but item 0 has x: \(3,\) float32; .*dtype="),
        ((np.zeros(3, np.float32), 0.5), r"item 2 .* has y: \(\) float64, but item 0 has y: \(\) int64"),
        ((np.zeros(3, np.float32),), r"item 2 of the list of the job, 1, is not there"),
        (7, r"item 2 of the list of the job, 0, is not there"),
    ],
)
def test_an_item_unlike_the_first_is_named(third, told):
    source = data.items([(x, int(y)) for x, y in zip(X[:2], Y, strict=False)] + [third])
    source.read(slice(0, 2))
    with pytest.raises(DataError, match=told):
        source.read(slice(None))


def test_what_the_object_raises_is_the_jobs_own_fault():
    source = data.items(Failing(X))
    with pytest.raises(
        JobCodeError, match="the Failing of the job raised OSError for item 3: disk full of holes"
    ):
        source.read(np.array([1, 3]))


def test_it_cannot_be_opened_elsewhere():
    plain = data.items(X).plain()
    with pytest.raises(UsageError, match=r"the items of an object in the memory .* stream mode"):
        data.open_source(plain)
