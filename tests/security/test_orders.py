"""Only who may gives orders and sees how a run is; each with its control off."""

import dataclasses
import io
from collections.abc import Callable

import pytest
from rich.errors import MarkupError

from paramserver.askers import Asker, asker_of
from paramserver.effects import Note
from paramserver.log import LiveDisplay, Log
from ps_common import messages as m
from security import controls
from simulation.bench import Bench, Hand
from simulation.test_master_leases import started, state_of
from simulation.test_master_orders import ADMIN, LOOK, ask, order

OTHERS = ("worker", "status", "server", "none", "")
MARKUP = "[/bold] [red]:smile:"
CLEARS_THE_SCREEN = "\x1b[2J\x1b[H"

Check = Callable[[], None]
Control = Callable[[pytest.MonkeyPatch], None]


def _is_refused(bench: Bench, message: m.Message, by: Asker) -> None:
    before = state_of(bench)
    (answer,) = ask(bench, message, by)
    assert isinstance(answer, m.Refused), "it is answered"
    assert answer.exit_code == 77
    assert (state_of(bench), bench.master.is_ending) == (before, False)


def orders_of_other_keys() -> None:
    for role in OTHERS:
        for what in m.ORDERS:
            bench, _, _ = started(keeps_ledger=True, names_are_keys=True)
            name = "" if what in ("stop", "checkpoint") else "w1"
            _is_refused(bench, order(what, name), Asker(f"the {role} key k", role))


def a_look_with_the_key_of_a_worker() -> None:
    bench, _, _ = started(names_are_keys=True)
    _is_refused(bench, LOOK, Asker("the worker key w1", "worker"))


def an_order_without_a_key_on_an_open_port() -> None:
    bench, _, _ = started()
    _is_refused(bench, order("stop"), asker_of(None, is_open=True, has_keys=False))


def an_order_that_is_played_back() -> None:
    """To whoever has the name by now."""
    bench, _, _ = started()
    ask(bench, order("drop", "w1"), ADMIN)
    other = Hand(bench, "w1")
    other.sender = b"another"
    other.say(other.join)
    ask(bench, order("drop", "w1"), ADMIN)
    assert not other.heard(m.Stop), "the other one is sent home"


def a_name_that_clears_the_screen() -> None:
    stream = io.StringIO()
    Log("text", False, stream).show(Note("refusal", f"refused {CLEARS_THE_SCREEN} of nowhere"))
    assert "\x1b" not in stream.getvalue()


def a_name_that_is_markup() -> None:
    """It would end a master that draws on a terminal."""
    bench = Bench(workers_at_start=2)
    hand = Hand(bench, "w1")
    hand.say(dataclasses.replace(hand.join, name=MARKUP, device=CLEARS_THE_SCREEN))
    display = LiveDisplay(bench.master, Log("text", False))
    with display._console.capture() as capture:
        try:
            display._console.print(display._draw(bench.now))
        except MarkupError as error:
            raise AssertionError("the master ends") from error
    assert MARKUP in capture.get()
    assert "\x1b[2J" not in capture.get()


PAIRS: list[tuple[Check, Control]] = [
    (orders_of_other_keys, controls.anybody_may_ask),
    (a_look_with_the_key_of_a_worker, controls.anybody_may_ask),
    (an_order_without_a_key_on_an_open_port, controls.nobody_is_far_away),
    (an_order_that_is_played_back, controls.orders_are_not_known_again),
    (a_name_that_clears_the_screen, controls.names_are_shown_as_they_are),
    (a_name_that_is_markup, controls.names_are_markup),
]
IDS = [check.__name__ for check, _ in PAIRS]


@pytest.mark.parametrize("check", [check for check, _ in PAIRS], ids=IDS)
def test_it_is_refused(check: Check) -> None:
    check()


@pytest.mark.parametrize(("check", "control"), PAIRS, ids=IDS)
def test_without_its_control_it_is_not(
    check: Check, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    control(monkeypatch)
    with pytest.raises(AssertionError):
        check()
