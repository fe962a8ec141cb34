"""Strikes the process that it is loaded into, once, at one exact moment.

Python imports a module of this name when it starts, where PYTHONPATH holds its folder. The product has no
switch for this: its functions are wrapped from outside. What to do is JSON in STRIKE, see strikes.py; it is
taken out of the environment, so that processes that this one starts are spared.
"""

import functools
import importlib
import json
import os
import signal
from collections.abc import Callable
from typing import Any

import zmq

from ps_common import sockets
from ps_common.wire import decode


def seen_in_send(arguments: tuple[Any, ...], result: Any) -> str:
    """The message that is sent; a ROUTER's first frame says to whom."""
    socket, frames = arguments
    return repr(decode(frames[1:] if socket.socket_type == zmq.ROUTER else frames))


def seen_in_receive(arguments: tuple[Any, ...], result: Any) -> str:
    """The message that was received, and is not handled yet; empty where there was none."""
    return "" if result is None else repr(decode(result))


def seen_at_door(arguments: tuple[Any, ...], result: Any) -> str:
    """The same of a server."""
    return "" if result is None else repr(decode(result.frames))


def seen_in_call(arguments: tuple[Any, ...], result: Any) -> str:
    return repr(arguments)


def wrapped(
    function: Callable[..., Any], see: Callable[..., str], strike: dict[str, Any]
) -> Callable[..., Any]:
    """The function, but that the process is struck before or after its n-th call that is meant."""
    left = strike["count"]

    def look(arguments: tuple[Any, ...], result: Any) -> None:
        nonlocal left
        if left and strike["holding"] in see(arguments, result):
            left -= 1
            if not left:
                for name in strike["signals"]:
                    os.kill(os.getpid(), signal.Signals[name])

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if strike["is_before"]:
            look(arguments, None)
            return function(*arguments, **named)
        result = function(*arguments, **named)
        look(arguments, result)
        return result

    return call


def arm(strike: dict[str, Any]) -> None:
    if strike["point"] == "sent":
        sockets.send = wrapped(sockets.send, seen_in_send, strike)
        return
    if strike["point"] == "received":
        sockets.receive = wrapped(sockets.receive, seen_in_receive, strike)
        door = importlib.import_module("paramserver.admission.door").Door
        door.receive = wrapped(door.receive, seen_at_door, strike)
        return
    module, _, name = strike["point"].partition(":")
    holder: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        holder = getattr(holder, part)
    setattr(holder, last, wrapped(getattr(holder, last), seen_in_call, strike))


if "STRIKE" in os.environ:
    arm(json.loads(os.environ.pop("STRIKE")))
