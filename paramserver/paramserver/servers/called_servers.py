"""The averaging servers that a master calls: a connection to each, and the processes of those it has started.

It must not know what is said to them.
"""

from collections.abc import Iterator, Sequence

import zmq

from paramserver.servers.averagers import Averagers
from paramserver.serving import Serving
from ps_common import address, sockets
from ps_common.arrays import HostArray
from ps_common.caller import Caller
from ps_common.keys import Bundle, draw_identity
from ps_common.sockets import Socket


class CalledServers:
    """Connected to all that `serving` names or has started; none where the master averages by itself.

    bound, reached: where the master listens, and by what workers reach it: servers of this machine do
    likewise. key: the pair of the run's servers, if there are keys. addresses: where workers find them.
    Iterate over it for the connections, in order.
    """

    def __init__(
        self, context: zmq.Context[Socket], serving: Serving, bound: str, reached: str, key: Bundle | None,
        log_format: str, linger_ms: int,
    ) -> None:  # fmt: skip
        self._processes: Averagers | None = None
        self.addresses = own = serving.servers
        if serving.averagers > 1:
            bind_host, _ = address.split(bound) or ("", 0)
            host, _ = address.split(reached) or ("", 0)
            self._processes = Averagers(serving.averagers, bind_host, host, log_format, serving.keys)
            self._processes.start()
            self.addresses, own = self._processes.addresses, self._processes.own_addresses
        identity = draw_identity(b"m", key)
        self._callers = [
            Caller(context, url, linger_ms, identity, key, "the averaging server") for url in own
        ]

    def __iter__(self) -> Iterator[Caller]:
        return iter(self._callers)

    def tell(self, server: int, header: bytes, payloads: Sequence[HostArray]) -> None:
        sockets.send(self._callers[server].socket, [header, *(part.data for part in payloads)])

    def why_not(self) -> str:
        """Why one of them will never let this process in; empty where that is not known."""
        return next(filter(None, (caller.why_not() for caller in self._callers)), "")

    def ended(self) -> list[tuple[int, str]]:
        """Which processes have ended since this was last asked, and how."""
        return [] if self._processes is None else self._processes.ended()

    def restart(self, server: int) -> None:
        if self._processes is not None:
            self._processes.restart(server)

    def close(self) -> None:
        """Close the connections; what was said last is still sent while the context ends."""
        for caller in self._callers:
            caller.close()

    def end(self) -> None:
        """End the processes."""
        if self._processes is not None:
            self._processes.close()
