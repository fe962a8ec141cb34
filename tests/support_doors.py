"""A door that is open: a thread takes what comes by it, as a server's loop does, and answers it."""

import threading
import time
from typing import Self

import zmq

from paramserver.admission.door import Door
from paramserver.admission.limits import Limits
from ps_common import messages as m
from ps_common.errors import PeerError
from ps_common.wire import decode, encode

ALIVE = encode(m.Alive(1, 0.5))


class OpenDoor:
    """taken: kinds of the messages that came through, by sender. told: of whom, and what; shut: why."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._context = zmq.Context()
        self.door = Door(self._context, "tcp://127.0.0.1:0", 0, limits)
        self.address = self.door.address
        self.taken: dict[bytes, list[type[m.Message]]] = {}
        self.told: list[tuple[bytes, PeerError]] = []
        self.shut: list[str] = []
        self._is_over = False
        self._thread = threading.Thread(target=self._serve, name="open door")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over = True
        self._thread.join()
        self.door.close()
        self._context.term()

    def _serve(self) -> None:
        door = self.door
        while not self._is_over:
            began = time.monotonic()
            if not door.socket.poll(20):
                door.rest(began)
            received = door.receive()
            while door.complaints:
                self.told.append(door.complaints.pop())
            self.shut += door.look(time.monotonic())
            if received is None:
                continue
            try:
                message = decode(received.frames)
            except PeerError as error:
                self.told.append((received.sender, error))
                continue
            door.has_spoken(received.sender)
            self.taken.setdefault(received.sender, []).append(type(message))
            door.send([received.sender, ALIVE])
