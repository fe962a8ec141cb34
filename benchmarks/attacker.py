"""Attacks a master until it is stopped: python attacker.py ATTACK URL"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from ps_common import messages as m
from ps_common.wire import encode
from support_zmtp import GREETING, RawPeer, message

CONNECTIONS = 500
PAUSE_S = 0.1
PLACE = "127.0.9.1"  # an address of this machine that no worker calls from
NEAR = "127.0.0.1"  # the one that they call from
BURST = 500  # messages sent at once
JOIN = encode(m.Join(m.PROTOCOL, "attacker", "nowhere", 1, "cpu", "", "numpy 0"))
BEAT = encode(m.Heartbeat(0, 0))


def half_open(address: str) -> None:
    """As many connections as that, half of which stop in the middle of the greeting; for a second."""
    with contextlib.ExitStack() as stack:
        for number in range(CONNECTIONS):
            peer = stack.enter_context(RawPeer(address))
            if number % 2:
                peer.push(GREETING[:13])
        time.sleep(1.0)


def sloth(address: str) -> None:
    """Join, ask for all weights, and read nothing; for a second."""
    with RawPeer(address) as peer:
        peer.shake_hands()
        peer.send(JOIN)
        for version in range(100):
            peer.send(encode(m.Pull(version, (0, 1, 2, 3))))
            time.sleep(0.01)


def flood(address: str, header: bytes, place: str | None) -> None:
    """Say the same until the connection is ended. place: where it comes from; None: another each time."""
    burst = message(header) * BURST
    with RawPeer(address, os.urandom(8), place) as peer:
        peer.shake_hands()
        peer.socket.settimeout(PAUSE_S)  # who is cut off may find that nobody reads, and no more
        while peer.push(burst):
            pass


ATTACKS: dict[str, Callable[[str], None]] = {
    "half-open": half_open,
    "sloth": sloth,
    "joins": lambda address: flood(address, JOIN, PLACE),
    "beats": lambda address: flood(address, BEAT, PLACE),
    "many-joins": lambda address: flood(address, JOIN, None),
    "many-beats": lambda address: flood(address, BEAT, None),
    "near-joins": lambda address: flood(address, JOIN, NEAR),
    "near-beats": lambda address: flood(address, BEAT, NEAR),
}


def main(attack: str, address: str) -> None:
    while True:
        with contextlib.suppress(OSError, AssertionError):  # it is not let in, or not any more
            ATTACKS[attack](address)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
