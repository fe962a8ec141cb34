"""Whose each message is, where there are keys: the key that the connection was made with, and no other.

A ROUTER knows its peers by identities that they choose themselves. With keys, an identity holds the
fingerprint of the key, so that nobody is heard, or written to, as somebody else.
"""

import zmq

from paramserver.admission.authorised import Authorised
from paramserver.admission.roles import Peer
from ps_common.errors import Impersonation
from ps_common.keys import FINGERPRINT_BYTES

KNOWN_MAX = 10_000  # senders; whoever draws identities all the time must not fill memory


class Identities:
    """Who the senders of a server are, if only those come in who are authorised."""

    def __init__(self, authorised: Authorised) -> None:
        self._authorised = authorised
        self._peers: dict[str, tuple[Peer, bytes]] = {}  # user id -> whose it is, and the fingerprint
        self._senders: dict[bytes, str] = {}  # -> user id

    def peer_of(self, sender: bytes, first: zmq.Frame) -> Peer | None:
        """Whose a message is, by its first frame; None: of a key that has been revoked.

        Raises `Impersonation` where the identity is not one of that key.
        """
        user = first.get("User-Id")
        if user not in self._authorised.users:
            return None
        known = self._peers.get(user) or self._meet(user)
        peer, fingerprint = known
        if sender[1 : 1 + FINGERPRINT_BYTES] != fingerprint:
            raise Impersonation(
                peer.name,
                f"{peer.name} has sent something as {sender.hex()}, an identity that is not its own",
            )
        if self._senders.get(sender) != user:
            if len(self._senders) >= KNOWN_MAX:
                self._senders.pop(next(iter(self._senders)))
            self._senders[sender] = user
        return peer

    def take_revoked(self) -> list[tuple[bytes, Peer]]:
        """The senders whose keys have been revoked since this was last asked."""
        users = self._authorised.users
        revoked = [(sender, user) for sender, user in self._senders.items() if user not in users]
        for sender, _ in revoked:
            del self._senders[sender]
        return [(sender, self._peers[user][0]) for sender, user in revoked]

    def _meet(self, user: str) -> tuple[Peer, bytes]:
        role, name, fingerprint = user.split(":")
        known = Peer(name, role), bytes.fromhex(fingerprint)
        self._peers[user] = known
        return known
