"""Sources: what is read is what was written, whatever the file; a fingerprint tells what differs."""

import sys
from pathlib import Path

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import strategies as st

from ps_common import data
from ps_common.errors import DataError, PeerError, UsageError
from ps_common.fields import Field

bounded = hypothesis.settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
NUMBERS = st.sampled_from(["?", "u1", "i2", "<i8", ">i4", "f2", "<f4", ">f8", "c8"])
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, max_side=5)
NUMBER_ARRAYS = NUMBERS.flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))

X = np.arange(30, dtype=np.float32).reshape(10, 3)
Y = np.arange(10, dtype=np.int64)


def write_npy(folder: Path) -> data.Source:
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    return data.npy(folder / "x.npy", folder / "y.npy")


def write_npz(folder: Path) -> data.Source:
    np.savez(folder / "d.npz", x=X, y=Y)
    return data.npz(folder / "d.npz")


def write_compressed_npz(folder: Path) -> data.Source:
    np.savez_compressed(folder / "c.npz", x=X, y=Y)
    return data.npz(folder / "c.npz")


def write_csv(folder: Path) -> data.Source:
    lines = [
        "a,b,c,label",
        *(",".join(map(repr, [*x.tolist(), y])) for x, y in zip(X, Y.tolist(), strict=True)),
    ]
    (folder / "d.csv").write_text("\n".join(lines) + "\n")
    return data.csv(folder / "d.csv", y="label")


def write_parquet(folder: Path) -> data.Source:
    columns = {name: X[:, i] for i, name in enumerate("abc")}
    pyarrow.parquet.write_table(
        pyarrow.table({**columns, "label": Y}), folder / "d.parquet", row_group_size=3
    )
    return data.parquet(folder / "d.parquet", y="label")


def write_npy_folder(folder: Path) -> data.Source:
    for first, stop in ((0, 3), (3, 4), (4, 10)):
        np.save(folder / f"x_{first}.npy", X[first:stop])
        np.save(folder / f"y_{first}.npy", Y[first:stop])
    return data.npy_folder(folder)


WRITERS = [write_npy, write_npz, write_compressed_npz, write_csv, write_parquet, write_npy_folder]


def same(actual: tuple[np.ndarray, ...], *expected: np.ndarray) -> None:
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert type(a) is np.ndarray
        assert a.flags.c_contiguous
        assert a.flags.writeable
        assert a.flags.aligned
        assert a.dtype.isnative
        assert a.dtype.name == e.dtype.name
        assert a.shape == e.shape
        assert a.tobytes() == np.ascontiguousarray(e).astype(e.dtype.newbyteorder("=")).tobytes()


class TestReading:
    @pytest.mark.parametrize("write", WRITERS)
    def test_reads_any_rows_in_the_asked_order(self, write, tmp_path):
        source = write(tmp_path)
        assert (source.samples, len(source)) == (10, 10)
        assert source.fields == (Field("x", "float32", (3,)), Field("y", "int64", ()))
        for rows in (
            slice(None),
            slice(2, 5),
            slice(9, 2, -3),
            slice(4, 4),
            np.array([7, 0, 7]),
            np.array([], int),
        ):
            same(source.read(rows), X[rows], Y[rows])

    @pytest.mark.parametrize("write", WRITERS)
    def test_opens_again_from_its_plain_form(self, write, tmp_path, monkeypatch):
        source = write(tmp_path)
        monkeypatch.chdir("/")
        again = data.open_source(source.plain())
        assert again.plain() == source.plain()
        assert again.fingerprint() == source.fingerprint() == data.arrays(X, Y).fingerprint()
        same(again.read(slice(None)), X, Y)

    def test_paths_are_stored_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        np.savez("d.npz", x=X, y=Y)
        np.save("x.npy", X)
        Path("d.csv").write_text("1,2\n")
        assert data.npz("d.npz").plain()["path"] == str(tmp_path / "d.npz")
        assert data.npy("x.npy").plain() == {"kind": "npy", "x_path": str(tmp_path / "x.npy"), "y_path": None}
        assert data.csv("d.csv", header=False).plain()["path"] == str(tmp_path / "d.csv")

    def test_without_y_there_is_one_field(self, tmp_path):
        np.savez(tmp_path / "d.npz", x=X)
        np.save(tmp_path / "x.npy", X)
        for source in (data.arrays(X), data.npy(tmp_path / "x.npy"), data.npz(tmp_path / "d.npz", y=None)):
            assert [f.name for f in source.fields] == ["x"]
            same(source.read(slice(0, 2)), X[:2])

    def test_rows_outside_are_an_error_not_another_sample(self):
        source = data.arrays(X, Y)
        for rows in ([-1], [10], [3, 99]):
            with pytest.raises(IndexError, match="of a source of 10 samples"):
                source.read(np.array(rows))
        for rows in (np.array([True] * 10), np.array([1.0]), np.array([[1]]), [1], 3):
            with pytest.raises(TypeError, match="rows must be"):
                source.read(rows)

    def test_what_is_read_is_the_callers_to_change(self, tmp_path):
        for source in (data.arrays(X.copy(), Y.copy()), write_npy(tmp_path), write_npz(tmp_path)):
            source.read(slice(None))[0][:] = 77
            same(source.read(slice(None)), X, Y)

    @bounded
    @hypothesis.given(array=NUMBER_ARRAYS, fortran=st.booleans())
    def test_every_kind_of_array_comes_back_whole(self, tmp_path, array, fortran):
        array = np.asfortranarray(array) if fortran else array
        np.save(tmp_path / "x.npy", array)
        np.savez(tmp_path / "d.npz", x=array)
        np.savez_compressed(tmp_path / "c.npz", x=array)
        whole = data.arrays(array)
        for source in (
            whole,
            data.npy(tmp_path / "x.npy"),
            data.npz(tmp_path / "d.npz", y=None),
            data.npz(tmp_path / "c.npz", y=None),
        ):
            same(source.read(slice(None)), array)
            assert source.fields == (Field("x", array.dtype.name, array.shape[1:]),)
            assert source.fingerprint() == whole.fingerprint()

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
    def test_plain_and_stored_files_are_mapped_not_read(self, tmp_path):
        write_npy(tmp_path)
        write_npz(tmp_path)
        held = [data.npy(tmp_path / "x.npy"), data.npz(tmp_path / "d.npz")]
        maps = Path("/proc/self/maps").read_text()
        assert str(tmp_path / "x.npy") in maps
        assert str(tmp_path / "d.npz") in maps
        del held


