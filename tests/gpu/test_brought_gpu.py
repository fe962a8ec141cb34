"""A user's arrays on a GPU: there and back, in place, of CuPy and whatever else lies there."""

import numpy as np
import pytest

from ps_common.arrays import cupy
from ps_worker.brought import Brought

pytestmark = pytest.mark.skipif(cupy() is None, reason="no CUDA device")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_arrays_on_the_device_go_there_and_back_in_place(dtype: str) -> None:
    xp = cupy()
    assert xp is not None
    host = np.random.default_rng(1).standard_normal((3, 4)).astype(dtype)
    whole = xp.zeros((4, 3), dtype)
    arrays = {"w": xp.asarray(host), "t": whole.T, "n": host[0].copy()}  # one not contiguous, one on the host
    brought = Brought(arrays)
    brought.require_writable()
    vector = brought.layout.empty()
    brought.copy_to(vector)
    views = brought.layout.views(vector)
    np.testing.assert_array_equal(views["w"], host)
    views["t"][...] = host
    views["w"][...] = 2 * host
    address = arrays["w"].data.ptr
    brought.copy_from(vector)
    np.testing.assert_array_equal(arrays["w"].get(), 2 * host)
    np.testing.assert_array_equal(whole.get(), host.T)
    assert arrays["w"].data.ptr == address
