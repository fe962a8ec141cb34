"""Wake-ups, stop signals and orphanhood. Signals are real and sent to this process or to a child of it."""

import os
import select
import signal
import subprocess
import sys
import threading

import pytest

from ps_common.signals import ASK_TO_SAVE, ASK_TO_STOP, STOP_SIGNALS, WakePipe


@pytest.fixture
def pipe():
    pipe = WakePipe()
    yield pipe
    pipe.close()


def is_awake(pipe: WakePipe) -> bool:
    return bool(select.select([pipe], [], [], 0)[0])


def test_waking_makes_the_pipe_readable_until_it_is_cleared(pipe):
    assert not is_awake(pipe)
    pipe.wake()
    pipe.wake()
    assert is_awake(pipe)
    pipe.clear()
    assert not is_awake(pipe)
    pipe.clear()


def test_another_thread_wakes_a_sleeping_poll(pipe):
    thread = threading.Thread(target=pipe.wake)
    thread.start()
    assert select.select([pipe], [], [], 30)[0]
    thread.join()


def test_waking_a_full_pipe_does_not_block(pipe):
    for _ in range(100_000):  # a pipe holds 65,536 bytes
        pipe.wake()
    pipe.clear()
    assert not is_awake(pipe)


def test_waking_a_closed_pipe_writes_to_nobody():
    pipe = WakePipe()
    pipe.close()
    reader, writer = os.pipe()  # gets the numbers that the closed pipe had
    pipe.wake()
    assert not select.select([reader], [], [], 0)[0]
    pipe.close()
    os.fstat(reader)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_stop_signal_is_kept_and_wakes(pipe, number):
    before = signal.getsignal(number)
    with pipe.catching_signals():
        os.kill(os.getpid(), number)
        assert select.select([pipe], [], [], 30)[0]
        assert pipe.signal == number
    assert signal.getsignal(number) is before


LATE = """
import os, signal
from ps_common.signals import WakePipe
pipe = WakePipe()
with pipe.catching_signals(is_last=True):
    pass
os.kill(os.getpid(), signal.SIGTERM)
print("in order", flush=True)
"""


def test_a_stop_signal_that_comes_after_the_end_does_not_spoil_it():
    child = subprocess.run([sys.executable, "-c", LATE], capture_output=True, timeout=60, check=True)
    assert child.stdout == b"in order\n"


def test_handlers_are_put_back_when_the_loop_raises(pipe):
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with pytest.raises(ZeroDivisionError), pipe.catching_signals():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


CHILD = """
import os, sys
from ps_common.signals import WakePipe
pipe = WakePipe()
with pipe.catching_signals():
    for number in map(int, sys.argv[1:]):
        os.kill(os.getpid(), number)
    print("still here", flush=True)
"""


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ((signal.SIGINT,), 0),
        ((signal.SIGINT, signal.SIGINT), 130),
        ((signal.SIGTERM, signal.SIGTERM), 143),
        ((signal.SIGINT, signal.SIGTERM), 143),
    ],
)
def test_the_second_stop_signal_ends_the_process_at_once(numbers, code):
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, map(int, numbers))],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == code
    assert (b"still here" in child.stdout) == (code == 0)


ORPHAN = """
import os, sys
from ps_common.signals import WakePipe
reader, writer = os.pipe()
if os.fork():
    os.read(reader, 1)  # until the child knows its parent
    os._exit(0)
pipe = WakePipe()
first = pipe.is_orphan
os.write(writer, b"x")
while not pipe.is_orphan:
    pass
print(first, pipe.is_orphan, flush=True)
"""


def test_a_process_may_say_whose_child_it_was_before_it_came_to_ask():
    for parent, is_orphan in ((os.getppid(), False), (os.getpid(), True)):
        pipe = WakePipe(parent)
        assert pipe.is_orphan is is_orphan
        pipe.close()


def test_a_process_whose_parent_has_gone_is_an_orphan(pipe):
    assert not pipe.is_orphan
    child = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, timeout=60, check=False)
    assert child.stdout.split() == [b"False", b"True"]


def test_what_our_own_commands_ask_by_never_counts_as_the_second_stop_signal():
    for numbers in ((ASK_TO_STOP, signal.SIGTERM), (signal.SIGTERM, ASK_TO_STOP, ASK_TO_STOP)):
        words = [sys.executable, "-c", CHILD, *map(str, map(int, numbers))]
        assert subprocess.run(words, capture_output=True, timeout=60, check=True).stdout == b"still here\n"


def test_who_wants_a_checkpoint_wakes_and_stops_nothing(pipe):
    with pipe.catching_signals():
        os.kill(os.getpid(), ASK_TO_SAVE)
        assert select.select([pipe], [], [], 30)[0]
        assert pipe.is_save_wanted
        assert pipe.signal is None


HELD_BACK = """
import os, signal
from ps_common.signals import WakePipe
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # as whoever started this process may have done
os.kill(os.getpid(), signal.SIGTERM)
pipe = WakePipe()
with pipe.catching_signals():
    print(pipe.signal == signal.SIGTERM, flush=True)
"""


def test_a_stop_signal_that_was_held_back_since_before_is_let_in():
    child = subprocess.run([sys.executable, "-c", HELD_BACK], capture_output=True, timeout=60, check=True)
    assert child.stdout == b"True\n"
