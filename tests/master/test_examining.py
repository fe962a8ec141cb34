"""What is seen of this machine is what the system says."""

import os
import types

import pytest

from paramserver import examining
from paramserver.examining import examine
from ps_common import arrays, segments
from ps_common.reaching import Found

NOWHERE = Found("master", 5555, 3.0, no_name="no such name")


def test_this_machine_is_seen_as_it_is():
    machine = examine(NOWHERE)
    assert machine.cores == len(os.sched_getaffinity(0))
    assert machine.memory_bytes > 0
    assert any("openblas" in one for one in machine.blas)
    assert (machine.master_pid, machine.is_own, machine.why_no_segments) == (0, False, "")
    assert examine(Found("localhost", 1, 3.0, addresses=("127.0.0.1",))).is_own


def test_why_memory_cannot_be_shared_is_kept(monkeypatch):
    def create(nbytes):
        raise segments.SegmentsUnavailable("no memfd")

    monkeypatch.setattr(segments, "create", create)
    assert examine(NOWHERE).why_no_segments == "no memfd"
    monkeypatch.setattr(segments, "here", lambda: "")
    assert "/proc" in examine(NOWHERE).why_no_segments


@pytest.mark.parametrize(("text", "cores"), [("20000 100000\n", 0.2), ("max 100000\n", 0.0)])
def test_a_quota_of_cores_is_read(monkeypatch, tmp_path, text, cores):
    path = tmp_path / "cpu.max"
    path.write_text(text)
    monkeypatch.setattr(examining, "_CORES", path)
    assert examine(NOWHERE).quota == cores


def test_gpus_are_told_with_the_versions_that_matter(monkeypatch):
    """There is none where the tests run: CuPy is one that says what the real one does."""
    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda index: {"name": b"H100"},
        driverGetVersion=lambda: 13010,
        runtimeGetVersion=lambda: 12090,
    )
    module = types.SimpleNamespace(__version__="14.0.1", cuda=types.SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(arrays, "cupy", lambda: module)
    monkeypatch.setattr(examining.importlib.util, "find_spec", lambda name: name)
    machine = examine(NOWHERE)
    assert machine.gpus == ("cuda:0 (H100)",)
    assert machine.cupy == "CuPy 14.0.1, CUDA 12.9, driver for 13.1"
    monkeypatch.setattr(arrays, "cupy", lambda: None)
    assert examine(NOWHERE).cupy == "CuPy finds no device"
