"""Memory for decoded samples: small ones are held, large ones lie in a file that has no name."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from ps_common.data import scratch
from ps_common.errors import DataError

SHAPE, DTYPE = (100, 3), np.dtype("float32")


def test_up_to_the_bound_it_is_ordinary_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "HELD_BYTES", 1200)
    held = scratch.allocate(SHAPE, DTYPE, tmp_path / "never made")
    assert (type(held), held.shape, held.dtype) == (np.ndarray, SHAPE, DTYPE)
    assert not (tmp_path / "never made").exists()


def test_beyond_it_is_a_file_without_a_name_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "HELD_BYTES", 1199)
    array = scratch.allocate(SHAPE, DTYPE, tmp_path / "made")
    array[...] = np.arange(300).reshape(SHAPE)
    assert array.sum() == 300 * 299 / 2
    assert list((tmp_path / "made").iterdir()) == []
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    assert len(maps) == 1
    assert maps[0].endswith("(deleted)")
    del array
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_a_place_where_it_cannot_be_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "HELD_BYTES", 0)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(
        DataError, match=r"decoded samples take 1200 bytes in .*file: .*choose another folder"
    ):
        scratch.allocate(SHAPE, DTYPE, file)

    def full(descriptor, offset, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"1200 bytes in .*: No space left on device; free space"):
        scratch.allocate(SHAPE, DTYPE, tmp_path)
