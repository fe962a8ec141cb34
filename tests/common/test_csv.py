"""CSV sources: numbers come back bit for bit, and a wrong cell is named by file, line, column and text."""

import csv
import gzip
import lzma

import hypothesis
import hypothesis.extra.numpy as hnp
import msgpack
import numpy as np
import pytest
from hypothesis import strategies as st

from ps_common import data
from ps_common.errors import DataError, UsageError

bounded = hypothesis.settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
SHAPES = st.tuples(st.integers(1, 8), st.integers(1, 5))
PACKERS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


@bounded
@hypothesis.given(
    x=st.sampled_from(["float32", "float64", "int8", "int64", "uint64"]).flatmap(
        lambda t: hnp.arrays(t, SHAPES)
    ),
    header=st.booleans(),
    delimiter=st.sampled_from(",;\t|"),
    suffix=st.sampled_from(sorted(PACKERS)),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_numbers_come_back_bit_for_bit(tmp_path, x, header, delimiter, suffix, quoting, line_end):
    plain = tmp_path / "plain"
    names = [f"column {delimiter} {i}" for i in range(x.shape[1])]
    with plain.open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
        writer.writerows([names] if header else [])
        writer.writerows(x.tolist())
    path = tmp_path / f"d.csv{suffix}"
    path.write_bytes(PACKERS[suffix](plain.read_bytes()))
    (read,) = data.csv(path, header=header, delimiter=delimiter, dtype=x.dtype.name).read(slice(None))
    np.testing.assert_array_equal(read, x, strict=True)


def test_columns_by_name_number_and_from_the_end(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("id,width,height,label\nfirst,1,2,0\nsecond,3,4,1.0\n\nthird,5,6,2\n")
    for x, y in ((["width", "height"], "label"), ([1, 2], 3), ([1, "height"], -1)):
        values, labels = data.csv(path, x, y).read(slice(None))
        np.testing.assert_array_equal(values, np.float32([[1, 2], [3, 4], [5, 6]]), strict=True)
        np.testing.assert_array_equal(labels, np.int64([0, 1, 2]), strict=True)
    (turned,) = data.csv(path, ["height", "width"], dtype="int16").read(np.array([2, 0]))
    np.testing.assert_array_equal(turned, np.int16([[6, 5], [2, 1]]), strict=True)


def test_more_rows_than_are_parsed_at_once(tmp_path):
    expected = np.arange(3 * 10_001).reshape(-1, 3)
    path = tmp_path / "d.csv"
    path.write_text("a,b,c\n" + "".join(f"{a},{b},{c}\n" for a, b, c in expected.tolist()))
    x, y = data.csv(path, y="c").read(slice(None))
    np.testing.assert_array_equal(x, expected[:, :2])
    np.testing.assert_array_equal(y, expected[:, 2])
    path.write_text(path.read_text().replace("29997,29998", "29997,oops"))
    with pytest.raises(DataError, match=r"line 10001, column 1 \('b'\): 'oops' is no float32"):
        data.csv(path, y="c")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n3,x4\n", r"d\.csv, line 3, column 1 \('b'\): 'x4' is no float32"),
        ("a,b\n1,2\n\n3,\n", r"line 4, column 1 \('b'\): '' is no float32"),
        ("a,b\n1,1e39\n", r"line 2, column 1 \('b'\): '1e39' is no float32"),
        ("a,b\n1,2\n3\n", r"line 3: 2 columns were expected .* but 1 came: '3'"),
        ("a,b\n1,2\n3,4,5\n", r"line 3: 2 columns were expected .* but 3 came: '3,4,5'"),
        ('a,b\n1,"2\n', "is no CSV file: unexpected end of data"),
        ('a,b\n"line\nend",2\n3,?\n', r"line 3, column 0 \('a'\): 'line\\nend'"),
        ("a,b\n", "a header but no rows"),
        ("", "no rows"),
        ("\n\n", "no rows"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, told):
    path = tmp_path / "d.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=told):
        data.csv(path)


@pytest.mark.parametrize(
    ("cell", "dtype"),
    [
        ("300", "uint8"),
        ("-1", "uint8"),
        ("1.5", "int64"),
        ("nan", "int64"),
        ("9e18", "int64"),
        ("1" * 30, "int64"),
    ],
)
def test_an_integer_that_does_not_fit_is_refused(tmp_path, cell, dtype):
    path = tmp_path / "d.csv"
    path.write_text(f"1,7\n2,{cell}\n")
    with pytest.raises(DataError, match=f"line 2, column 1: '{cell}' is no {dtype}"):
        data.csv(path, y=1, header=False, y_dtype=dtype)


def test_text_that_is_not_utf8_is_refused_and_a_byte_order_mark_is_not(tmp_path):
    path = tmp_path / "d.csv"
    path.write_bytes(b"a,b\n1,\xff\n")
    with pytest.raises(DataError, match="no UTF-8 text"):
        data.csv(path)
    path.write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    assert data.csv(path, ["a"], "b").samples == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"y": "label"}, "no column 'label'; it has a, b, b"),
        ({"y": "A"}, "no column 'A'; it has a, b, b"),
        ({"types": {"a": "words"}}, "types: column 'a', where it is not 'bool' or 'date', must be"),
        ({"types": {"a": 3}}, "column 'a' must be given a type"),
        ({"types": "bool"}, "types must be a dict by column"),
        ({"types": [["a", "bool", 3]]}, "types must be a dict by column"),
        ({"types": {0: "bool"}, "categories": ["a"]}, "can have one type, or categories"),
        ({"types": {0: "bool"}, "x": [1]}, "column 0 has a type or categories but is not used"),
        ({"categories": {"a": []}}, "list of distinct names, at least one"),
        ({"categories": {"a": ["1", "1"]}}, "list of distinct names, at least one"),
        ({"missing": "0"}, "missing must be the number"),
        ({"y": "b"}, "more than one column 'b'"),
        ({"y": 3}, "3 columns, numbered from 0; there is no column 3"),
        ({"y": -4}, "no column -4"),
        ({"x": "a"}, r"write \['a'\]"),
        ({"x": []}, "no column is left for x"),
        ({"x": ["a"], "header": False}, "give columns by number"),
        ({"dtype": "float99"}, "dtype must be"),
        ({"dtype": "U3"}, "dtype must be"),
        ({"y_dtype": "complex64"}, "y_dtype must be"),
        ({"delimiter": ",,"}, "delimiter must be one character"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, settings, told):
    path = tmp_path / "d.csv"
    path.write_text("a,b,b\n1,2,3\n")
    with pytest.raises(UsageError, match=told):
        data.csv(path, **settings)


