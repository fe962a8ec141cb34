"""CSV sources: numbers come back bit for bit, and a wrong cell is named by file, line, column and text."""

import csv
import gzip
import lzma

import hypothesis
import hypothesis.extra.numpy as hnp
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
