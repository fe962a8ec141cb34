"""The thread that sees connections come and go, says who may, and sees how much each has sent.

ZeroMQ tells of each that it accepts or loses, and the kernel how many bytes it has received of it. Which are
to be shut is decided in `connections.py`; here it is done. Beside the server's loop, which must not wait
for it.
"""

import contextlib
import errno
import fcntl
import itertools
import math
import os
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator, Sequence

import zmq

from paramserver.admission.connections import Connection, Connections, Shut
from paramserver.admission.zap import Doorkeeper
from ps_common import sockets
from ps_common.sockets import Socket

LOOK_S = 0.025  # what can come meanwhile is what one link brings: 25 MB at 1 GB/s
EVENTS_AT_ONCE = 4096  # before anything else has its turn
SHARE = 30  # of the time, at most one part of so many is spent with looking
YIELD_EVERY = 32  # connections looked at before others may run
USUAL_BYTES = 128 * 2**10  # what Linux receives ahead of a connection at first
DRAINED_MAX = 64 * 2**20  # a kernel holds a few MiB of what has been received
REASONS_MAX = 64  # kept to be told

EVENTS = zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED
_SINK = bytearray(2**18)
_SO_BUF_LOCK, _RCVBUF_LOCKED = 72, 2  # of Linux, since 5.15
_INFO_BYTES = 256
_RECEIVED_AT = 128  # of tcpi_bytes_received in struct tcp_info, since Linux 4.1


