"""The end of a process is told at once, whoever ended it and whosever child it is."""

import os
import select
import signal
import subprocess
import sys

import pytest

from paramserver.watched import Watched


@pytest.fixture
def watched():
    watched = Watched()
    yield watched
    watched.close()


@pytest.fixture
def process():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def wakes(watched, timeout_s):
    return bool(select.select([watched], [], [], timeout_s)[0])


def test_a_process_that_is_killed_wakes_and_is_named_once(watched, process):
    assert watched.add(b"w", process.pid)
    assert not wakes(watched, 0.0)
    process.send_signal(signal.SIGKILL)
    assert wakes(watched, 10.0)
    assert watched.ended() == [b"w"]
    assert watched.ended() == []
    assert not wakes(watched, 0.0)


def test_a_process_that_is_gone_already_is_told_of_by_the_answer(watched, process):
    process.kill()
    process.wait()
    assert not watched.add(b"w", process.pid)


def test_who_is_watched_no_more_is_not_told_of(watched, process):
    assert watched.add(b"w", process.pid)
    watched.remove(b"w")
    watched.remove(b"w")
    process.kill()
    process.wait()
    assert not wakes(watched, 0.0)
    assert watched.ended() == []


def test_the_same_name_again_is_the_new_process(watched, process):
    assert watched.add(b"w", process.pid)
    assert watched.add(b"w", os.getpid())
    process.kill()
    process.wait()
    assert watched.ended() == []


def test_no_descriptor_is_left(process):
    before = len(os.listdir("/proc/self/fd"))
    watched = Watched()
    for number in range(20):
        watched.add(bytes([number % 4]), process.pid)
    watched.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("number", [0, 2**31, 2**62])
def test_a_number_that_no_process_has_is_watched_in_vain(watched, number):
    assert watched.add(b"w", number)
    assert watched.ended() == []
