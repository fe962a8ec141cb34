"""What the owner of a key may say, by its role; where there are no keys, nobody asks.

One table for master and averaging servers: each refuses by itself what is another's to take.
"""

import dataclasses
from typing import NamedTuple

from ps_common import messages as m
from ps_common.errors import BeyondRole

ASKS: tuple[type[m.Message], ...] = (m.Look, m.Order)  # `askers.py` decides, and says why not
MAY_SEND: dict[str, tuple[type[m.Message], ...]] = {
    "worker": (
        m.Join, m.Ready, m.Pull, m.Fetch, m.Push, m.Chunk, m.Heartbeat, m.Failed, m.Leave,
        *ASKS,
    ),
    "admin": ASKS,
    "status": ASKS,
    "server": (
        m.Serve, m.Open, m.Announce, m.Lend, m.Withdraw, m.Release, m.Finish, m.Check, m.Weights, m.Stop,
        m.Pull,  # of a version that it does not share the memory of
    ),
}  # fmt: skip


class Peer(NamedTuple):
    """Whose key a message came with: its name, and what it may do."""

    name: str
    role: str


def admit(peer: Peer, message: m.Message) -> m.Message:
    """The message, if the peer may send it; who joins has its key's name, whatever it says.

    Raises `BeyondRole`.
    """
    if not isinstance(message, MAY_SEND.get(peer.role, ())):
        what = type(message).__name__
        raise BeyondRole(peer.name, f"{peer.name} has a key of role {peer.role!r}, which may not send {what}")
    if isinstance(message, m.Join):
        return dataclasses.replace(message, name=peer.name)
    return message