class TestArrays:
    @pytest.mark.parametrize(
        ("x", "y", "told"),
        [
            (X, Y[:9], "x has 10 samples and y has 9"),
            (np.array([{}, []], dtype=object), None, "dtype object"),
            (np.array(["a"]), None, "a data set holds numbers"),
            (np.array(3.0), None, "single number"),
            (np.zeros((0, 4)), None, "at least one is needed"),
            (np.zeros((4, 0)), None, "samples have no values"),
        ],
    )
    def test_refuses_what_is_no_data_set(self, x, y, told):
        with pytest.raises(DataError, match=told):
            data.arrays(x, y)

    def test_cannot_be_opened_elsewhere(self):
        plain = data.arrays(X).plain()
        assert plain == {"kind": "arrays"}
        with pytest.raises(UsageError, match="stream mode"):
            data.open_source(plain)


class TestOpening:
    @pytest.mark.parametrize(
        "plain",
        [{}, {"kind": "pickle", "path": "/x"}, {"kind": 3}, {"kind": []}, {"kind": None}, [], "npz", None],
    )
    def test_refuses_an_unknown_kind(self, plain):
        with pytest.raises(PeerError, match="not known to this version"):
            data.open_source(plain)

    @pytest.mark.parametrize(
        "plain",
        [
            {"kind": "npz"},
            {"kind": "npz", "path": 5},
            {"kind": "npz", "path": "/x", "allow_pickle": True},
            {"kind": "dataset", "name": "mnist-5k"},
            {"kind": "dataset", "name": "mnist-5k", "split": "train", "seed": 0, "cache": "/tmp"},
        ],
    )
    def test_refuses_wrong_settings(self, plain):
        with pytest.raises(PeerError, match="cannot be opened from"):
            data.open_source(plain)

    def test_a_missing_file_says_what_to_do(self, tmp_path):
        gone = str(tmp_path / "gone")
        for plain in (
            {"kind": "npz", "path": gone, "x": "x", "y": "y"},
            {"kind": "npy", "x_path": gone, "y_path": None},
            {"kind": "csv", "path": gone},
            {"kind": "text", "path": [gone], "length": 3},
            {"kind": "parquet", "path": [gone]},
            {"kind": "npy_folder", "path": gone},
        ):
            with pytest.raises(DataError, match=r"cannot open .*gone.*on every machine"):
                data.open_source(plain)


class TestFingerprint:
    def test_tells_a_changed_value_name_shape_and_type_apart(self):
        changed = X.copy()
        changed[9, 2] += 1
        prints = [
            source.fingerprint()
            for source in (
                data.arrays(X, Y),
                data.arrays(X),
                data.arrays(changed, Y),
                data.arrays(X[:9], Y[:9]),
                data.arrays(X, Y.astype(np.int32)),
                data.arrays(X.reshape(10, 1, 3), Y),
                data.arrays(X.view(np.int32), Y),
                data.arrays(X[::-1], Y[::-1]),
            )
        ]
        assert len(set(prints)) == len(prints)
        assert all(len(p) == 32 and int(p, 16) >= 0 for p in prints)

    def test_is_the_same_forever(self):
        assert data.arrays(X, Y).fingerprint() == "3711646690e3b6bc0c2816118926af5e"
        assert data.arrays(X.astype(">f4"), Y.astype(">i8")).fingerprint() == data.arrays(X, Y).fingerprint()

    def test_beyond_64_mib_it_reads_1024_rows_from_first_to_last(self):
        samples = (64 << 20) // 64 + 1
        asked: list[int] = []

        class Huge(data.Source):
            def __init__(self):
                self.samples, self.fields = samples, (Field("x", "uint8", (64,)),)

            def read(self, rows):
                asked.extend(rows.tolist())
                return (np.broadcast_to(rows[:, None] % 251, (len(rows), 64)).astype(np.uint8),)

            def plain(self):
                return {"kind": "huge"}

        source = Huge()
        source.fingerprint()
        assert (len(asked), asked[0], asked[-1]) == (1024, 0, samples - 1)
        assert set(np.diff(asked).tolist()) <= {samples // 1023, samples // 1023 + 1}
        asked.clear()
        source.samples -= 1
        source.fingerprint()
        assert asked == list(range(samples - 1))
