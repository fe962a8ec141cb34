"""Who may still come to hear that the run is over."""

import pytest

from paramserver.farewell import ABSENT_MAX, Farewell


def over(farewell: Farewell, at: float = 100.0, is_wanted: bool = False) -> Farewell:
    farewell.begin(at, is_wanted)
    return farewell


def test_who_was_expected_and_has_not_come_is_waited_for() -> None:
    farewell = over(Farewell(5.0, expected=2))
    farewell.came(b"a")
    farewell.came(b"a")
    assert not farewell.is_ended(101.0)
    farewell.came(b"b")
    assert farewell.is_ended(101.0)


def test_who_fell_silent_is_waited_for_and_may_come_as_a_member_or_after_the_end() -> None:
    farewell = Farewell(5.0, expected=1)
    for name in (b"a", b"b", b"c"):
        farewell.came(name)
    farewell.fell_silent(b"b")
    farewell.fell_silent(b"c")
    farewell.came(b"b")
    over(farewell)
    assert not farewell.is_ended(100.0)
    farewell.came(b"c")
    assert farewell.is_ended(100.0)


@pytest.mark.parametrize(("now", "is_ended"), [(104.9, False), (105.0, True)])
def test_nobody_is_waited_for_longer(now: float, is_ended: bool) -> None:
    assert over(Farewell(5.0, expected=2)).is_ended(now) is is_ended


def test_who_wants_the_run_to_end_waits_for_nobody_who_never_came() -> None:
    assert over(Farewell(5.0, expected=2), is_wanted=True).is_ended(100.0)


def test_without_a_time_nobody_is_waited_for() -> None:
    farewell = Farewell(None, expected=2)
    farewell.fell_silent(b"a")
    assert over(farewell).is_ended(100.0)


def test_it_keeps_no_more_than_it_needs() -> None:
    farewell = Farewell(5.0, expected=3)
    for i in range(2 * ABSENT_MAX):
        farewell.came(str(i).encode())
        farewell.fell_silent(str(i).encode())
    assert len(farewell._came) == 3
    assert len(farewell._silent) == ABSENT_MAX
