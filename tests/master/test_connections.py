"""Who holds how many connections, how much each has under way, and which are to be shut."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramserver.admission.connections import ADDRESSES_MAX, WAITS, Connections
from paramserver.admission.limits import Limits
from paramserver.settings import Settings
from ps_common.messages import HEADER_BYTES

MIB = 2**20
FEW = Limits(
    connections_max=10, address_share=0.8, pending_max=6, pending_of_address_max=4, arrivals_burst=100.0
)


class Books:
    """Connections of a server with few of them allowed; each new one has the next descriptor."""

    def __init__(self, **changes):
        self.connections = Connections(dataclasses.replace(FEW, **changes), 0.0)
        self.next = 10

    def come(self, address="10.0.0.1", now=0.0):
        """A new connection: itself, and who is to be shut."""
        self.next += 1
        found = self.connections.accept(self.next, self.next * 7, address, 4000 + self.next, now)
        return self.connections.get(self.next), found

    def speak(self, address="10.0.0.1", now=0.0):
        one, found = self.come(address, now)
        assert not found
        self.connections.speaks(one)
        return one


def test_the_oldest_that_has_said_nothing_is_shut_for_a_new_one_of_its_address():
    books = Books()
    first = [books.come()[0] for _ in range(4)]
    _, found = books.come()
    assert [one.connection for one in found] == [first[0]]
    assert "said nothing valid" in found[0].reason
    assert books.connections.pending == 4


def test_the_oldest_of_all_is_shut_where_many_addresses_say_nothing():
    books = Books()
    first = [books.come(f"10.0.0.{i}")[0] for i in range(6)]
    _, found = books.come("10.0.0.99")
    assert [one.connection for one in found] == [first[0]]


def test_who_has_said_something_valid_is_not_shut_for_others():
    books = Books()
    spoken = books.speak()
    found = [one for _ in range(8) for one in books.come(f"10.0.1.{_}")[1]]
    assert spoken not in [one.connection for one in found]


def test_one_more_than_there_may_be_is_shut_itself():
    books = Books()
    for i in range(10):
        books.speak(f"10.0.0.{i}")
    one, found = books.come("10.0.1.1")
    assert [shut.connection for shut in found] == [one]
    assert len(books.connections) == 11  # until it is closed
    books.connections.end(one.descriptor)
    assert len(books.connections) == 10


def test_one_address_cannot_hold_them_all():
    books = Books()
    for _ in range(8):
        books.speak()
    one, found = books.come()
    assert [shut.connection for shut in found] == [one]
    assert "from there" in found[0].reason
    assert not books.come("10.0.0.2")[1]


def test_new_connections_of_an_address_are_limited_by_the_second():
    books = Books(arrivals_burst=3.0, arrivals_per_s=2.0)
    shut = [bool(books.come(now=0.0)[1]) for _ in range(5)]
    assert shut == [False, False, False, True, True]
    assert not books.come("10.0.0.2", now=0.0)[1]
    assert not books.come(now=0.6)[1]


def test_after_a_flood_few_new_ones_are_let_in_for_a_while():
    books = Books(wary_s=10.0, wary_arrivals_per_s=0.5, pending_of_address_max=100, pending_max=100)
    one = books.speak()
    books.connections.beware(one, 0.0)
    assert [bool(books.come(now=now)[1]) for now in (0.0, 0.1, 1.0, 2.5)] == [False, True, True, False]
    assert not any(books.come(now=20.0)[1] for _ in range(3))


def test_who_says_nothing_valid_is_shut_after_a_while_and_once():
    books = Books(silent_s=10.0)
    silent, spoken = books.come(now=0.0)[0], books.speak(now=0.0)
    assert books.connections.silent(9.9) == []
    assert [one.connection for one in books.connections.silent(10.0)] == [silent]
    assert books.connections.silent(99.0) == []
    assert not spoken.is_shut


def test_a_descriptor_that_is_used_again_is_another_connection():
    books = Books()
    one = books.speak()
    books.connections.name(one, b"w1")
    assert books.connections.accept(one.descriptor, one.number, one.address, one.port, 1.0) == []
    assert books.connections.get(one.descriptor) is one  # told of twice
    books.connections.accept(one.descriptor, one.number + 1, "10.0.0.2", 1, 1.0)
    other = books.connections.get(one.descriptor)
    assert other is not one
    assert not other.has_spoken
    assert books.connections.of_sender(b"w1") is None
    assert len(books.connections) == 1


def test_a_sender_is_found_by_its_last_connection():
    books = Books()
    one, other = books.speak(), books.speak()
    books.connections.name(one, b"w1")
    books.connections.name(other, b"w1")
    books.connections.end(one.descriptor)
    assert books.connections.of_sender(b"w1") is other
    books.connections.end(other.descriptor)
    assert books.connections.of_sender(b"w1") is None


def test_nothing_is_left_of_connections_that_have_ended():
    books = Books(connections_max=100_000, pending_max=10, arrivals_burst=1e9)
    for i in range(3 * ADDRESSES_MAX):
        one, _ = books.come(f"10.{i % 200}.{i // 200}.1")
        books.connections.name(one, str(i).encode())
        books.connections.end(one.descriptor)
    assert (len(books.connections), books.connections.pending) == (0, 0)
    assert len(books.connections._arrivals) <= ADDRESSES_MAX
    assert not books.connections._senders
    assert not books.connections._of_address


# -- bytes under way ------------------------------------------------------------------------------------


def measured(books, one, received, now=0.0, idle_at=-1.0):
    one.measure(received, now, books.connections.limits.noise_bytes_per_s, idle_at)
    return [shut.connection for shut in books.connections.overfull()]


def test_a_message_without_an_end_is_shut_once_it_is_larger_than_any():
    books = Books(message_bytes=MIB, bytes_max=8 * MIB)
    one = books.speak()
    assert measured(books, one, 2 * MIB, 0.0) == []  # nobody has had the time to take it
    for look in range(1, WAITS):
        assert measured(books, one, 2 * MIB, float(look), idle_at=look - 0.5) == []
    assert measured(books, one, 2 * MIB, 3.0, idle_at=2.5) == [one]


def test_what_is_taken_now_and_then_is_no_message_without_an_end():
    books = Books(message_bytes=MIB, bytes_max=8 * MIB)
    one = books.speak()
    for look in range(20):
        one.taken += 1000
        assert measured(books, one, 4 * MIB + 1000 * look, float(look), idle_at=look - 0.5) == []


def test_what_a_busy_server_has_not_taken_is_allowed_up_to_all_that_may_be_under_way():
    books = Books(message_bytes=MIB, bytes_max=8 * MIB)
    one = books.speak()
    for look in range(20):
        assert measured(books, one, 8 * MIB, float(look)) == []
    assert measured(books, one, 8 * MIB + 3000, 20.0) == [one]


def test_what_was_taken_is_no_credit_for_later():
    books = Books(bytes_max=MIB, message_bytes=MIB)
    one = books.speak()
    one.taken = 100 * MIB  # the frames' allowances, for instance
    assert measured(books, one, 50 * MIB, 0.0) == []
    assert measured(books, one, 50 * MIB + MIB // 2, 1.0) == []
    assert measured(books, one, 52 * MIB, 1.0) == [one]


def test_signs_of_life_of_the_connection_itself_are_not_counted():
    books = Books(bytes_max=MIB, noise_bytes_per_s=128.0)
    one = books.speak()
    for hour in range(1000):
        assert measured(books, one, 60 * 3600 * hour, 3600.0 * hour) == []
    assert one.open_bytes == 0.0


def test_where_all_have_too_much_who_has_said_nothing_goes_first_and_then_the_largest():
    books = Books(bytes_max=8 * MIB, bytes_of_all=4 * MIB, bytes_each=MIB)
    small, large, silent = books.speak("10.0.0.2"), books.speak("10.0.0.3"), books.come()[0]
    for one, received in ((small, 2 * MIB), (large, 5 * MIB), (silent, MIB)):
        one.measure(received, 0.0, 0.0, -1.0)
    assert [shut.connection for shut in books.connections.overfull()] == [silent, large]


@given(st.lists(st.tuples(st.integers(0, 2 * MIB), st.integers(0, 200)), min_size=1, max_size=50))
def test_an_honest_stream_is_never_shut(messages):
    """Whatever whole messages come, taken at once, with at most the overhead that frames really have."""
    books = Books(bytes_max=3 * MIB, message_bytes=2 * MIB + 10_000, bytes_of_all=3 * MIB)
    one, received = books.speak(), 0
    for look, (nbytes, overhead) in enumerate(messages):
        received += nbytes + min(overhead, 2 * FEW.frame_bytes)
        assert measured(books, one, received, float(look), idle_at=look - 0.5) == []
        one.taken += nbytes + 2 * FEW.frame_bytes


# -- limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [256, 1024, 20_000, 10**9])
def test_all_connections_with_what_each_may_need_fit_the_descriptors(files):
    limits = Limits.of_master(Settings(), files)
    assert 4 * limits.connections_max + 128 <= max(files, 4 * 16 + 128)
    assert 2 * limits.pending_of_address_max <= limits.pending_max + 1
    assert 2 * limits.pending_max <= limits.connections_max + 1


def test_limits_follow_the_settings():
    limits = Limits.of_master(Settings(chunk_bytes=4 * MIB, window=16, heartbeat_interval_s=0.05), 1024)
    assert limits.bytes_max > HEADER_BYTES + 16 * 4 * MIB
    assert limits.beats_per_s >= 4 / 0.05
    assert limits.without_layouts(4 * MIB).message_bytes < 5 * MIB
    assert Limits.of_averaging_server(1024, 2**26, 1024).bytes_max < 2**30
