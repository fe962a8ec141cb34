"""Which unit of work is what: the pure arithmetic of rounds, epochs and batches.

Round r belongs to epoch r // rounds_per_epoch. In it, shard s goes through its next `local_steps`
batches of the epoch; a shard that has none left sits the round out. So every sample of an epoch is
in exactly one unit, whatever the sizes of the shards and the number of workers.
"""

import dataclasses
import functools

from ps_common.shards import Shards


@dataclasses.dataclass(frozen=True)
class Schedule:
    """`shards` of the training data, batches of `batch_size` samples, `local_steps` batches a round."""

    shards: Shards
    batch_size: int
    local_steps: int
    epochs: int

    def batches(self, shard: int) -> int:
        """Number of batches of a shard in an epoch; the last may be short."""
        return -(-self.shards.size(shard) // self.batch_size)

    @functools.cached_property
    def rounds_per_epoch(self) -> int:
        is_dealt = self.shards.sizes is None  # then none is larger than the first
        most = max(self.batches(shard) for shard in range(1 if is_dealt else self.shards.count))
        return -(-most // self.local_steps)

    @property
    def rounds(self) -> int:
        return self.rounds_per_epoch * self.epochs

    def epoch(self, round_: int) -> int:
        return round_ // self.rounds_per_epoch

    def ends_epoch(self, round_: int) -> bool:
        return (round_ + 1) % self.rounds_per_epoch == 0

    def steps(self, round_: int, shard: int) -> range:
        """The numbers, within the epoch, of the batches of unit (round, shard); empty: it sits out."""
        first = round_ % self.rounds_per_epoch * self.local_steps
        return range(min(first, self.batches(shard)), min(first + self.local_steps, self.batches(shard)))

    def batches_before(self, round_: int, shard: int) -> int:
        """How many batches a shard has gone through in all epochs before a unit."""
        return self.epoch(round_) * self.batches(shard) + self.steps(round_, shard).start

    def positions(self, round_: int, shard: int) -> range:
        """The positions, in the epoch's shuffled order of the shard, of the unit's samples."""
        steps = self.steps(round_, shard)
        size = self.shards.size(shard)
        return range(min(steps.start * self.batch_size, size), min(steps.stop * self.batch_size, size))

    def samples(self, round_: int, shard: int) -> int:
        """The number of `positions`, without the detour over steps: asked several times a unit."""
        most = self.local_steps * self.batch_size
        left = self.shards.size(shard) - round_ % self.rounds_per_epoch * most
        return most if left > most else max(0, left)

    def rounds_of(self, shard: int) -> int:
        """In how many rounds of an epoch a shard takes part."""
        return -(-self.batches(shard) // self.local_steps)

    def units(self, round_: int) -> tuple[int, ...]:
        """The shards that take part in a round, in the order in which they are summed."""
        return tuple(s for s in range(self.shards.count) if self.samples(round_, s))
