"""IDX files: every type comes back whole, and any number of bytes but the right one is refused."""

import gzip
import struct

import numpy as np
import pytest

from ps_common.data.idx import read_idx
from ps_common.errors import DataError

TYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray) -> bytes:
    code = TYPES[array.dtype.str[1:]]
    head = struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(7,), (2, 3), (4, 1, 5), (0, 28, 28)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_comes_back_whole(tmp_path, dtype, shape, pack):
    array = (np.arange(np.prod(shape)) * 3 - 5).astype(dtype).reshape(shape)
    path = tmp_path / "a-idx-ubyte"
    path.write_bytes(pack(idx(array)))
    read = read_idx(path)
    np.testing.assert_array_equal(read, array)
    assert (read.shape, read.dtype.name) == (array.shape, array.dtype.name)
    assert not read.flags.writeable or read.size == 0


def test_a_cut_file_is_refused_at_every_byte(tmp_path):
    whole = idx(np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    path = tmp_path / "images"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="images") as caught:
            read_idx(path)
        if size >= 16:
            assert f"should have {len(whole)} bytes by its header but has {size}" in str(caught.value)
    path.write_bytes(whole + b"\0")
    with pytest.raises(
        DataError, match=f"should have {len(whole)} bytes .* has {len(whole) + 1}: it is too long"
    ):
        read_idx(path)


def test_a_cut_gzip_file_is_refused_at_every_byte(tmp_path):
    whole = gzip.compress(idx(np.arange(60, dtype=np.uint8).reshape(3, 4, 5)))
    path = tmp_path / "images.gz"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"images\.gz"):
            read_idx(path)
    shorter = gzip.compress(idx(np.zeros(9, np.uint8))[:-1])
    path.write_bytes(shorter)
    with pytest.raises(DataError, match="should have 17 bytes by its header but has 16"):
        read_idx(path)


@pytest.mark.parametrize("head", [b"\1\0\x08\1", b"\0\1\x08\1", b"\0\0\x07\1", b"\0\0\x08\0", b"\x93NUM"])
def test_another_magic_number_is_refused(tmp_path, head):
    path = tmp_path / "images"
    path.write_bytes(head + struct.pack(">I", 3) + b"abc")
    with pytest.raises(DataError, match="is no IDX file: it begins with " + head.hex(" ")):
        read_idx(path)


def test_a_header_that_claims_exabytes_allocates_nothing(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(struct.pack(">4B4I", 0, 0, 0x0E, 4, *[2**32 - 1] * 4) + b"abc")
    with pytest.raises(DataError, match="truncated"):
        read_idx(path)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"cannot open .*gone"):
        read_idx(tmp_path / "gone")
