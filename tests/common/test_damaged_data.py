"""Damaged files: every one is refused by its name, and no bytes make a reader crash."""

import gzip
import lzma
import zipfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ps_common import data
from ps_common.errors import DataError

bounded = hypothesis.settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
X = np.arange(30, dtype=np.float32).reshape(10, 3)
Y = np.arange(10, dtype=np.int64)


def cuts(size: int) -> list[int]:
    """Many lengths to cut a file to: each of the first and last 200, and every 37th between."""
    return sorted({*range(min(200, size)), *range(0, size, 37), *range(max(0, size - 200), size)})


class TestDamage:
    def test_a_cut_npy_is_refused_at_every_byte(self, tmp_path):
        path = tmp_path / "x.npy"
        np.save(path, X)
        whole = path.read_bytes()
        for size in range(len(whole)):
            path.write_bytes(whole[:size])
            with pytest.raises(DataError, match=r"x\.npy") as caught:
                data.npy(path)
            if size >= 128:  # the header is whole
                assert f"should have {len(whole)} bytes" in str(caught.value)
                assert f"but has {size}" in str(caught.value)
        path.write_bytes(whole + b"\0")
        with pytest.raises(DataError, match="too long"):
            data.npy(path)

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_a_cut_npz_is_refused(self, save, tmp_path):
        path = tmp_path / "d.npz"
        save(path, x=X, y=Y)
        whole = path.read_bytes()
        for size in cuts(len(whole)):
            path.write_bytes(whole[:size])
            with pytest.raises(DataError, match=r"d\.npz"):
                data.npz(path)

    @pytest.mark.filterwarnings("ignore:Reading `.npy`")
    def test_any_flipped_byte_of_an_npy_header_is_refused_or_read_but_never_crashes(self, tmp_path):
        path = tmp_path / "x.npy"
        np.save(path, X)
        whole = path.read_bytes()
        refused = 0
        for place in range(128):
            for flip in (1, 0x20, 0x57, 0x80):
                path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
                try:
                    data.npy(path).read(slice(None))
                except DataError:
                    refused += 1
        assert refused > 200  # the rest are other spaces, or another type of as many bytes

    @pytest.mark.filterwarnings("ignore:Reading `.npy`")  # NumPy tries the header as one of Python 2 first
    @bounded
    @hypothesis.given(flip=st.tuples(st.integers(0, 10_000), st.integers(1, 255)), compressed=st.booleans())
    def test_a_flipped_byte_of_an_npz_is_refused_or_read_but_never_crashes(self, tmp_path, flip, compressed):
        path = tmp_path / "d.npz"
        (np.savez_compressed if compressed else np.savez)(path, x=X, y=Y)
        content = bytearray(path.read_bytes())
        content[flip[0] % len(content)] ^= flip[1]
        path.write_bytes(content)
        try:
            source = data.npz(path)
        except DataError as error:
            assert "d.npz" in str(error)  # noqa: PT017 (either outcome is right)
        else:
            source.read(slice(None))

    @pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
    def test_a_cut_compressed_csv_is_refused_at_every_byte(self, suffix, pack, tmp_path):
        text = "".join(f"{i},{i * i},{i % 3}\n" for i in range(200)).encode()
        path = tmp_path / f"d.csv{suffix}"
        whole = pack(text)
        path.write_bytes(whole)
        assert data.csv(path, header=False).samples == 200
        for size in range(len(whole)):
            path.write_bytes(whole[:size])
            with pytest.raises(DataError, match=r"d\.csv"):
                data.csv(path, header=False)

    def test_python_objects_are_never_loaded(self, tmp_path):
        objects = np.array([{"a": 1}, None], dtype=object)
        np.save(tmp_path / "o.npy", objects, allow_pickle=True)
        np.savez(tmp_path / "o.npz", x=objects, y=Y)
        np.savez_compressed(tmp_path / "c.npz", x=objects, y=Y)
        for opened in (
            lambda: data.npy(tmp_path / "o.npy"),
            lambda: data.npz(tmp_path / "o.npz"),
            lambda: data.npz(tmp_path / "c.npz"),
        ):
            with pytest.raises(DataError, match="Python objects"):
                opened()

    def test_records_text_and_nothing_are_refused(self, tmp_path):
        with pytest.warns(UserWarning, match="format 3.0"):
            np.save(tmp_path / "r.npy", np.zeros(3, dtype=[("λ", "f4")]))
        np.save(tmp_path / "t.npy", np.array(["a"]))
        np.save(tmp_path / "e.npy", np.zeros((0, 3)))
        for name, told in (("r", "format 3.0"), ("t", "holds numbers"), ("e", "at least one")):
            with pytest.raises(DataError, match=told):
                data.npy(tmp_path / f"{name}.npy")

    def test_a_header_that_claims_more_than_the_member_holds_is_refused(self, tmp_path):
        np.save(tmp_path / "x.npy", X)
        content = (tmp_path / "x.npy").read_bytes()
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            with zipfile.ZipFile(tmp_path / "d.npz", "w", method) as archive:
                archive.writestr("x.npy", content.replace(b"(10, 3)", b"(99, 9)"))
            with pytest.raises(DataError, match="should have 3692 bytes by its header but has 248"):
                data.npz(tmp_path / "d.npz", y=None)

    def test_a_missing_member_names_those_there_are(self, tmp_path):
        np.savez(tmp_path / "d.npz", images=X, labels=Y)
        with pytest.raises(DataError, match="no array 'x' but images, labels"):
            data.npz(tmp_path / "d.npz")
        with pytest.raises(DataError, match=r"no array 'y'.*pass y=None"):
            data.npz(tmp_path / "d.npz", x="images")
        assert data.npz(tmp_path / "d.npz", x="images", y="labels").samples == 10
