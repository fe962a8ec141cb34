"""One task goes over, one outcome comes back; whoever waits does so with a deadline."""

import threading

import numpy as np
import pytest

from ps_common import messages as m
from ps_worker.bridge import Bridge, Ended
from ps_worker.effects import Compute, Contribution, Exit

LEASE = m.Lease(1, "train", 0, 0, 0, "digest", 0)


class Woken:
    """A bridge that counts how often its loop is woken."""

    def __init__(self):
        self.count = 0
        self.bridge = Bridge(self.wake)

    def wake(self):
        self.count += 1


def test_a_task_goes_over_and_its_outcome_comes_back():
    woken = Woken()
    task, outcome = Compute(LEASE, None, None), Contribution(5, {}, 0.1)
    woken.bridge.begin(task)
    assert woken.bridge.wait(5.0) is task
    assert woken.bridge.take() == []
    woken.bridge.answer(outcome)
    assert (woken.bridge.take(), woken.count) == ([outcome], 1)
    assert woken.bridge.take() == []


def test_nothing_comes_in_time():
    assert Bridge(lambda: None).wait(0.0) is None


@pytest.mark.parametrize("may_take", [True, False])
def test_a_task_that_is_wanted_no_more_is_answered_and_gives_back_what_it_took(may_take):
    woken, base = Woken(), np.zeros(8, np.uint8)
    woken.bridge.begin(Compute(LEASE, base, None, may_take))
    woken.bridge.cancel()
    assert woken.bridge.wait(0.0) is None
    (outcome,) = woken.bridge.take()
    assert outcome.vector is None
    assert outcome.spare is (base if may_take else None)


def test_the_next_task_is_not_cancelled():
    bridge = Bridge(lambda: None)
    bridge.begin(Compute(LEASE, None, None))
    bridge.cancel()
    bridge.wait(0.0)
    task = Compute(LEASE, None, None)
    bridge.begin(task)
    assert (bridge.wait(5.0), bridge.watch.is_cancelled, bridge.watch.step) == (task, False, 0)


def test_who_waits_is_told_of_the_end_before_any_task():
    bridge = Bridge(lambda: None)
    ended = Ended(Exit(0, "finished"), None, None)
    bridge.begin(Compute(LEASE, None, None))
    bridge.end(ended)
    assert bridge.wait(5.0) is ended


def test_who_waits_is_woken():
    bridge, heard = Bridge(lambda: None), []
    waiter = threading.Thread(target=lambda: heard.append(bridge.wait(30.0)))
    waiter.start()
    task = Compute(LEASE, None, None)
    bridge.begin(task)
    waiter.join(30.0)
    assert heard == [task]
