"""The ceiling over TCP: plain ZeroMQ returns the bytes of a round to their sender, nothing is computed.

Every worker sends its vector in chunks of 1 MiB and gets as many bytes back, sends and receives overlapping.
Started by `python echo.py server WORKERS PORT PLAN`, and with `worker` once a worker. Each worker tells
its own seconds; a barrier before each round makes all begin together.
"""

import sys
import time

import numpy as np
import zmq
from timing import Rounds, plan

CHUNK = 1 << 20
ROLE, WORKERS, PORT = sys.argv[1], int(sys.argv[2]), sys.argv[3]
PLAN = plan(sys.argv[4])


def serve(socket: zmq.Socket) -> None:
    socket.bind(f"tcp://127.0.0.1:{PORT}")
    waiting: list[bytes] = []  # who is done with the round before; may grow while others are not
    for size, count in PLAN:
        chunks, rounds = -(-4 * size // CHUNK), Rounds(size, count)
        for _ in rounds:
            returned, begun = 0, False
            while not begun or returned < WORKERS * chunks:
                sender, frame = socket.recv_multipart(copy=False)
                if len(frame.buffer):
                    socket.send_multipart([sender, frame], copy=False)
                    returned += 1
                    continue
                waiting.append(sender.bytes)
                if len(waiting) == WORKERS:
                    for who in waiting:
                        socket.send_multipart([who, b""])
                    waiting.clear()
                    begun = True
        rounds.tell(timed=False)


def work(socket: zmq.Socket) -> None:
    socket.connect(f"tcp://127.0.0.1:{PORT}")
    for size, count in PLAN:
        sent = np.ones(4 * size, np.uint8)
        received, rounds = np.empty_like(sent), Rounds(size, count)
        starts = range(0, sent.size, CHUNK)
        for _ in rounds:
            socket.send(b"")
            socket.recv()
            began = time.perf_counter()
            for start in starts:
                socket.send(sent[start : start + CHUNK].data, copy=False)
            for start in starts:
                received[start : start + CHUNK] = np.frombuffer(socket.recv(copy=False).buffer, np.uint8)
            rounds.seconds.append(time.perf_counter() - began)
        rounds.tell()


with zmq.Context() as context, context.socket(zmq.ROUTER if ROLE == "server" else zmq.DEALER) as socket:
    {"server": serve, "worker": work}[ROLE](socket)
