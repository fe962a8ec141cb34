"""A TCP proxy with faults: what a network can do to connections, switched on and off while it runs.

    with Proxy("tcp://127.0.0.1:5555") as proxy:
        start_worker("--master", proxy.address)
        proxy.up.change(delay_s=0.05)
        proxy.cut()

It delays, withholds and loses, as networks do: what is lost is lost with the end of its connection. It never
changes, repeats or reorders a byte, nor leaves one out before another that it delivers. What it holds is
bounded: beyond that, whoever sends is made to wait.
"""

import asyncio
import contextlib
import dataclasses
import random
import socket
import struct
import threading
import urllib.parse
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Literal, Self

PIECE_BYTES = 16 * 1024  # taken at once: 6 ms at 20 Mbit/s
HELD_BYTES = 8 * 2**20  # of one connection in one direction; then its sender has to wait
LINKS_MAX = 256
CALL_S = 10.0  # for the proxy's own thread to do as told
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST

Side = Literal["caller", "target"]


class Way:
    """One direction of all connections, and what is wrong with it."""

    def __init__(self, call: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self.passed = 0  # bytes delivered
        self.held = 0  # bytes taken and not delivered yet
        self.cuts = 0  # made by `cut_after`
        self.delay_s = self.jitter_s = 0.0
        self.bytes_per_s: float | None = None
        self._cut_at: int | None = None  # of `passed`
        self._open = asyncio.Event()
        self._open.set()
        self._free_at = 0.0  # the moment at which the last piece has left
        self._rng = random.Random(1)
        self._call = call

    def change(
        self, *, delay_s: float = 0.0, jitter_s: float = 0.0, bytes_per_s: float | None = None
    ) -> None:
        """Deliver so late, plus up to `jitter_s` more, and so many bytes a second, from now on."""

        async def change() -> None:
            self.delay_s, self.jitter_s, self.bytes_per_s = delay_s, jitter_s, bytes_per_s

        self._call(change())

    def hold(self) -> None:
        """Take everything and deliver nothing, until `let_go`: a black hole, or one way of a partition."""

        async def hold() -> None:
            self._open.clear()

        self._call(hold())

    def let_go(self) -> None:
        """Deliver what was held, late, and go on."""

        async def let_go() -> None:
            self._open.set()

        self._call(let_go())

    def cut_after(self, nbytes: int) -> None:
        """Deliver so many bytes more, then end the connection that goes beyond by RST."""

        async def cut_after() -> None:
            self._cut_at = self.passed + nbytes

        self._call(cut_after())

    # -- in the proxy's thread ------------------------------------------------------------------------

    def due(self, before: float) -> float:
        """When a piece that comes now is to be delivered, at the earliest; never before the one before it."""
        now = asyncio.get_running_loop().time()
        return max(before, now + self.delay_s + self.jitter_s * self._rng.random())

    async def turn(self, due: float, nbytes: int) -> None:
        """Wait until a piece may be delivered."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, due - loop.time()))
        if self.bytes_per_s is not None:
            self._free_at = max(loop.time(), self._free_at) + nbytes / self.bytes_per_s
            await asyncio.sleep(max(0.0, self._free_at - loop.time()))
        await self._open.wait()

    def allowance(self, nbytes: int) -> int:
        """How many of so many bytes may be delivered before the connection is cut."""
        if self._cut_at is None:
            return nbytes
        left = max(0, self._cut_at - self.passed)
        if left >= nbytes:
            return nbytes
        self._cut_at, self.cuts = None, self.cuts + 1  # one connection is enough
        return left


class _CutError(Exception):
    """The connection ends here."""


@dataclasses.dataclass(eq=False)
class _Link:
    """One connection of a caller, and the one to the target that belongs to it."""

    caller: socket.socket
    target: socket.socket
    task: asyncio.Task[None] | None = None

    def close(self, side: Side, is_reset: bool) -> None:
        one = self.caller if side == "caller" else self.target
        with contextlib.suppress(OSError):
            if is_reset:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            else:
                one.shutdown(socket.SHUT_RDWR)
        one.close()


class Proxy:
    """Listens on a port of this machine for as long as it is open, and passes connections on to `target`.

    up: the way from whoever calls to the target. down: the way back.
    """

    def __init__(self, target: str) -> None:
        url = urllib.parse.urlsplit(target)
        self._target = (url.hostname or "127.0.0.1", url.port or 0)
        self._loop = asyncio.new_event_loop()
        self._links: set[_Link] = set()
        # Bound for as long as the proxy lives, so that nobody takes the port while it refuses.
        self._place = _bound(0)
        self._port: int = self._place.getsockname()[1]
        self._listening: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.up, self.down = Way(self._call), Way(self._call)
        self.accept()

    @property
    def address(self) -> str:
        """Where to connect to instead of the target."""
        return f"tcp://127.0.0.1:{self._port}"

    @property
    def links(self) -> int:
        """Connections that are open, on both sides or on one."""
        return len(self._links)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every connection and the thread."""
        self.refuse()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_S)
        assert not self._thread.is_alive(), "the proxy's thread goes on"
        self._loop.close()
        self._place.close()

    # -- faults ---------------------------------------------------------------------------------------

    def refuse(self) -> None:
        """Refuse new connections; those that are there go on."""
        self._call(self._refuse())

    def accept(self) -> None:
        """Take new connections again."""
        self._call(self._accept())

    def cut(self, *, is_reset: bool = True) -> None:
        """End all connections, by RST or FIN; new ones are taken."""
        self._call(self._cut(is_reset))

    def forget(self, side: Side) -> None:
        """Leave all connections half open: one side's end, the other side is not told, nor answered."""
        self._call(self._forget(side))

    # -- in the proxy's thread ------------------------------------------------------------------------

    def _call(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(CALL_S)

    async def _accept(self) -> None:
        if self._listening is None:
            listener = _bound(self._port)
            listener.listen(64)
            self._listening = self._loop.create_task(self._listen(listener))

    async def _refuse(self) -> None:
        task, self._listening = self._listening, None
        if task is not None:
            await _ended(task)

    async def _listen(self, listener: socket.socket) -> None:
        with listener:
            while True:
                caller, _ = await self._loop.sock_accept(listener)
                if len(self._links) >= LINKS_MAX:
                    caller.close()
                    continue
                link = _Link(caller, _socket())
                self._links.add(link)
                link.task = self._loop.create_task(self._serve(link))

    async def _serve(self, link: _Link) -> None:
        """Pass on what comes, both ways, until both have ended or one is broken."""
        is_reset = True
        link.caller.setblocking(False)
        link.caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.sock_connect(link.target, self._target)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(link.caller, link.target, self.up))
                pumps.create_task(self._pump(link.target, link.caller, self.down))
            is_reset = False
        except asyncio.CancelledError:
            return  # whoever cancels it closes what is to be closed
        except (OSError, ExceptionGroup) as error:
            _expect_broken(error)
        link.close("caller", is_reset)
        link.close("target", is_reset)
        self._links.discard(link)

    async def _pump(self, source: socket.socket, sink: socket.socket, way: Way) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(HELD_BYTES // PIECE_BYTES - 2)
        reading = self._loop.create_task(self._read(source, pieces, way))
        held = 0
        try:
            while True:
                due, piece = await pieces.get()
                held = len(piece)
                await way.turn(due, held)
                allowed = way.allowance(held)
                await self._loop.sock_sendall(sink, piece[:allowed])
                way.passed += allowed
                way.held -= held
                held = 0
                if allowed < len(piece):
                    raise _CutError
                if not piece:
                    sink.shutdown(socket.SHUT_WR)
                    await reading
                    return
        finally:
            await _ended(reading)
            way.held -= held
            while not pieces.empty():
                way.held -= len(pieces.get_nowait()[1])

    async def _read(
        self, source: socket.socket, pieces: asyncio.Queue[tuple[float, bytes]], way: Way
    ) -> None:
        due = 0.0
        while True:
            try:
                piece = await self._loop.sock_recv(source, PIECE_BYTES)
            except OSError:  # it was reset: the other side is told when what came before has gone
                piece = b""
            due = way.due(due)
            await pieces.put((due, piece))
            way.held += len(piece)
            if not piece:
                return

    async def _cut(self, is_reset: bool) -> None:
        for link in list(self._links):
            await self._stop(link)
            link.close("caller", is_reset)
            link.close("target", is_reset)
            self._links.discard(link)

    async def _forget(self, side: Side) -> None:
        for link in list(self._links):
            await self._stop(link)
            if link not in self._links:
                continue  # it has ended by itself
            link.close(side, is_reset=True)
            link.task = self._loop.create_task(
                self._swallow(link, "target" if side == "caller" else "caller")
            )

    async def _stop(self, link: _Link) -> None:
        if link.task is not None:
            await _ended(link.task)

    async def _swallow(self, link: _Link, side: Side) -> None:
        """Take what a forgotten side sends, until it gives up."""
        one = link.caller if side == "caller" else link.target
        try:
            while await self._loop.sock_recv(one, PIECE_BYTES):
                pass
        except OSError:
            pass
        except asyncio.CancelledError:
            return
        link.close(side, is_reset=True)
        self._links.discard(link)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])


def _expect_broken(error: BaseException) -> None:
    """Raise it again, unless all it says is that a connection is broken."""
    errors = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
    for one in errors:
        if isinstance(one, BaseExceptionGroup):
            _expect_broken(one)
        elif not isinstance(one, OSError | _CutError):
            raise error


def _socket() -> socket.socket:
    one = socket.socket()
    one.setblocking(False)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


def _bound(port: int) -> socket.socket:
    one = socket.socket()
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("127.0.0.1", port))
    return one
