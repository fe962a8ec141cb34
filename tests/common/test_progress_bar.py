"""The bar comes up on a terminal when a read is long, and nowhere else."""

import io
import sys

import numpy as np
import pyarrow.parquet
import pytest

from ps_common import data
from ps_common.data import parquet_file, progress_bar, source, text_file
from ps_common.data.progress_bar import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def long_reads(monkeypatch):
    monkeypatch.setattr(progress_bar, "SHORT_S", 0.0)


def test_a_long_read_shows_what_is_read_on_a_terminal(long_reads, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress("reading a file", 4) as show:
        for done in range(1, 5):
            show(done)
    assert "reading a file" in sys.stderr.getvalue()
    assert "100%" in sys.stderr.getvalue()


def test_a_short_read_shows_nothing(monkeypatch):
    monkeypatch.setattr(progress_bar, "SHORT_S", 1e9)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress("reading a file", 4) as show:
        show(1)
    assert sys.stderr.getvalue() == ""


def test_where_nobody_watches_nothing_is_shown(long_reads, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress("reading a file", 4) as show:
        show(1)
    assert sys.stderr.getvalue() == ""


def test_a_read_within_a_read_shows_one_bar(long_reads, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress("outer", 4) as outer, progress("inner", 4) as inner:
        inner(1)
        outer(1)
    assert "inner" not in sys.stderr.getvalue()
    with progress("after it", 4) as show:
        show(1)
    assert "after it" in sys.stderr.getvalue()


def test_a_read_that_fails_leaves_no_bar(long_reads, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())

    def fail():
        with progress("reading", 4) as show:
            show(1)
            raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError, match=r"^$"):
            fail()


def csv(folder):
    path = folder / "d.csv"
    path.write_text("a,b\n" + "1,2\n" * 9000)
    data.csv(path)


def parquet(folder):
    path = folder / "d.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": range(9)}), path, row_group_size=2)
    data.parquet(path)


def text(folder):
    path = folder / "t.txt"
    path.write_text("so long a text")
    data.text(path, length=3)


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (csv, "reading d.csv"),
        (parquet, "d.parquet"),
        (text, "reading text"),
        (lambda _: data.arrays(np.zeros(3)).fingerprint(), "fingerprint of 3 samples"),
    ],
)
def test_whatever_may_take_long_says_what_it_reads(read, told, long_reads, monkeypatch, tmp_path):
    monkeypatch.setattr(text_file, "BLOCK", 4)
    monkeypatch.setattr(parquet_file, "BATCH_BYTES", 16)
    monkeypatch.setattr(source, "_READ_BYTES", 8)
    monkeypatch.setattr(sys, "stderr", Terminal())
    read(tmp_path)
    assert told in sys.stderr.getvalue()
