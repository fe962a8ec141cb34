"""What a cluster is made of: links, cores, disk, and what messages cost; by default nothing at all."""

import dataclasses
import math

from ps_common import messages as m


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds of a core, of the two threads of a process: its loop, and the one that moves bytes for it.

    handled_s, sent_s: of the loop, a message. checked_byte_s: of the loop, a byte of payload whose checksum
    is made or compared; summed_byte_s: one that is averaged. moved_s, moved_byte_s: of the other thread, a
    message and a byte of payload received or sent.
    """

    handled_s: float = 0.0
    sent_s: float = 0.0
    checked_byte_s: float = 0.0
    summed_byte_s: float = 0.0
    moved_s: float = 0.0
    moved_byte_s: float = 0.0

    def handling(self, kind: type[m.Message], nbytes: float) -> float:
        """Of the loop, for a message received with so many bytes of payload."""
        sums = kind is m.Chunk
        return self.handled_s + nbytes * (self.checked_byte_s + (self.summed_byte_s if sums else 0.0))

    def sending(self, kind: type[m.Message], nbytes: float) -> float:
        """Of the loop, for a message sent. Of weights, the checksum is made once a version, not a message."""
        return self.sent_s + nbytes * (self.checked_byte_s if kind is m.Chunk else 0.0)

    def moving(self, nbytes: float) -> float:
        """Of the thread that moves bytes."""
        return self.moved_s + nbytes * self.moved_byte_s


FREE = Costs()
MEASURED = Costs(
    # Two cores, Python 3.11, libzmq 4.3, loopback: a master with 256 light workers takes 49 us of core time a
    # message in or out (benchmarks/results, "Many workers"); of that, timed alone, 8 us are receiving, 10
    # decoding, 7 encoding and sending, and 1 to 2 us the thread that moves bytes.
    handled_s=60e-6,
    sent_s=20e-6,
    moved_s=3e-6,
    checked_byte_s=0.055e-9,  # xxh3 over chunks of 1 MiB out of 64 MiB
    summed_byte_s=0.18e-9,  # numpy's add of such a chunk, in blocks of 65,536 float32
    moved_byte_s=0.35e-9,  # messages of 1 MiB over TCP: 0.40 to receive, 0.28 to send
)


@dataclasses.dataclass(frozen=True)
class Hardware:
    """Of every host alike.

    bandwidth: of a host's link, bytes a second, each way. cores: of a host. costs: of messages.
    disk_bandwidth: of the disk that checkpoints go to, bytes a second. scale: how many bytes one byte of
    payload stands for, where a model is simulated on a small scale.
    """

    bandwidth: float = math.inf
    cores: float = math.inf
    costs: Costs = FREE
    disk_bandwidth: float = math.inf
    scale: int = 1
