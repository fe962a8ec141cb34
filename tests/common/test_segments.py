"""Sealed memory files between processes."""

import fcntl
import gc
import os
import subprocess
import sys

import numpy as np
import pytest

from ps_common import segments
from ps_common.errors import PeerError
from ps_common.segments import SegmentsUnavailable


def run_elsewhere(code: str) -> str:
    """What another process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_process_sees_and_changes_the_same_memory() -> None:
    segment = segments.create(1000)
    segment.vector[:] = 7
    pid, descriptor = segment.offer
    said = run_elsewhere(
        "from ps_common import segments\n"
        f"vector = segments.attach({pid}, {descriptor}, 1000).vector\n"
        "print((vector == 7).all(), len(vector)); vector[3] = 9"
    )
    assert said.split() == ["True", "1000"]
    assert segment.vector[3] == 9
    segment.close()


def test_memory_outlives_the_process_that_made_it() -> None:
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from ps_common import segments\n"
            "s = segments.create(64); s.vector[:] = 5; print(*s.offer, flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    pid, descriptor = map(int, child.stdout.readline().split())
    attached = segments.attach(pid, descriptor, 64)
    child.kill()
    child.communicate()
    assert (attached.vector == 5).all()
    attached.vector[:] = 6
    with pytest.raises(SegmentsUnavailable):
        segments.attach(pid, descriptor, 64)


def test_a_segment_cannot_be_cut_short_under_who_has_mapped_it() -> None:
    segment = segments.create(8192)
    with pytest.raises(PermissionError):
        os.ftruncate(segment.descriptor, 1)
    with pytest.raises(PermissionError):
        fcntl.fcntl(segment.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    segment.close()


@pytest.mark.parametrize("nbytes", [0, 999, 1001, 2**40])
def test_an_offer_of_another_size_is_refused(nbytes: int) -> None:
    segment = segments.create(1000)
    with pytest.raises(PeerError, match="has 1000 bytes"):
        segments.attach(*segment.offer, nbytes)
    segment.close()


def test_only_segments_are_opened(tmp_path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(bytes(1000))
    other = os.memfd_create("other")
    os.ftruncate(other, 1000)
    with file.open() as opened:
        for descriptor in (opened.fileno(), other, *os.pipe()):
            with pytest.raises(PeerError, match="is no segment"):
                segments.attach(os.getpid(), descriptor, 1000)
            if descriptor not in (opened.fileno(),):
                os.close(descriptor)


def test_a_file_that_calls_itself_like_a_segment_is_refused(tmp_path) -> None:
    """A link's text can be imitated; the seals and the size of the file behind it cannot."""
    unsealed = os.memfd_create(segments.NAME, os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, 1000)
    with pytest.raises(PeerError, match="not sealed"):
        segments.attach(os.getpid(), unsealed, 1000)
    os.close(unsealed)


def test_nobody_there_is_said_so() -> None:
    with pytest.raises(SegmentsUnavailable, match="cannot be opened"):
        segments.attach(2**22 + 1, 3, 10)
    segment = segments.create(10)
    offer = segment.offer
    segment.close()
    with pytest.raises(SegmentsUnavailable):
        segments.attach(*offer, 10)


def test_too_large_a_segment_is_said_to_be_so() -> None:
    with pytest.raises(SegmentsUnavailable, match="bytes are free"):
        segments.create(2**62)


@pytest.mark.parametrize(
    ("most", "used", "files", "free"),
    [
        ("8192", "5000", "inactive_file 0", 3192),
        ("8192", "8192", "anon 4000\ninactive_file 4192\nactive_file 0", 4192),  # files read fill it up
        ("8192", "5000", "anon 5000", 3192),
        ("max", "5000", "inactive_file 0", None),
        (str(2**60), "5000", "inactive_file 0", None),
        (None, "5000", "inactive_file 0", None),
    ],
)
def test_the_room_is_what_the_control_group_leaves_where_that_is_less(
    tmp_path, monkeypatch, most, used, files, free
) -> None:
    for name, text in (("memory.max", most), ("memory.current", used), ("memory.stat", files)):
        if text is not None:
            (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr(segments, "_CONTROL_GROUP", tmp_path)
    if free is None:
        assert segments.room() > 2**20, "that of the machine"
        return
    assert segments.room() == free
    segments.create(free).close()
    with pytest.raises(SegmentsUnavailable, match=f"{free + 1} bytes can be made: {free} bytes are free"):
        segments.create(free + 1)


def test_no_descriptor_and_no_memory_is_left() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        segment = segments.create(2**20)
        attached = segments.attach(*segment.offer, 2**20)
        attached.vector[0] = 1
        segment.close()
        del segment, attached
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    with open("/proc/self/maps") as maps:
        assert f"/memfd:{segments.NAME}" not in maps.read()


def test_a_vector_of_a_segment_is_an_ordinary_array() -> None:
    segment = segments.create(4 * 10)
    numbers = segment.vector.view(np.float32)
    numbers += 1
    assert numbers.sum() == 10
    assert not segments.create(0).vector.size
    segment.close()


def test_here_is_the_same_in_another_process_of_this_user() -> None:
    assert run_elsewhere("from ps_common import segments; print(segments.here())").strip() == segments.here()
    assert str(os.getuid()) in segments.here()