def test_the_plain_form_holds_every_setting(tmp_path):
    path = tmp_path / "d.csv.gz"
    path.write_bytes(gzip.compress(b"1;2;3\n4;5;6\n"))
    source = data.csv(path, [2, 0], 1, header=False, delimiter=";", dtype="float64", y_dtype="uint8")
    again = data.open_source(source.plain())
    assert again.fingerprint() == source.fingerprint()
    assert again.fields == source.fields


SALES = """day,shop,open,sold,price
2011-12-09,York,yes,3,1.5
1970-01-02,Bath,False,4,2
2011-12-09,York,1,5,2.5
"""


def test_columns_have_types_of_their_own_and_names_become_ids(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text(SALES)
    types = {"day": "date", "open": "bool", "sold": "uint8"}
    source = data.csv(path, y="price", y_dtype="float64", types=types, categories=["shop"])
    x, y = source.read(slice(None))
    expected = [[15317, 1, 1, 3], [1, 0, 0, 4], [15317, 1, 1, 5]]
    np.testing.assert_array_equal(x, np.float32(expected), strict=True)
    np.testing.assert_array_equal(y, np.array([1.5, 2, 2.5]), strict=True)
    assert source.categories == {"shop": ("Bath", "York")}
    again = data.open_source(msgpack.unpackb(msgpack.packb(source.plain())))
    assert (again.fingerprint(), again.categories) == (source.fingerprint(), source.categories)
    path.write_text(SALES.replace("Bath", "York"))
    test = data.csv(path, ["shop"], "shop", categories=source.categories)
    assert [values.tolist() for values in test.read(slice(None))] == [[[1], [1], [1]], [1, 1, 1]]


def test_categories_that_are_met_are_in_order_however_they_come(tmp_path):
    names = [f"n{i:04}" for i in range(5000)]
    path = tmp_path / "d.csv"
    path.write_text("".join(f"{name},{i}\n" for i, name in reversed(list(enumerate(names)))))
    source = data.csv(path, [0], 1, header=False, dtype="int16", categories=[0])
    x, y = source.read(slice(None))
    assert source.categories == {0: tuple(names)}
    np.testing.assert_array_equal(x[:, 0], y)
    with pytest.raises(UsageError, match="column 0 has more than 127 categories, too many for int8"):
        data.csv(path, [0], header=False, dtype="int8", categories=[0])


def test_empty_cells_become_what_missing_says(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("a,b,c\n1,,x\n ,yes,\n3,no,x\n")
    settings = {"types": {"b": "bool"}, "categories": ["c"]}
    (x,) = data.csv(path, missing=float("nan"), **settings).read(slice(None))
    np.testing.assert_array_equal(x, np.float32([[1, np.nan, 1], [np.nan, 1, 0], [3, 0, 1]]), strict=True)
    source = data.csv(path, missing=-1, dtype="int8", types={"b": "bool"}, categories={"c": ["x", ""]})
    np.testing.assert_array_equal(source.read(slice(None))[0], np.int8([[1, -1, 0], [-1, 1, 1], [3, 0, 0]]))
    assert data.open_source(source.plain()).fingerprint() == source.fingerprint()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, r"line 3, column 0 \('a'\): '' is no float32; .* an empty cell counts as what missing= says"),
        ({"x": ["c"], "categories": ["c"]}, r"line 4, column 2 \('c'\): '' is no category; .*set missing=0"),
        (
            {"x": ["c"], "categories": {"c": ["rex", ""]}},
            r"line 2, .*: 'red' is no category; .*did you mean 'rex'",
        ),
        ({"x": ["c"], "missing": 1, "categories": {"c": ["red"]}}, r"line 4, .*: '' is no category"),
        ({"x": ["b"], "types": {"b": "bool"}}, r"line 3, .*: 'maybe' is no bool \(as float32\)"),
        ({"x": ["b"], "types": {"b": "date"}}, r"line 2, .*: 'yes' is no date"),
        (
            {"x": ["d"], "types": {"d": "date"}, "dtype": "int8"},
            r"line 2, .*: '2011-12-09' is no date \(as int8\)",
        ),
        ({"x": ["e"], "types": {"e": "int64"}}, r"line 3, .*: '1.5' is no int64 \(as float32\)"),
        ({"x": ["e"], "missing": float("nan"), "dtype": "int8"}, r"line 3, .*: '1.5' is no int8"),
        ({"x": ["a"], "missing": 300, "dtype": "int8"}, r"line 3, .*: '' is no int8"),
    ],
)
def test_a_cell_that_is_not_what_its_column_holds_is_named(tmp_path, settings, told):
    path = tmp_path / "d.csv"
    path.write_text("a,b,c,d,e\n1,yes,red,2011-12-09,2\n,maybe,red,1970-01-01,1.5\n3,no,,1970-01-01,1\n")
    with pytest.raises(DataError, match=told):
        data.csv(path, **settings)
