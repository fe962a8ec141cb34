"""Parquet sources: what was written is read, whatever the row groups; what is no number is named."""

import datetime
import sys

import hypothesis
import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import strategies as st

from ps_common import data
from ps_common.data import parquet_file, scratch
from ps_common.errors import DataError, UsageError
from ps_common.fields import Field

ROWS = 50
A = np.arange(ROWS, dtype=np.int32)
B = A * 0.5
IMAGES = np.arange(ROWS * 6, dtype=np.uint8).reshape(ROWS, 6)
TABLE = pa.table({"a": A, "b": B, "label": A % 3})


def write(path, table=TABLE, row_group_size=7):
    pyarrow.parquet.write_table(table, path, row_group_size=row_group_size)
    return path


@hypothesis.settings(
    deadline=None, max_examples=20, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(group=st.integers(1, 60), rows_bytes=st.integers(1, 3000), draw=st.data())
def test_any_rows_are_read_in_the_asked_order(tmp_path, group, rows_bytes, draw):
    path = write(tmp_path / "d.parquet", row_group_size=group)
    rows = np.array(draw.draw(st.lists(st.integers(0, ROWS - 1), max_size=9)), np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_file, "BATCH_BYTES", rows_bytes)
        source = data.parquet(path, y="label")
    assert source.samples == ROWS
    assert source.fields == (Field("x", "float32", (2,)), Field("y", "int64", ()))
    for asked in (rows, slice(3, None, 4)):
        x, y = source.read(asked)
        np.testing.assert_array_equal(x, np.stack([A, B], 1).astype(np.float32)[asked], strict=True)
        np.testing.assert_array_equal(y, (A % 3).astype(np.int64)[asked], strict=True)


def test_columns_by_name_and_lists_as_vectors(tmp_path):
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(IMAGES.reshape(-1)), 6)
    path = write(
        tmp_path / "d.parquet",
        TABLE.append_column("f", fixed).append_column("v", fixed.cast(pa.list_(pa.uint8()))),
    )
    (x,) = data.parquet(path, ["f"], dtype="uint8").read(slice(None))
    np.testing.assert_array_equal(x, IMAGES, strict=True)
    x, y = data.parquet(path, ["b", "v", "a"], "v", y_dtype="int16").read(slice(None))
    np.testing.assert_array_equal(x, np.column_stack([B, IMAGES, A]).astype(np.float32), strict=True)
    np.testing.assert_array_equal(y, IMAGES.astype(np.int16), strict=True)


def test_lists_of_one_number_stay_vectors(tmp_path):
    path = write(tmp_path / "d.parquet", pa.table({"a": [1, 2], "v": [[3], [4]]}))
    assert data.parquet(path, ["a"], "v").fields[1].shape == (1,)


def test_truths_dates_halves_dictionaries_and_text_become_numbers(tmp_path):
    table = pa.table(
        {
            "truth": [True, False, True],
            "day": [datetime.date(1970, 1, 2), datetime.date(2011, 12, 9), datetime.date(1969, 12, 31)],
            "half": pa.array(np.float16([1.5, 2, 3])),
            "coded": pa.array([7, 9, 7]).dictionary_encode(),
            "town": ["York", "Bath", "York"],
            "street": pa.array(["b", "a", "c"], pa.large_string()).dictionary_encode(),
        }
    )
    path = write(tmp_path / "d.parquet", table, 2)
    source = data.parquet(
        path, table.schema.names[:5], "street", categories={"town": None, "street": ["c", "b", "a"]}
    )
    x, y = source.read(slice(None))
    assert x.tolist() == [[1, 1, 1.5, 7, 1], [0, 15317, 2, 9, 0], [1, -1, 3, 7, 1]]
    assert y.tolist() == [1, 2, 0]
    assert source.categories == {"town": ("Bath", "York"), "street": ("c", "b", "a")}


def test_nulls_become_what_missing_says(tmp_path):
    table = pa.table(
        {"a": [1, None, 3], "t": [None, True, False], "c": ["x", None, "a"], "v": [[1, 2], [None, 4], [5, 6]]}
    )
    path = write(tmp_path / "d.parquet", table, 2)
    source = data.parquet(path, missing=-1, categories=["c"])
    assert source.read(slice(None))[0].tolist() == [[1, -1, 2, 1, 2], [-1, 1, 0, -1, 4], [3, 0, 1, 5, 6]]
    assert source.categories == {"c": ("", "a", "x")}
    (x,) = data.parquet(path, ["a"], missing=float("nan")).read(slice(None))
    np.testing.assert_array_equal(x[:, 0], np.float32([1, np.nan, 3]), strict=True)


@pytest.mark.parametrize("held", [0, 1 << 30])
def test_several_files_and_folders_are_one_source(tmp_path, monkeypatch, held):
    monkeypatch.setattr(scratch, "HELD_BYTES", held)
    for i, part in enumerate((TABLE.slice(0, 20), TABLE.slice(20, 0), TABLE.slice(20))):
        write(tmp_path / f"part{i}.parquet", part.select(["label", "b", "a"] if i else ["a", "b", "label"]))
    whole = data.parquet(write(tmp_path / "whole"), y="label", scratch=tmp_path / "scratch")
    folder = data.parquet(tmp_path, y="label", scratch=tmp_path / "scratch")
    listed = data.parquet(
        [tmp_path / "part0.parquet", tmp_path / "part2.parquet"], y="label", scratch=tmp_path / "s"
    )
    assert folder.fingerprint() == listed.fingerprint() == whole.fingerprint()
    assert folder.plain()["path"] == [str(tmp_path / f"part{i}.parquet") for i in range(3)]
    for place in (tmp_path / "scratch", tmp_path / "s"):
        assert not place.exists() or list(place.iterdir()) == []  # nothing has a name that could be left


