"""Host and device. What needs a device is in tests/gpu."""

import numpy as np
import pytest

from ps_common import arrays
from ps_common.arrays import Device, device, devices, to_device, to_host, xp_of
from ps_common.errors import UsageError
from support_cuda import Cupy


@pytest.fixture
def no_device(monkeypatch):
    """A machine without CuPy."""
    monkeypatch.setattr(arrays, "cupy", lambda: None)


def test_numpys_arrays_and_numbers_belong_to_numpy():
    assert xp_of(np.zeros(3)) is np
    assert xp_of(np.float64(3)) is np


def test_on_the_cpu_an_array_is_not_copied():
    x = np.arange(3)
    assert to_host(x) is x
    assert to_device(x, Device()) is x


def test_the_cpu_is_a_device_with_nothing_to_set_up():
    cpu = device("cpu")
    cpu.use()
    cpu.release()
    assert (cpu, str(cpu), cpu.xp) == (Device(), "cpu", np)
    assert str(Device(1)) == "cuda:1"


def test_auto_is_the_cpu_where_there_is_no_device(no_device):
    assert device("auto") == Device()


def test_workers_of_one_machine_take_its_devices_in_turn(monkeypatch):
    made = Cupy()
    made.cuda.runtime.getDeviceCount = lambda: 3
    made.cuda.runtime.getDeviceProperties = lambda index: {"name": b"Fast %d" % index}
    monkeypatch.setattr(arrays, "cupy", lambda: made)
    assert devices("cuda") == devices("auto") == [Device(0), Device(1), Device(2)]
    assert devices("cuda:1") == [Device(1)]
    assert devices("cpu") == [Device()]
    assert Device(2).model == "Fast 2"
    assert Device().model == ""
    with pytest.raises(UsageError, match="this machine has 3"):
        devices("cuda:3")


def test_without_a_device_all_workers_compute_on_the_cpu(no_device):
    assert devices("auto") == [Device()]


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_cuda_device_that_is_not_here_is_refused_with_advice(no_device, name):
    with pytest.raises(UsageError, match=f"device '{name}' was asked for.*--device cpu"):
        device(name)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cuda:0x", "cuda 0", "CPU", "cpu:0"])
def test_a_device_of_another_name_is_refused(name):
    with pytest.raises(UsageError, match=f"device '{name}' is not known"):
        device(name)
