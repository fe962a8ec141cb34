"""What an averaging server does while no master wants anything of it."""

import contextlib
import os
import signal
import threading

import pytest

from paramserver.admission import monitor
from paramserver.log import Log
from paramserver.servers.averager_loop import AveragerLoop
from support_zmtp import half_open

PATIENCE_S = 20


@contextlib.contextmanager
def ended_after(patience_s):
    """A loop that goes on for so long is asked to end, as a person would."""
    asking = threading.Timer(patience_s, os.kill, [os.getpid(), signal.SIGTERM])
    asking.start()
    try:
        yield
    finally:
        asking.cancel()
        asking.join()


def test_it_ends_with_the_bug_of_the_thread_that_sees_its_connections(tmp_path, monkeypatch):
    def broken(*given):
        raise RuntimeError("a bug")

    monkeypatch.setattr(monitor, "meet", broken)
    loop = AveragerLoop("tcp://127.0.0.1:0", tmp_path / "address", None, None, Log("text", quiet=True))
    with (
        half_open((tmp_path / "address").read_text(), 1),
        ended_after(PATIENCE_S),
        pytest.raises(RuntimeError, match="a bug"),
    ):
        loop.run()
