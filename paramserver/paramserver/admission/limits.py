"""What one connection, one address and all of them together may cost a server. Arithmetic only.

Whoever stays within the protocol is far from every limit: each is what an honest peer can need at its most,
and a generous margin. What happens beyond a limit is said with it.
"""

import dataclasses

from paramserver.settings import Settings
from ps_common.messages import CHUNK_BYTES, CHUNK_BYTES_MAX, HEADER_BYTES, WINDOW

OWN_FILES = 128  # descriptors kept for this process itself: logs, checkpoints, data, averaging servers
UNDER_WAY_MAX = 256 * 2**20  # to an averaging server from one worker, whatever a master says
SHORT_BYTES = 256 * 2**10  # a failure's traceback is the longest header but for a layout
STRANGER_BYTES = 2304  # of which Linux makes twice as many; some messages at a time
FILES_OF_WORKER = 4  # its connection, its process, and two vectors of its memory


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a server's connections. Defaults are a master's with default settings, but for strangers.

    Connections:
    connections_max: of all addresses together; one more is shut at once. Each has a descriptor.
    address_share: the part of them that one address may hold, so that others find room.
    pending_max, pending_of_address_max: connections that have said nothing valid yet. One more, and the
        oldest of them (of that address) is shut: who is honest says its first word within milliseconds.
    silent_s: after which a connection that has said nothing valid is shut. A worker joins at once.
    arrivals_per_s, arrivals_burst: new connections of one address; one more is shut at once, and comes again.
        A cluster that starts behind one address is let in within seconds.
    wary_s, wary_arrivals_per_s: after a flood from an address, so few new ones of it for so long.
    stranger_bytes: what the kernel may receive ahead of a connection from where nobody takes part, until it
        does; 0: what it likes. So little comes of a flood before it is seen. First words are short.

    Messages, of one connection; `first` is the burst of one that is new, on which nothing can have piled up:
    joins_per_s, joins_burst: a worker asks four times a second. Looks and orders count as joins: who watches
        a run looks once a second.
    beats_per_s, beats_burst: heartbeats; the burst is what may have piled up while nobody listened.
    requests_per_s, requests_burst: everything else that needs no credit, a token for each `REQUEST_BYTES`
        of header. The fastest worker makes a round in half a millisecond, of four messages at most.
    joins_of_all_per_s, joins_of_all_burst: of all connections: a join costs more than other messages, and a
        look five times as much.
        Dropped is what is above; nothing of it is decoded.
    dropped_max, flood_s: dropped messages, or time for which some were, after which the connection is shut.

    Bytes received and not taken yet:
    chunk_bytes: the longest payload.
    message_bytes: of one message that has not come whole, the largest there is. ZeroMQ bounds frames, and not
        how many there are: a message without an end would fill memory. Beyond it is shut.
    bytes_max: of one connection: more than all that it may have under way. Beyond it is shut.
    bytes_of_all, bytes_each: the same of all together, and what is added for each that has said something
        valid. Beyond it the largest is shut.
    frame_bytes: what a frame costs at most beside its content. noise_bytes_per_s: signs of life of the
        connection itself, which are no messages.

    Payloads sent and not read yet:
    vectors_max: different vectors (versions) that one connection may keep in memory; vectors_of_all_max: all
        together. Beyond the first it is sent nothing of another; beyond the second the oldest is shut.
    rows_bytes_max, rows_bytes_of_all: the same of rows of data, in bytes; of a block at a time always.
    unread_s: after which a connection that has read nothing of what is sent to it is shut.
    oldest_s: after which it is, if it reads, but so slowly.
    """

    connections_max: int = 1000
    address_share: float = 0.75
    pending_max: int = 512
    pending_of_address_max: int = 256
    silent_s: float = 10.0
    arrivals_per_s: float = 200.0
    arrivals_burst: float = 512.0
    wary_s: float = 30.0
    wary_arrivals_per_s: float = 0.5
    stranger_bytes: int = 0
    joins_per_s: float = 4.0
    joins_burst: float = 64.0
    joins_first: float = 8.0
    beats_per_s: float = 28.0
    beats_burst: float = 840.0
    beats_first: float = 28.0
    requests_per_s: float = 10_000.0
    requests_burst: float = 10_000.0
    requests_first: float = 2_500.0
    joins_of_all_per_s: float = 500.0
    joins_of_all_burst: float = 1_000.0
    dropped_max: int = 100
    flood_s: float = 3.0
    chunk_bytes: int = CHUNK_BYTES
    message_bytes: int = HEADER_BYTES + CHUNK_BYTES
    bytes_max: int = HEADER_BYTES + 9 * 2**20
    bytes_of_all: int = 128 * 2**20
    bytes_each: int = 4 * 2**20
    frame_bytes: int = 64
    noise_bytes_per_s: float = 128.0
    vectors_max: int = 3
    vectors_of_all_max: int = 8
    rows_bytes_max: int = 8 * 2**20
    rows_bytes_of_all: int = 128 * 2**20
    unread_s: float = 30.0
    oldest_s: float = 300.0

    @classmethod
    def of_master(cls, settings: Settings, files: int) -> "Limits":
        """Those of a master; files: how many descriptors this process may have open."""
        under_way = settings.window * settings.chunk_bytes
        beats_per_s = 20.0 + 4.0 / settings.heartbeat_interval_s
        return cls(
            **_counts(files),
            stranger_bytes=STRANGER_BYTES,
            beats_per_s=beats_per_s,
            beats_burst=30.0 * beats_per_s,
            beats_first=beats_per_s,
            chunk_bytes=settings.chunk_bytes,
            message_bytes=HEADER_BYTES + settings.chunk_bytes,
            bytes_max=HEADER_BYTES + 2 * under_way + 2**20,
            bytes_each=under_way,
            rows_bytes_max=2 * under_way,
        )

    @classmethod
    def of_averaging_server(
        cls, files: int, chunk_bytes: int = CHUNK_BYTES, window: int = WINDOW
    ) -> "Limits":
        """Those of an averaging server, which learns from its master how large chunks are, and how many come.

        Workers connect long before they have anything to say to it, and the first word is long: a layout.
        """
        under_way = min(window * chunk_bytes, UNDER_WAY_MAX)
        return cls(
            **_counts(files),
            silent_s=3600.0,
            chunk_bytes=CHUNK_BYTES_MAX,
            message_bytes=HEADER_BYTES + chunk_bytes,
            bytes_max=HEADER_BYTES + 2 * under_way + 2**20,
            bytes_each=under_way,
        )

    def without_layouts(self, chunk_bytes: int) -> "Limits":
        """The same, when the layout is known: no other header is long."""
        return dataclasses.replace(
            self, message_bytes=chunk_bytes + SHORT_BYTES, bytes_max=self.bytes_max - HEADER_BYTES
        )

    @property
    def longest_frame_bytes(self) -> int:
        """Of a header or a chunk. Who announces more is shut by ZeroMQ, before it makes room for it."""
        return max(HEADER_BYTES, self.chunk_bytes)

    @property
    def of_address_max(self) -> int:
        return max(1, int(self.address_share * self.connections_max))


def _counts(files: int) -> dict[str, int]:
    """Limits on numbers of connections, if each was a worker of this machine."""
    most = max(16, (files - OWN_FILES) // FILES_OF_WORKER)
    return {
        "connections_max": most,
        "pending_max": min(Limits.pending_max, most // 2),
        "pending_of_address_max": min(Limits.pending_of_address_max, most // 4),
    }
