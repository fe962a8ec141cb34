"""How surprised a model is by labels: its cross entropy in the units that language models are compared in."""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from ps_common.arrays import Array, xp_of
from ps_common.fields import Field
from ps_common.vocabulary import word
from ps_worker.nn.layer import Shape
from ps_worker.nn.losses import log_softmax
from ps_worker.nn.metrics import Metric
from ps_worker.nn.targets import check_label, check_labels
from ps_worker.nn.totals import count, total


@word
@dataclasses.dataclass(frozen=True)
class Perplexity(Metric):
    """e to the mean of -log softmax(o)[label]: as many equally likely labels would surprise as much.

    For labels of shape () and logits (classes,), or of any more axes: (steps,) and (steps, classes). The mean
    is over all labels of the data set but those equal to `ignore`.
    """

    figure: ClassVar[str] = "exponential"
    ignore: int | None = None

    def __post_init__(self) -> None:
        check_label(self, "ignore")

    @property
    def name(self) -> str:
        return "perplexity"

    def sums(self, output: Array, target: Array) -> tuple[Array, Array]:
        xp = xp_of(output)
        labels = target.reshape(-1).astype(np.intp, copy=False)
        log_share = log_softmax(output.reshape(-1, output.shape[-1]))
        if self.ignore is None:
            each = -log_share[xp.arange(len(labels)), labels]
            return total(each), count(each)
        counted = labels != self.ignore
        each = -log_share[xp.arange(len(labels)), xp.where(counted, labels, 0)]
        return total(xp.where(counted, each, 0)), total(counted)

    def check(self, output: Shape, target: Field) -> None:
        check_labels(type(self).__name__, output, target)


@word
@dataclasses.dataclass(frozen=True)
class BitsPerCharacter(Perplexity):
    """The mean of -log₂ softmax(o)[label], labels as for `Perplexity`: bits per label, whatever that is."""

    figure: ClassVar[str] = "ratio"

    @property
    def name(self) -> str:
        return "bits_per_character"

    def sums(self, output: Array, target: Array) -> tuple[Array, Array]:
        nats, labels = super().sums(output, target)
        nats /= math.log(2)
        return nats, labels