def test_opened_again_it_holds_the_same_samples(tmp_path):
    path = write(tmp_path / "d.parquet", pa.table({"a": [1, None], "c": ["x", "y"], "n": [1, 2]}))
    source = data.parquet(
        path, ["c", "a"], "n", dtype="float64", y_dtype="uint8", categories=["c"], missing=0.5
    )
    again = data.open_source(msgpack.unpackb(msgpack.packb(source.plain())))
    assert (again.fingerprint(), again.fields, again.categories) == (
        source.fingerprint(),
        source.fields,
        source.categories,
    )
    assert again.plain() == source.plain()


@pytest.mark.parametrize(
    ("columns", "settings", "told"),
    [
        ({"height": [1]}, {"x": ["heigth"]}, r"has no column 'heigth'; it has height; did you mean 'heig"),
        ({"a": [1], "b": [2]}, {"x": ["a"], "y": "label"}, "has no column 'label'; it has a, b"),
        ({"a": [1.0, None]}, {}, r"row 1, column 'a': null is no float32; say what it counts as: missing="),
        ({"a": [1, 2, 3, 300]}, {"dtype": "uint8"}, r"row 3, column 'a': 300 is no uint8"),
        ({"a": [1, -2]}, {"dtype": "uint64"}, r"row 1, column 'a': -2 is no uint64"),
        ({"a": [0.5]}, {"dtype": "int8"}, r"row 0, column 'a': 0.5 is no int8"),
        ({"a": [None, 2, 3, 0.5]}, {"dtype": "int8", "missing": 1}, r"row 3, column 'a': 0.5 is no int8"),
        ({"a": [1, None]}, {"dtype": "int8", "missing": 0.5}, r"row 1, column 'a': null is no int8"),
        ({"a": ["x"]}, {}, r"column 'a' is string, which is no number; name it in categories="),
        ({"a": ["x", None]}, {"categories": ["a"]}, r"row 1, column 'a': null is no category"),
        ({"a": ["y", "x"]}, {"categories": {"a": ["y"]}}, r"row 1, .*: 'x' is no category; .*known are y"),
        ({"a": [[1, 2], [3]]}, {}, r"row 1, column 'a': a list of 1, where the first row has one of 2"),
        ({"a": [[1, 2], None]}, {}, r"row 1, column 'a': null is no list"),
        ({"a": [[1, 2], [3, None]]}, {}, r"row 1, column 'a': null is no float32"),
        ({"a": [[1, 2], [3, 1e39]]}, {}, r"row 1, column 'a': 1e\+39 is no float32"),
        ({"a": [[], [3]]}, {}, r"row 0, column 'a': it has no list or an empty one"),
        ({"a": [[[1]]]}, {}, r"column 'a' is list<.*; a data set holds numbers"),
        ({"a": [datetime.datetime(2020, 1, 1)]}, {}, r"column 'a' is timestamp.*cast it"),
        ({"a": [b"x"]}, {}, r"column 'a' is binary"),
        ({"a": pa.array([], pa.int8())}, {}, "has no rows"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, columns, settings, told):
    path = write(tmp_path / "d.parquet", pa.table(columns), 2)
    with pytest.raises(DataError, match=told):
        data.parquet(path, **settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"x": "a"}, r"write \['a'\]"),
        ({"x": []}, "no column is left for x"),
        ({"dtype": "U3"}, "dtype must be"),
        ({"y": "label", "y_dtype": "complex64"}, "y_dtype must be"),
        ({"categories": ["a"]}, "column 'a' is int32; only a column of text has categories"),
        ({"x": ["a"], "categories": ["b"]}, "column 'b' has categories but is not used"),
        ({"missing": "none"}, "missing must be"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, settings, told):
    with pytest.raises(UsageError, match=told):
        data.parquet(write(tmp_path / "d.parquet"), **settings)


def test_files_must_be_there_whole_and_agree(tmp_path):
    path, other = write(tmp_path / "a.parquet"), tmp_path / "b.parquet"
    write(other, pa.table({"a": B, "b": B, "label": A}))
    with pytest.raises(DataError, match=r"column 'a' is int32 in .*a\.parquet but double in .*b\.parquet"):
        data.parquet([path, other])
    whole = path.read_bytes()
    for content in (whole[:-9], b"", whole[:4] + b"\xff" * 600 + whole[604:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.parquet is no Parquet file, or damaged or truncated"):
            data.parquet(path)
    with pytest.raises(DataError, match="cannot open"):
        data.parquet(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"there is no \*\.parquet file in"):
        data.parquet(tmp_path / "empty")


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "d.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'paramserver\[parquet\]'"):
        data.parquet(path)
