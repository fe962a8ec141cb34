"""What a link carries: BYTES there and BYTES back at once over one plain TCP connection, no protocol at all.

`python stream.py listen HOST PORT BYTES TIMES` and `python stream.py connect ...`; the one that connects
prints the seconds of each time.
"""

import json
import socket
import sys
import threading
import time

import numpy as np

role, host, port, nbytes, times = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])


def exchange(link: socket.socket, out: np.ndarray, into: np.ndarray) -> None:
    sender = threading.Thread(target=link.sendall, args=(out,))
    sender.start()
    view, at = memoryview(into), 0
    while at < nbytes:
        at += link.recv_into(view[at:])
    sender.join()


out, into, seconds = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8), []
if role == "listen":
    with socket.create_server((host, port)) as server:
        link = server.accept()[0]
else:
    for _ in range(100):
        try:
            link = socket.create_connection((host, port))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
with link:
    for _ in range(times):
        began = time.perf_counter()
        exchange(link, out, into)
        seconds.append(time.perf_counter() - began)
if role == "connect":
    print(json.dumps({"seconds": seconds}))
