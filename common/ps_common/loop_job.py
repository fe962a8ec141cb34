"""A run for training loops of the users' own: what the master knows of it, which is little."""

import dataclasses
from typing import ClassVar

from ps_common.errors import UsageError
from ps_common.job import DataDescription, DataSource, Description
from ps_common.own_loop import OwnLoop
from ps_common.plan import Plan
from ps_common.vocabulary import to_plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopJob:
    """A job without model and data: its workers connect from their own loops (`paramserver.connect`).

    plan: shards and epochs; `batch_size` and `local_steps` are what the loops are told. samples: of an epoch.
    rounds: of an epoch, where the samples are not known. seed: of the order of the samples.
    """

    plan: Plan
    samples: int | None = None
    rounds: int | None = None
    seed: int = 0
    train: ClassVar[DataSource | None] = None  # the master has no data to send
    test: ClassVar[DataSource | None] = None

    def __post_init__(self) -> None:
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise UsageError(f"the seed must be an integer from 0 to 2^63-1, not {self.seed!r}")

    def describe(self, code: str = "", overrides: dict[str, str] | None = None) -> Description:
        """This run as plain data. Raises `UsageError` or `DataError` where samples and shards do not fit."""
        own = OwnLoop(self.samples, self.rounds)
        shards = self.plan.shards if isinstance(self.plan.shards, int) else len(self.plan.shards)
        samples = self.samples if self.rounds is None else shards * self.rounds  # one nominal a unit
        description = Description(
            model=to_plain(own),
            loss=None,
            optimizer=None,
            regularizer=None,
            metrics=[],
            figures={},
            plan=dataclasses.replace(self.plan, data="shared"),  # each loop has its own
            seed=self.seed,
            train=DataDescription({"kind": "own"}, samples or 0, (), ""),
            test=None,
            code=code,
            overrides=dict(overrides or {}),
        )
        _ = description.schedule
        return description
