"""What sums are made into: by hand, and what has no figure."""

import dataclasses
import math
from typing import ClassVar

import pytest

from ps_common.errors import DataError, UsageError
from ps_common.figures import AREA_BINS, FIGURES, SUMS_MAX, figure, figures_of, sums_of, wrong_sums


def counts(positives: dict[int, float], negatives: dict[int, float]) -> list[float]:
    sums = [0.0] * (2 * AREA_BINS)
    for first, values in ((0, positives), (AREA_BINS, negatives)):
        for place, number in values.items():
            sums[first + place] = number
    return sums


@pytest.mark.parametrize(
    ("name", "sums", "expected"),
    [
        ("ratio", [3.0, 4.0], 0.75),
        ("ratio", [-3.0, 4.0], -0.75),
        ("root", [9.0, 4.0], 1.5),
        ("exponential", [3.0, 2.0], math.exp(1.5)),
        ("area", counts({5: 1.0}, {4: 1.0}), 1.0),
        ("area", counts({4: 1.0}, {5: 1.0}), 0.0),
        ("area", counts({4: 1.0}, {4: 1.0}), 0.5),
        ("area", counts({AREA_BINS - 1: 3.0, 0: 1.0}, {0: 2.0, 9: 2.0}), (3 * 4 + 1 * 2 / 2) / (4 * 4)),
    ],
)
def test_a_figure_is_what_its_name_says(name: str, sums: list[float], expected: float) -> None:
    assert not wrong_sums(name, sums)
    assert figure(name, sums) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("name", "sums"),
    [
        ("ratio", [3.0, 0.0]),
        ("ratio", [1e308, 1e-300]),
        ("root", [0.0, 0.0]),
        ("root", [-1.0, 1.0]),
        ("exponential", [1.0, 0.0]),
        ("exponential", [1000.0, 1.0]),
        ("area", counts({}, {4: 1.0})),
        ("area", counts({4: 1.0}, {})),
    ],
)
def test_what_counted_nothing_or_is_too_large_has_none(name: str, sums: list[float]) -> None:
    assert figure(name, sums) is None


@pytest.mark.parametrize("name", FIGURES)
def test_sums_that_cannot_be_are_told(name: str) -> None:
    size = FIGURES[name].size
    assert not wrong_sums(name, [0.0] * size)
    assert wrong_sums(name, [0.0] * (size - 1)).startswith(f"{size} finite numbers")
    assert wrong_sums(name, [0.0] * (size + 1))
    for wrong in (math.nan, math.inf, 1, "1", None, -1.0):
        assert wrong_sums(name, [*[0.0] * (size - 1), wrong])
    assert bool(wrong_sums(name, [-1.0, *[1.0] * (size - 1)])) == (name in ("root", "area"))


@dataclasses.dataclass(frozen=True)
class Mine:
    """A metric as a user writes one."""

    name: str
    figure: ClassVar[str] = "root"


@dataclasses.dataclass(frozen=True)
class Plain:
    name: str


class Other(Mine):
    figure: ClassVar[str] = "rot"


def test_a_metric_chooses_its_figure_and_a_ratio_by_default() -> None:
    assert figures_of([Mine("spread"), Plain("share")]) == {"spread": "root", "share": "ratio"}


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        ([Other("spread")], "there is no figure 'rot' to make of the sums of spread; did you mean 'root'?"),
        ([Plain("loss")], "no metric may be called 'loss'"),
        ([Plain("epoch")], "no metric may be called 'epoch'"),
        ([Plain("")], "a metric's name is a text of 1 to 256 characters, not ''"),
        ([Plain("a"), Mine("a")], "the job has two metrics called 'a'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(metrics: list[object], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        figures_of(metrics)
    assert told in str(caught.value)


def test_means_become_sums_that_become_the_means_again() -> None:
    sums = sums_of({"loss": 0.5, "bias": -2}, 8)
    assert sums == {"loss": [4.0, 8.0], "bias": [-16.0, 8.0]}
    assert [wrong_sums("ratio", one) for one in sums.values()] == ["", ""]
    assert [figure("ratio", one) for one in sums.values()] == [0.5, -2.0]


@pytest.mark.parametrize(
    ("means", "error", "told"),
    [
        ({"epoch": 1.0}, UsageError, "no metric may be called 'epoch'"),
        ({"": 1.0}, UsageError, "no metric may be called ''"),
        ({1: 1.0}, UsageError, "no metric may be called 1:"),
        ({"x" * 257: 1.0}, UsageError, "a name is a text of 1 to 256 characters"),
        ({str(i): 1.0 for i in range(SUMS_MAX + 1)}, UsageError, "at most 64 metrics, not 65"),
        ({"loss": math.nan}, DataError, "the metric loss is nan"),
        ({"loss": math.inf}, DataError, "the metric loss is inf"),
    ],
)
def test_means_that_no_record_takes_are_refused(
    means: dict[str, float], error: type[Exception], told: str
) -> None:
    with pytest.raises(error) as caught:
        sums_of(means, 8)
    assert told in str(caught.value)
