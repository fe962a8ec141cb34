"""The sockets of this project: a ROUTER for whoever is called, a DEALER for whoever calls; their options."""

import math
import os
import time
from collections.abc import Sequence
from typing import Any

import zmq

from ps_common import address
from ps_common import messages as m
from ps_common.errors import UsageError
from ps_common.wire import Buffer

QUEUE_MESSAGES = 256  # a peer's queue; a reader this far behind asks, or is asked, again later
HEARTBEAT_MS = 2000  # between two signs of life of a connection
SILENCE_MS = 10_000  # after which a connection counts as broken, and is made anew
AWAKE_S = 0.001  # two small rounds: who waits less in one of them may wait as little in the next

Socket = zmq.Socket[bytes]
_NOBLOCK, _NOBLOCK_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)  # enums are slow to combine


def router(context: zmq.Context[Socket], url: str, linger_ms: int) -> tuple[Socket, str]:
    """A socket bound to `url`, and that address with its real port. Raises `UsageError` where it cannot be.

    A message to somebody who is not there raises `zmq.ZMQError` instead of being dropped.
    """
    socket = context.socket(zmq.ROUTER)
    try:
        _prepare(socket, url, linger_ms)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        socket.bind(url)
    except zmq.ZMQError as error:
        socket.close()
        in_use = error.errno == zmq.EADDRINUSE
        reason = "is in use; stop what uses it or choose another port" if in_use else error
        raise UsageError(f"cannot bind {url}: the address {reason}") from error
    return socket, socket.getsockopt_string(zmq.LAST_ENDPOINT)


def dealer(context: zmq.Context[Socket], url: str, linger_ms: int, identity: bytes) -> Socket:
    """A socket that connects to `url`, again and again, and is known there as `identity`.

    identity: drawn anew by every process; it must not begin with 0.
    """
    socket = context.socket(zmq.DEALER)
    _prepare(socket, url, linger_ms)
    socket.setsockopt(zmq.ROUTING_ID, identity)
    socket.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing for who is not there
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
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
        zmq.RCVHWM: QUEUE_MESSAGES,
        zmq.MAXMSGSIZE: max(m.HEADER_BYTES, m.CHUNK_BYTES_MAX),
        zmq.TCP_KEEPALIVE: 1,
        zmq.HEARTBEAT_IVL: HEARTBEAT_MS,
        zmq.HEARTBEAT_TIMEOUT: SILENCE_MS,
    }
    for option, value in options.items():
        socket.setsockopt(option, value)
    host, _ = address.split(url) or ("", 0)
    socket.setsockopt(zmq.IPV6, address.needs_ipv6(host))
