"""The sockets of this project: a ROUTER for whoever is called, a DEALER for whoever calls; their options."""

import math
import os
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from ps_common import address
from ps_common import messages as m
from ps_common.errors import UsageError
from ps_common.keys import Bundle
from ps_common.wire import Buffer

QUEUE_MESSAGES = 256  # a queue to a peer; a reader this far behind asks, or is asked, again later
HEARTBEAT_MS = 2000  # between two signs of life of a connection
HANDSHAKE_MS = 5000  # a connection is made in milliseconds; who does not make it has no room for longer
SILENCE_MS = 10_000  # after which a connection counts as broken, and is made anew
ZAP_DOMAIN = b"paramserver"  # that there is one also keeps out ZMTP 1 and 2, which know no keys
AWAKE_S = 0.001  # two small rounds: who waits less in one of them may wait as little in the next

Socket = zmq.Socket[bytes]
_NOBLOCK, _NOBLOCK_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)  # enums are slow to combine


def router(
    context: zmq.Context[Socket],
    url: str,
    linger_ms: int,
    prepare: Callable[[Socket], None] = lambda socket: None,
    server: Bundle | None = None,
) -> tuple[Socket, str]:
    """A socket bound to `url`, and that address with its real port. Raises `UsageError` where it cannot be.

    A message to somebody who is not there raises `zmq.ZMQError` instead of being dropped. It asks nobody for
    signs of life, and ends connections of those that do and fall silent: ZeroMQ 4.3.5 aborts where one is due
    on a connection that breaks after another has taken over its identity.
    prepare: called with the socket before anybody can come. server: the pair to prove who it is with; nobody
    is let in then whom ZAP does not answer for.
    """
    socket = context.socket(zmq.ROUTER)
    try:
        _prepare(socket, url, linger_ms)
        if server is not None:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_SECRETKEY, server.secret)
            ask_zap(socket)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        prepare(socket)
        socket.bind(url)
    except zmq.ZMQError as error:
        socket.close()
        in_use = error.errno == zmq.EADDRINUSE
        reason = "is in use; stop what uses it or choose another port" if in_use else error
        raise UsageError(f"cannot bind {url}: the address {reason}") from error
    return socket, socket.getsockopt_string(zmq.LAST_ENDPOINT)


def ask_zap(socket: Socket) -> None:
    """Let nobody in whom ZAP does not answer for, keys or none."""
    socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without anybody to ask, nobody comes in


def dealer(
    context: zmq.Context[Socket], url: str, linger_ms: int, identity: bytes, queues: bool = False,
    key: Bundle | None = None, watch: Callable[[Socket], None] | None = None,
) -> Socket:  # fmt: skip
    """A socket that connects to `url`, again and again, and is known there as `identity`.

    identity: drawn anew by every process; it must not begin with 0. queues: whether what is sent while there
    is no connection waits for one. Else it fails, and what was not read yet goes with its connection.
    With a key, only who proves that it has the run's server key is talked to. watch: called before it
    connects.
    """
    socket = context.socket(zmq.DEALER)
    _prepare(socket, url, linger_ms)
    if key is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, key.server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, SILENCE_MS)  # and so long the other side waits for the next one
    socket.setsockopt(zmq.ROUTING_ID, identity)
    socket.setsockopt(zmq.IMMEDIATE, int(not queues))
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    if watch is not None:
        watch(socket)
    socket.connect(url)
    return socket


def send(socket: Socket, frames: Sequence[Buffer]) -> bool:
    """Send without waiting; False where there is no connection now, or its queue is full.

    Headers, which are bytes, are copied, which is faster; payloads are sent from where they lie.
    """
    last = len(frames) - 1
    try:
        for i, frame in enumerate(frames):
            flags = _NOBLOCK if i == last else _NOBLOCK_MORE
            socket.send(frame, flags, copy=isinstance(frame, bytes))
    except zmq.ZMQError as error:
        if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
            return False
        raise
    return True


def receive(socket: Socket) -> list[memoryview] | None:
    """The frames of the next message where they lie; None where there is none."""
    try:
        frame = socket.recv(_NOBLOCK, copy=False)
    except zmq.Again:
        return None
    frames = [frame.buffer]
    while frame.more:  # it knows; to ask the socket takes as long as to receive
        frame = socket.recv(_NOBLOCK, copy=False)
        frames.append(frame.buffer)
    return frames


def receive_from(router: Socket) -> tuple[zmq.Frame, list[memoryview], int] | None:
    """The frame a ROUTER adds, which knows its connection, those of the message, and how many there were.

    None: there is no message. Of one with more frames than there may be, one too many is kept.
    """
    try:
        first = frame = router.recv(_NOBLOCK, copy=False)
    except zmq.Again:
        return None
    frames: list[memoryview] = []
    dropped = 0
    while frame.more:
        frame = router.recv(_NOBLOCK, copy=False)
        if len(frames) <= m.FRAMES_MAX:
            frames.append(frame.buffer)
        else:
            dropped += 1
    return first, frames, len(frames) + dropped


def monitored(monitor: Socket, flags: int = 0) -> tuple[int, int]:
    """The next event that the monitor of a socket tells of, and its value. Raises `zmq.Again`.

    `zmq.utils.monitor` has the like, and imports asyncio, which takes a tenth of the time to start a process.
    """
    event, value = struct.unpack_from("=HI", monitor.recv_multipart(flags)[0])
    return event, value


class Waiting:
    """Waits for sockets and descriptors; after a short wait it stays awake for a moment of the next one.

    To fall asleep and be woken takes much of a small round (measured: 0.1 to 0.3 of 0.8 ms). While awake it
    offers its core to everybody else.
    """

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._was_short = False

    def add(self, one: Socket | int) -> None:
        self._poller.register(one, zmq.POLLIN)

    def remove(self, one: Socket | int) -> None:
        self._poller.unregister(one)

    def wait(self, timeout_s: float, may_stay_awake: bool = True) -> dict[Any, int]:
        """What can be read from now, or within `timeout_s`."""
        began = time.monotonic()
        ready: dict[Any, int] = {}
        if self._was_short and may_stay_awake:
            until = began + min(AWAKE_S, timeout_s)
            while not (ready := dict(self._poller.poll(0))) and time.monotonic() < until:
                os.sched_yield()
        if not ready:
            ready = dict(self._poller.poll(math.ceil(timeout_s * 1000)))
        self._was_short = time.monotonic() < began + AWAKE_S
        return ready


def _prepare(socket: Socket, url: str, linger_ms: int) -> None:
    options: dict[int, Any] = {
        zmq.LINGER: linger_ms,
        zmq.SNDHWM: QUEUE_MESSAGES,
        # ZeroMQ 4.3.5 aborts where a connection breaks while its queue is full and a sign of life is due.
        # What a peer may have under way is bounded by its bytes and by credit instead.
        zmq.RCVHWM: 0,
        zmq.MAXMSGSIZE: max(m.HEADER_BYTES, m.CHUNK_BYTES_MAX),
        zmq.HANDSHAKE_IVL: HANDSHAKE_MS,
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_KEEPALIVE_IDLE: SILENCE_MS // 1000,
        zmq.TCP_KEEPALIVE_INTVL: SILENCE_MS // 1000,
        zmq.TCP_KEEPALIVE_CNT: 3,
    }
    for option, value in options.items():
        socket.setsockopt(option, value)
    host, _ = address.split(url) or ("", 0)
    socket.setsockopt(zmq.IPV6, address.needs_ipv6(host))
