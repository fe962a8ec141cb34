"""Rules of averaging: what the contributions to a round become. Words of a job's plan.

    Plan(shards=8, rule=rules.TrimmedMean(faulty=1))

`Mean` is for workers that are trusted to be right. The others withstand contributions that are wrong in
whatever way: `faulty` of a round, whoever sends them. They count every contribution alike, whatever its
samples, and need all of a round before they can tell anything. The arithmetic is in
`paramserver.averaging.robust`.
"""

import dataclasses
import math
from typing import ClassVar

from ps_common.errors import UsageError
from ps_common.spelling import nearest
from ps_common.vocabulary import word

FAULTY_MAX = 2**20


class Rule:
    """How a round is averaged.

    is_whole: whether it holds whole vectors against each other, so that no server with a stretch can do it.
    """

    is_whole: ClassVar[bool] = False
    faulty: int = 0  # contributions of a round that may be wrong

    @property
    def least(self) -> int:
        """Contributions that a round must have, for the rule to withstand the faulty ones: most are right."""
        return 2 * self.faulty + 1

    @property
    def name(self) -> str:
        return next(name for name, kind in BY_NAME.items() if kind is type(self))

    @property
    def promise(self) -> str:
        """For messages: what it withstands."""
        return f"{self.name} withstands {self.faulty} faulty contribution{'s' * (self.faulty > 1)}"

    def check(self, contributions: int) -> None:
        """Raise `UsageError` where a round has too few contributions."""
        if contributions < self.least:
            raise UsageError(
                f"the rule {self.promise} of {self.least} or more, and a round has {contributions}: "
                "take more shards, or another rule"
            )

    @classmethod
    def from_text(cls, text: str) -> "Rule":
        """The rule of that name, with its defaults. Raises `UsageError`."""
        if text not in BY_NAME:
            raise UsageError(f"there is no rule called {text!r}{nearest(text, BY_NAME)}")
        return BY_NAME[text]()

    def _check_faulty(self) -> None:
        if type(self.faulty) is not int or not 1 <= self.faulty <= FAULTY_MAX:
            raise UsageError(
                f"the rule {self.name}: faulty must be 1 to {FAULTY_MAX} contributions, not {self.faulty!r}; "
                "where none is faulty, take rules.Mean()"
            )


@word
@dataclasses.dataclass(frozen=True)
class Mean(Rule):
    """The mean, weighted by samples. A single faulty contribution makes of it what it likes.

    McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data".
    """


MEAN = Mean()


@word
@dataclasses.dataclass(frozen=True)
class Median(Rule):
    """The median of every coordinate.

    Yin et al. 2018, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", option I.

    faulty: contributions of a round that may be wrong; a round must have more than twice as many.
    """

    faulty: int = 1

    def __post_init__(self) -> None:
        self._check_faulty()


@word
@dataclasses.dataclass(frozen=True)
class TrimmedMean(Rule):
    """The mean of every coordinate without its `faulty` largest and `faulty` smallest values.

    Yin et al. 2018, as `Median`, option II, with faulty = β n.

    faulty: contributions of a round that may be wrong; a round must have more than twice as many.
    """

    faulty: int = 1

    def __post_init__(self) -> None:
        self._check_faulty()


@word
@dataclasses.dataclass(frozen=True)
class Krum(Rule):
    """The one contribution that is nearest to its neighbours; the others count for nothing.

    Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent".

    faulty: contributions of a round that may be wrong; a round must have more than 2 faulty + 2.
    """

    is_whole: ClassVar[bool] = True
    faulty: int = 1

    def __post_init__(self) -> None:
        self._check_faulty()

    @property
    def least(self) -> int:
        return 2 * self.faulty + 3


@word
@dataclasses.dataclass(frozen=True)
class MultiKrum(Rule):
    """The mean of the `chosen` contributions that are nearest to their neighbours.

    Blanchard et al. 2017, as `Krum`, section 4.

    faulty: contributions of a round that may be wrong; a round must have more than 2 faulty + 2.
    chosen: how many are averaged, at most those of the round without faulty + 2.
    """

    is_whole: ClassVar[bool] = True
    faulty: int = 1
    chosen: int = 2

    def __post_init__(self) -> None:
        self._check_faulty()
        if type(self.chosen) is not int or not 1 <= self.chosen <= FAULTY_MAX:
            raise UsageError(
                f"the rule {self.name}: chosen must be 1 to {FAULTY_MAX} contributions, not {self.chosen!r}"
            )

    @property
    def least(self) -> int:
        return max(2 * self.faulty + 3, self.chosen + self.faulty + 2)


@word
@dataclasses.dataclass(frozen=True)
class ClippedMean(Rule):
    """The mean of all, each moved away from the weights of the round before by at most `norm`.

    Karimireddy et al. 2021, "Learning from History for Byzantine Robust Optimization", centred clipping with
    the weights of the round before as centre, in one step; Sun et al. 2019, "Can You Really Backdoor
    Federated Learning?", norm thresholding.

    norm: in the L2 norm of all that is averaged. None: the median of the round's own norms.
    faulty: contributions of a round that may be wrong; a round must have more than twice as many. Each moves
        the average by at most norm / contributions, so this rule weakens them and does not leave them out.
    """

    is_whole: ClassVar[bool] = True
    norm: float | None = None
    faulty: int = 1

    def __post_init__(self) -> None:
        self._check_faulty()
        is_number = type(self.norm) in (int, float) and math.isfinite(self.norm or 0.0)
        if self.norm is not None and not (is_number and self.norm > 0):
            raise UsageError(
                f"the rule {self.name}: norm must be more than 0, or None for the median of the round's, "
                f"not {self.norm!r}"
            )


BY_NAME: dict[str, type[Rule]] = {
    "mean": Mean, "median": Median, "trimmed-mean": TrimmedMean, "krum": Krum, "multi-krum": MultiKrum,
    "clipped-mean": ClippedMean,
}  # fmt: skip
