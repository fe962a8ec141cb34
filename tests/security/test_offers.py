"""An offer of memory is two numbers: whatever they are, nothing is opened but segments of processes."""

import contextlib
import os
import socket
from pathlib import Path

import msgpack
import pytest

from ps_common import messages as m
from ps_common import segments
from ps_common.errors import PeerError
from ps_common.wire import decode, encode
from security import controls

PUSH = m.Push(1, 16, {}, None, 0.0, 0.0, 0.0, descriptor=7)


@pytest.mark.parametrize(
    "value", ["../../etc/passwd", b"..", "7", 7.0, True, [7], {"7": 7}, None, -2, 2**63], ids=repr
)
@pytest.mark.parametrize(
    "message", [PUSH, m.Join(m.PROTOCOL, "w", "host", 1, "cpu", "", "numpy")], ids=["fd", "pid"]
)
def test_what_is_no_number_is_no_message(message, value):
    fields = msgpack.unpackb(encode(message))
    place = fields.index(7) if message is PUSH else 4
    fields[place] = value
    with pytest.raises(PeerError):
        decode([msgpack.packb(fields)])


@pytest.fixture
def opened(monkeypatch):
    """What of other processes is opened from now on, by its path."""
    paths, honest = [], os.open

    def spying(path, *given):
        if str(path).startswith("/proc/"):
            paths.append(str(path))
        return honest(path, *given)

    monkeypatch.setattr(segments.os, "open", spying)
    return paths


@contextlib.contextmanager
def files(folder: Path):
    """Descriptors of this process of everything that a process may have open, but for segments."""
    (folder / "file").write_bytes(bytes(4096))
    with contextlib.ExitStack() as stack:
        descriptors = [os.open(folder / "file", os.O_RDWR), os.open(folder, os.O_RDONLY), *os.pipe()]
        descriptors += [os.open("/dev/null", os.O_RDWR), os.memfd_create("another", os.MFD_ALLOW_SEALING)]
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        descriptors.append(stack.enter_context(socket.socket()).fileno())
        yield descriptors


def refusals(folder: Path) -> int:
    """How many of these are refused, with any other number of a process beside them."""
    count = 0
    with files(folder) as descriptors:
        offers = [(os.getpid(), one) for one in descriptors]
        offers += [(os.getpid(), 10**9), (0, 0), (2**62, 1), (1, 2**62)]
        for pid, descriptor in offers:
            with contextlib.suppress(PeerError, segments.SegmentsUnavailable):
                segments.attach(pid, descriptor, 4096)
                continue
            count += 1
    return len(offers) - count


def test_nothing_but_a_segment_is_opened(tmp_path, opened):
    assert refusals(tmp_path) == 0
    assert opened == []


def test_a_segment_is(opened):
    segment = segments.create(4096)
    try:
        assert segments.attach(*segment.offer, 4096).vector.nbytes == 4096
    finally:
        segment.close()
    (path,) = opened
    assert path == f"/proc/{os.getpid()}/fd/{segment.descriptor}"


def test_without_a_look_at_links_other_files_are(tmp_path, opened, monkeypatch):
    controls.links_are_not_read(monkeypatch)
    refusals(tmp_path)
    assert opened
