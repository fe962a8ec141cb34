"""What was sent and not read yet: how many versions a peer may keep, how many rows, and for how long."""

import dataclasses
import gc

import numpy as np

from paramserver.admission.limits import Limits
from paramserver.admission.unread import Unread, whole

MIB = 2**20
LIMITS = dataclasses.replace(
    Limits(), vectors_max=2, vectors_of_all_max=4, rows_bytes_max=3000, rows_bytes_of_all=5000
)


class Wire:
    """What is under way: it holds payloads until they are read."""

    def __init__(self, limits=LIMITS):
        self.unread = Unread(limits)
        self.held = {}

    def send(self, sender, part, is_rows=False, now=0.0):
        """Send a payload, a view of its own, if it may be; whether it was."""
        part = part[:]
        if not self.unread.may_take(sender, None if is_rows else part):
            return False
        self.unread.sent(sender, [part], is_rows, now)
        self.held.setdefault(sender, []).append(part)
        return True

    def read(self, sender, count=1):
        del self.held[sender][:count]
        gc.collect()


def chunks(count=4):
    vector = np.zeros(count * 100, np.uint8)
    return [vector[i * 100 : (i + 1) * 100] for i in range(count)]


def rows():
    return np.zeros(1000, np.uint8)


def test_parts_of_a_vector_are_known_as_its_parts():
    vector = np.frombuffer(bytearray(400), np.uint8)[:300]
    assert whole(vector[10:20]) == whole(vector[100:][5:9])
    assert whole(vector) != whole(np.zeros(3, np.uint8))


def test_a_peer_is_sent_chunks_of_a_few_versions_and_more_when_it_has_read():
    wire, versions = Wire(), [chunks() for _ in range(3)]
    assert all(wire.send(b"w", part) for version in versions[:2] for part in version)
    assert not wire.send(b"w", versions[2][0])
    assert wire.send(b"w", versions[1][0])  # again, of one that it keeps anyway
    assert wire.send(b"other", versions[2][0])
    wire.read(b"w", 4)
    assert wire.send(b"w", versions[2][0])


def test_rows_are_sent_up_to_so_many_bytes_and_a_block_at_a_time_always():
    wire = Wire()
    assert [wire.send(b"w", rows(), is_rows=True) for _ in range(4)] == [True, True, True, False]
    assert [wire.send(b"x", rows(), is_rows=True) for _ in range(3)] == [True, True, False]  # of all
    assert [wire.send(b"y", rows(), is_rows=True) for _ in range(2)] == [True, False]
    wire.read(b"w", 3)
    assert wire.unread.may_take(b"w", None)
    assert wire.unread.rows_bytes == 3000


def test_who_reads_nothing_is_overdue_and_who_reads_slowly_is_not():
    wire = Wire()
    for sender in (b"sloth", b"slow"):
        for part in chunks():
            wire.send(sender, part)
    assert wire.unread.overdue(LIMITS.unread_s - 1.0) == []
    wire.read(b"slow")
    assert [sender for sender, _ in wire.unread.overdue(LIMITS.unread_s)] == [b"sloth"]
    assert wire.unread.overdue(LIMITS.unread_s + 1.0) == []  # it is told once


def test_who_reads_something_now_and_then_is_overdue_when_it_is_too_far_behind():
    wire, now = Wire(), 0.0
    parts = chunks(100)
    for part in parts:
        wire.send(b"drip", part)
    del part, parts
    first = wire.held[b"drip"].pop(0)
    while not (found := wire.unread.overdue(now)):
        wire.read(b"drip")
        now += LIMITS.unread_s / 2
    assert now >= LIMITS.oldest_s
    assert "behind" in found[0][1]
    del first


def test_where_all_together_keep_too_many_versions_the_oldest_is_overdue():
    wire = Wire()
    for number in range(5):
        wire.send(b"w%d" % number, chunks()[0], now=float(number))
    assert [sender for sender, _ in wire.unread.overdue(5.0)] == [b"w0"]
    wire.read(b"w0")
    assert wire.unread.overdue(5.0) == []


def test_nothing_is_kept_of_who_has_read_everything():
    wire = Wire()
    for number in range(100):
        wire.send(b"w%d" % number, chunks()[0])
    wire.held.clear()
    gc.collect()
    wire.unread.overdue(1.0)
    assert not wire.unread._readers
