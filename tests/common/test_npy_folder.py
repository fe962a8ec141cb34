"""Folders of .npy files: blocks are one source, in the order of names; two that disagree are named."""

from pathlib import Path

import numpy as np
import pytest

from ps_common import data
from ps_common.data import npy_blocks
from ps_common.errors import DataError
from ps_common.fields import Field

X = np.arange(60, dtype=np.float32).reshape(20, 3)
Y = np.arange(20, dtype=np.int64)
CUTS = ((0, 7), (7, 8), (8, 20))


def write(folder: Path, x: str = "x_{}.npy", y: str | None = "y_{}.npy") -> None:
    for i, (first, stop) in enumerate(CUTS):
        for pattern, values in ((x, X), (y, Y)):
            if pattern is not None:
                path = folder / pattern.format(i)
                path.parent.mkdir(exist_ok=True)
                np.save(path, values[first:stop])


@pytest.mark.parametrize(
    ("x", "y"), [("x_{}.npy", "y_{}.npy"), ("x/{}.npy", "y/{}.npy"), ("x_{}.npy", "y/{}.npy")]
)
@pytest.mark.parametrize("kept", [1, 64])
def test_blocks_are_one_source_in_the_order_of_names(tmp_path, x, y, kept, monkeypatch):
    monkeypatch.setattr(npy_blocks, "MAPPED_MAX", kept)
    write(tmp_path, x, y)
    source = data.npy_folder(tmp_path)
    assert source.samples == 20
    assert source.fields == (Field("x", "float32", (3,)), Field("y", "int64", ()))
    for rows in (
        slice(None),
        slice(19, 3, -2),
        slice(7, 8),
        np.random.default_rng(0).permutation(20),
        np.array([], int),
    ):
        got_x, got_y = source.read(rows)
        np.testing.assert_array_equal(got_x, X[rows], strict=True)
        np.testing.assert_array_equal(got_y, Y[rows], strict=True)
    assert source.fingerprint() == data.arrays(X, Y).fingerprint()
    assert data.open_source(source.plain()).fingerprint() == source.fingerprint()


def test_without_y_and_in_any_byte_order(tmp_path):
    np.save(tmp_path / "x_a.npy", X[:9].astype(">f4"))
    np.save(tmp_path / "x_b.npy", np.asfortranarray(X[9:]))
    np.save(tmp_path / "other.npy", Y)
    source = data.npy_folder(tmp_path)
    assert source.fingerprint() == data.arrays(X).fingerprint()
    with pytest.raises(IndexError, match="of a source of 20 samples"):
        source.read(np.array([20]))


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        (
            "x_1.npy",
            X[7:8, :2],
            r"blocks of x must agree: .*x_0\.npy holds samples x: \(3,\) float32, .*x_1\.npy x: \(2,\)",
        ),
        ("x_2.npy", X[8:].astype(np.float64), r"x_0\.npy holds .* float32, .*x_2\.npy x: \(3,\) float64"),
        ("y_1.npy", Y[7:9], r"x_1\.npy has 1 samples and .*y_1\.npy has 2"),
        ("x_3.npy", X[:1], r"x_3\.npy has no block of y of its name"),
        ("y_3.npy", Y[:1], r"y_3\.npy has no block of x of its name"),
        ("x_1.npy", X[:0], r"x_1\.npy: x has shape \(0, 3\): no samples"),
        ("x_1.npy", np.array(["a"]), r"x_1\.npy: x has dtype <U1"),
        ("x/0.npy", X, r"holds x_\*\.npy and a folder x, too"),
    ],
)
def test_blocks_that_do_not_go_together_are_named(tmp_path, name, values, told):
    write(tmp_path)
    (tmp_path / "x").mkdir()
    np.save(tmp_path / name, values)
    with pytest.raises(DataError, match=told):
        data.npy_folder(tmp_path)


def test_a_folder_without_blocks_says_what_it_holds(tmp_path):
    with pytest.raises(DataError, match=r"neither files x_.* but nothing; rename"):
        data.npy_folder(tmp_path)
    for i in range(7):
        np.save(tmp_path / f"{i}.npy", X)
    with pytest.raises(DataError, match=r"but 0\.npy, 1\.npy, 2\.npy, 3\.npy, 4\.npy, \.\.\.; rename"):
        data.npy_folder(tmp_path)
    with pytest.raises(DataError, match=r"cannot open the folder .*Not a directory"):
        data.npy_folder(tmp_path / "0.npy")


def test_a_file_cut_short_is_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / "x_2.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"x_2\.npy should have 272 bytes"):
        data.npy_folder(tmp_path)
