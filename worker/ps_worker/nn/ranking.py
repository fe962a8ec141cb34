"""Metrics of order: whether the label is among the first, and whether positives come before negatives."""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from ps_common.arrays import Array, xp_of
from ps_common.errors import ShapeMismatch
from ps_common.fields import Field
from ps_common.figures import AREA_BINS
from ps_common.vocabulary import word
from ps_worker.nn.bounds import check_count
from ps_worker.nn.layer import Shape
from ps_worker.nn.metrics import Metric
from ps_worker.nn.targets import check_label, check_labels, check_numbers
from ps_worker.nn.totals import count, total

SCORE_MAX = 64.0  # σ(64) is 1 in float64: scores beyond are equal
SCORE_SCALE = 0.25


@word
@dataclasses.dataclass(frozen=True)
class TopK(Metric):
    """The share of labels that are among the k largest outputs.

    For labels 0 … classes - 1 of shape () and an output (classes,), or of any more axes: (steps,) and
    (steps, classes). Of equal outputs the first counts as the largest, so that k = 1 is `Accuracy`. A label
    equal to `ignore` is left out.
    """

    k: int = 5
    ignore: int | None = None

    def __post_init__(self) -> None:
        check_count(self, "k")
        check_label(self, "ignore")

    @property
    def name(self) -> str:
        return f"top_{self.k}_accuracy"

    def sums(self, output: Array, target: Array) -> tuple[Array, Array]:
        xp, classes = xp_of(output), output.shape[-1]
        scores, labels = output.reshape(-1, classes), target.reshape(-1, 1).astype(np.intp, copy=False)
        counted = None if self.ignore is None else labels[:, 0] != self.ignore
        if counted is not None:
            labels = xp.where(counted[:, None], labels, 0)
        own = xp.take_along_axis(scores, labels, axis=1)  # (n, 1): the label's output
        ahead = (scores > own) | ((scores == own) & (xp.arange(classes) < labels))
        right = ahead.sum(axis=1) < self.k
        return (total(right), count(right)) if counted is None else (total(right & counted), total(counted))

    def check(self, output: Shape, target: Field) -> None:
        check_labels("TopK", output, target)
        if self.k > output[-1]:
            raise ShapeMismatch(f"TopK: k is {self.k}, and the model gives {output} for {target}")


@word
@dataclasses.dataclass(frozen=True)
class AUC(Metric):
    """The area under the ROC curve: how often a positive sample has a higher score than a negative one.

    For targets 0 or 1, of shape () or (1,), and an output (1,): a logit or a probability; or of shape () and
    an output (2,), whose score is the second less the first. Scores are counted in bins, so that shards add
    up: those within 0.003 · (¼ + |score|) may share one, and beyond ±64 all are equal. A pair of one bin
    counts half, so the figure is off by at most half the share of pairs (positive, negative) that share one.
    """

    figure: ClassVar[str] = "area"

    @property
    def name(self) -> str:
        return "auc"

    def sums(self, output: Array, target: Array) -> tuple[Array]:
        """Positives by bin, then negatives by bin: (2 · AREA_BINS,)."""
        xp = xp_of(output)
        scores = output[:, 0] if output.shape[1] == 1 else output[:, 1] - output[:, 0]
        counts = xp.zeros(2 * AREA_BINS, np.float64)
        is_negative = target.reshape(-1) <= 0.5
        xp.add.at(counts, bins(scores) + AREA_BINS * is_negative, 1.0)
        return (counts,)

    def check(self, output: Shape, target: Field) -> None:
        check_numbers("AUC", target)
        if (output, target.shape) not in (((1,), ()), ((1,), (1,)), ((2,), ())):
            raise ShapeMismatch(
                f"AUC needs one score, (1,), or two logits, (2,), for each target 0 or 1; the model gives "
                f"{output}, the data {target}"
            )


def bins(scores: Array) -> Array:
    """The bin of each score, 0 to AREA_BINS - 1: of equal width on a scale that is linear near 0.

    The scale is sign(x) log(1 + |x| / ¼) / log(1 + 64 / ¼), which keeps the order: probabilities, logits and
    logits of rare events far from 0 are all told from each other.
    """
    xp = xp_of(scores)
    x = xp.clip(xp.nan_to_num(scores.astype(np.float64)), -SCORE_MAX, SCORE_MAX)  # NaN: the loss will tell
    place = xp.sign(x) * xp.log1p(xp.abs(x) / SCORE_SCALE) / math.log1p(SCORE_MAX / SCORE_SCALE)  # -1 to 1
    half = AREA_BINS // 2
    return xp.clip(xp.floor(place * half) + half, 0, AREA_BINS - 1).astype(np.intp)
