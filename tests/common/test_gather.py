"""Receiving pieces: each is asked for once, a window at a time, and again after a silence."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common.gather import Gather


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 40), st.integers(1, 8), st.integers(0, 10), st.integers(0, 2**32))
def test_in_any_order_every_piece_is_asked_for_once_and_never_more_than_a_window_is_under_way(
    count, window, coming, seed
):
    rng = random.Random(seed)
    coming = min(coming, window)
    gather = Gather(count, window, coming)
    under_way = set(range(min(coming, count)))
    asked = set(under_way)
    while not gather.is_complete:
        new = gather.ask()
        assert not asked & set(new)
        asked |= set(new)
        under_way |= set(new)
        assert 0 < len(under_way) <= window, "nothing is under way, or too much"
        assert gather.ask_again() == tuple(sorted(under_way))
        piece = rng.choice(sorted(under_way))
        under_way.discard(piece)
        left = gather.left
        assert gather.take(piece)
        assert not gather.take(piece)
        assert gather.left == left - 1
    assert asked == set(range(count))
    assert gather.ask() == gather.ask_again() == ()


def test_pieces_are_asked_for_from_the_first_on_in_halves_of_the_window():
    gather = Gather(9, window=4)
    assert gather.ask() == (0, 1, 2, 3)
    assert gather.take(2)
    assert gather.ask() == ()
    assert gather.take(0)
    assert gather.ask() == (4, 5)


def test_the_last_pieces_are_asked_for_as_soon_as_there_is_room():
    gather = Gather(5, window=4)
    assert gather.ask() == (0, 1, 2, 3)
    gather.take(0)
    assert gather.ask() == (4,)


def test_a_piece_that_was_not_asked_for_is_taken_and_not_asked_for_later():
    gather = Gather(5, window=2)
    assert gather.ask() == (0, 1)
    assert gather.take(3)
    for piece in (0, 1):
        assert gather.take(piece)
    assert gather.ask() == (2, 4)


def test_pieces_that_do_not_exist_are_not_taken():
    gather = Gather(3, window=2)
    assert not any(gather.take(piece) for piece in (-1, 3, 99))
    assert gather.left == 3


def test_more_promised_than_the_window_holds_delays_the_next_request():
    gather = Gather(8, window=2, coming=4)
    assert gather.ask() == ()
    for piece in range(4):
        gather.take(piece)
    assert gather.ask() == (4, 5)


def test_nothing_to_receive_is_complete():
    assert Gather(0, 1).is_complete
    assert Gather(0, 1).ask() == ()