class Monitor:
    """Watches the connections of one socket; begin before it is bound, and close before it is.

    doorkeeper: who answers whether they may come in, if anybody is to. What has ended its thread is raised to
    whoever takes its reasons: without it there are no limits, and nobody comes in.
    """

    def __init__(
        self, context: zmq.Context[Socket], watched: Socket, connections: Connections,
        doorkeeper: Doorkeeper | None = None,
    ) -> None:  # fmt: skip
        self._watched, self._connections, self._doorkeeper = watched, connections, doorkeeper
        self._reasons: list[Shut] = []
        self._left_out = 0
        self._failure: Exception | None = None
        self._is_over = False
        place = f"inproc://monitor-{id(self)}"
        watched.monitor(place, int(EVENTS))
        self._events = context.socket(zmq.PAIR)
        self._events.setsockopt(zmq.RCVHWM, 0)  # a full queue would stop ZeroMQ's own thread
        self._events.setsockopt(zmq.LINGER, 0)
        self._events.connect(place)
        self._thread = threading.Thread(target=self._run, name="connections", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread.

        What it reads from is closed last: an event that nobody can receive holds up whoever sends it.
        """
        self._is_over = True
        if not self._watched.closed:
            self._watched.disable_monitor()  # which wakes it
        self._thread.join()
        self._events.close()
        if self._doorkeeper is not None:
            self._doorkeeper.close()

    def take_reasons(self) -> tuple[list[Shut], int]:
        """What was shut since this was last asked, and how many more were."""
        if self._failure is not None:
            raise self._failure
        reasons, self._reasons = self._reasons, []
        left_out, self._left_out = self._left_out, 0
        return reasons, left_out

    def shut(self, found: Sequence[Shut]) -> None:
        """Shut these; may be called from any thread."""
        for one in found:
            shut(one.connection)
            if len(self._reasons) < REASONS_MAX:
                self._reasons.append(one)
            else:
                self._left_out += 1

    def _run(self) -> None:
        try:
            self._see_all()
        except Exception as error:  # a bug
            self._failure = error

    def _see_all(self) -> None:
        poller, doorkeeper = zmq.Poller(), self._doorkeeper
        poller.register(self._events, zmq.POLLIN)
        if doorkeeper is not None:
            poller.register(doorkeeper.socket, zmq.POLLIN)
        look_at, pause_s = time.monotonic(), LOOK_S
        while not self._is_over:
            wait_s = max(0.0, look_at - time.monotonic())
            ready = dict(poller.poll(math.ceil(wait_s * 1000)))
            is_drained = self._take_events()
            if self._is_over:
                return
            began = time.monotonic()
            if doorkeeper is not None:
                if doorkeeper.socket in ready and is_drained:  # so its connection has been told of
                    doorkeeper.answer(began)
                doorkeeper.look(began)
            if began >= look_at:
                self._look(began)
                pause_s = max(LOOK_S, SHARE * (time.monotonic() - began))
                look_at = began + pause_s

    def _take_events(self) -> bool:
        """Take what has happened; whether that was all."""
        for _ in range(EVENTS_AT_ONCE):
            try:
                event, descriptor = sockets.monitored(self._events, zmq.NOBLOCK)
            except zmq.Again:
                return True
            if event == zmq.Event.MONITOR_STOPPED:
                self._is_over = True
                return True
            if event == zmq.Event.ACCEPTED:
                self.shut(meet(self._connections, descriptor, time.monotonic())[1])
            elif event == zmq.Event.DISCONNECTED:
                self._connections.end(descriptor)
        return False

    def _look(self, now: float) -> None:
        connections = self._connections
        noise_bytes_per_s, idle_at = connections.limits.noise_bytes_per_s, connections.idle_at
        for count, connection in enumerate(connections):
            received = received_by(connection)
            if received is None:
                connections.end_of(connection)
            else:
                connection.measure(received, now, noise_bytes_per_s, idle_at)
            if count % YIELD_EVERY == YIELD_EVERY - 1:
                time.sleep(0)
        self.shut(connections.overfull())
        self.shut(connections.silent(now))


def meet(connections: Connections, descriptor: int, now: float) -> tuple[Connection | None, list[Shut]]:
    """Enter a connection in the books; None where it is gone already. That of a stranger is made narrow."""
    with contextlib.suppress(OSError), _copy_of(descriptor) as copy:
        (host, port), number = copy.getpeername()[:2], os.fstat(copy.fileno()).st_ino
        is_narrow = not connections.is_home(host) and _narrow(copy, connections.limits.stranger_bytes)
        found = connections.accept(descriptor, number, host, port, now, is_narrow)
        connection = connections.get(descriptor)
        if is_narrow and connection is not None and not connection.is_narrow:  # another thread was faster
            _widen(copy)
        return connection, found
    return None, []


def widen(connection: Connection) -> None:
    """Let the kernel receive as much as of any other, unless the descriptor is of another one by now."""
    with contextlib.suppress(OSError), _copy_of(connection.descriptor, connection.number) as copy:
        _widen(copy)


@contextlib.contextmanager
def _copy_of(descriptor: int, number: int | None = None) -> Iterator[socket.socket]:
    """Another descriptor of the same connection, for as long as it is used; number: the kernel's.

    Raises `OSError` where the descriptor is of another one by now, or of no connection.
    """
    copy = os.dup(descriptor)
    try:
        if number is not None and os.fstat(copy).st_ino != number:
            raise OSError(errno.EBADF, "it is of another connection by now")
        same = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    with same:
        if same.family not in (socket.AF_INET, socket.AF_INET6):
            raise OSError(errno.ENOTSOCK, "it is of no connection by now")
        yield same


def _narrow(one: socket.socket, receive_bytes: int) -> bool:
    """Whether so little is received ahead now. Not where that cannot be undone: before Linux 5.15."""
    if not receive_bytes:
        return False
    try:
        one.getsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK)
    except OSError:
        return False
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    return True


def _widen(one: socket.socket) -> None:
    """Begin again as connections begin, and let the kernel give it more by itself, which it does no longer
    where somebody else has said how much.
    """
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, USUAL_BYTES // 2)  # which the kernel doubles
    locked = one.getsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK)
    one.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, locked & ~_RCVBUF_LOCKED)


def shut(connection: Connection) -> None:
    """End both directions, unless the descriptor is of another one by now.

    ZeroMQ owns the descriptor and closes it, once it reads that the connection has ended.
    """
    with contextlib.suppress(OSError), _copy_of(connection.descriptor, connection.number) as same:
        same.shutdown(socket.SHUT_RDWR)
        same.setblocking(False)  # which it is for ZeroMQ, too
        for _ in range(DRAINED_MAX // len(_SINK)):  # or all of it would still be read
            if not same.recv_into(_SINK):
                break


def received_by(connection: Connection) -> int | None:
    """Bytes that ZeroMQ has had of a connection; None where it is closed. Older kernels do not count: 0."""
    try:
        if os.fstat(connection.descriptor).st_ino != connection.number:
            return None
        borrowed = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=connection.descriptor)
        try:
            info = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
            waiting = fcntl.ioctl(borrowed, termios.FIONREAD, b"\0\0\0\0")
        finally:
            borrowed.detach()
    except OSError:
        return None
    if len(info) < _RECEIVED_AT + 8:
        return 0
    return int(struct.unpack_from("Q", info, _RECEIVED_AT)[0]) - int(struct.unpack("i", waiting)[0])


def told(found: Sequence[Shut], left_out: int) -> list[str]:
    """Reasons, each once, with the addresses it is about."""
    texts = []
    for reason, group in itertools.groupby(sorted(found, key=_by_reason), key=lambda one: one.reason):
        addresses = [one.connection.address for one in group]
        many = "connections" if len(addresses) > 1 else "connection"
        texts.append(f"{len(addresses)} {many} of {', '.join(sorted(set(addresses))[:4])} shut: it {reason}")
    if left_out:
        texts.append(f"{left_out} more connections shut")
    return texts


def _by_reason(one: Shut) -> str:
    return one.reason
