"""A port that stays a run's own while its master is away."""

import socket

from ps_common import address


class ReservedPort:
    """Bound, never listened at: others are given other ports, and a master that asks for this one gets it.

    Without it, a port that was chosen for a master may be somebody else's by the time that it is started
    again. Who binds it must share it (SO_REUSEADDR), as ZeroMQ does. Where the port cannot be reserved,
    because it is in use or the host is none of this machine's, `url` stays as it was, and whoever binds it
    says what is wrong.
    """

    def __init__(self, url: str) -> None:
        """url: tcp://host:port to listen at; for port 0 one is chosen."""
        self.url = url
        self._socket: socket.socket | None = None
        parts = address.split(url)
        if parts is None:
            return
        host, port = parts
        family = socket.AF_INET6 if address.needs_ipv6(host) else socket.AF_INET
        held = socket.socket(family)
        try:
            if family == socket.AF_INET6:
                held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # as ZeroMQ has it
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("" if host == "*" else host, port))
        except (OSError, UnicodeError):
            held.close()
            return
        self._socket = held
        self.url = address.join(host, held.getsockname()[1])

    def close(self) -> None:
        """Give it back."""
        if self._socket is not None:
            self._socket.close()
