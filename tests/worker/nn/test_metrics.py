"""Metrics: figures by hand, additive over batches."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common import figures
from ps_common.errors import ShapeMismatch, UsageError
from ps_common.fields import Field
from ps_worker import nn

LOGITS = np.array([[3.0, 1, 2], [0, 5, 1], [1, 0, -1], [0, 1, 2]])

CASES = [
    (nn.Accuracy(), LOGITS, np.array([0, 1, 2, 2], np.uint8), 0.75),
    (nn.Accuracy(ignore=2), LOGITS, np.array([0, 1, 2, 2], np.uint8), 1.0),
    (nn.Accuracy(ignore=-100), LOGITS, np.array([0, -100, 1, 0]), 1 / 3),
    (nn.Accuracy(), LOGITS.reshape(2, 2, 3), np.array([[0, 1], [2, 2]]), 0.75),
    (nn.Accuracy(ignore=1), LOGITS.reshape(2, 2, 3), np.array([[0, 1], [2, 2]]), 2 / 3),
    (nn.Accuracy(), np.array([[2.0], [-1], [0.5], [-3]]), np.array([1, 0, 0, 1]), 0.5),
    (nn.Accuracy(), np.array([[2.0], [-1], [0.5]]), np.array([[1], [0], [1]]), 1.0),
    (nn.Accuracy(), np.array([[2.0, -1], [-3, 4], [1, 1]]), np.array([[1, 0], [1, 1], [0, 0]]), 0.5),
    (nn.MeanSquaredError(), np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 0], [0, 4]]), (4 + 9) / 4),
    (nn.MeanSquaredError(), np.array([[1.0], [3]]), np.array([2, 6], np.uint8), (1 + 9) / 2),
    (nn.MeanAbsoluteError(), np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 0], [0, 5]]), (2 + 3 + 1) / 4),
    (nn.MeanAbsoluteError(), np.array([[1.0], [3]]), np.array([2, 6], np.uint8), (1 + 3) / 2),
    (
        nn.MeanSquaredError(skip_missing=True),
        np.array([[1.0, 2], [3, 4]]),
        np.array([[math.nan, 0], [0, math.nan]]),
        (4 + 9) / 2,
    ),
    (nn.MeanAbsoluteError(skip_missing=True), np.array([[1.0], [3]]), np.array([math.nan, 6]), 3),
    (nn.RMSE(skip_missing=True), np.array([[1.0], [3]]), np.array([math.nan, 6]), 3),
    (nn.RMSE(), np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 0], [0, 4]]), math.sqrt((4 + 9) / 4)),
    (nn.TopK(2), LOGITS, np.array([2, 2, 2, 1], np.uint8), 0.75),
    (nn.TopK(1), LOGITS, np.array([0, 1, 2, 2], np.uint8), 0.75),
]


def figure(metric: nn.Metric, output: np.ndarray, target: np.ndarray) -> float | None:
    return figures.figure(metric.figure, [float(part) for part in metric.sums(output, target)])


@pytest.mark.parametrize(("metric", "output", "target", "expected"), CASES)
def test_the_figure_is_right(
    metric: nn.Metric, output: np.ndarray, target: np.ndarray, expected: float
) -> None:
    assert figure(metric, output, target) == expected
    assert figure(metric, output.astype(np.float32), target) == expected


@pytest.mark.parametrize(("metric", "output", "target", "expected"), CASES)
@settings(deadline=None, max_examples=10)
@given(cut=st.integers(0, 4))
def test_batches_of_any_size_add_up(
    metric: nn.Metric, output: np.ndarray, target: np.ndarray, expected: float, cut: int
) -> None:
    first, second = metric.sums(output[:cut], target[:cut]), metric.sums(output[cut:], target[cut:])
    for part in first + second:
        assert isinstance(part, np.ndarray)
        assert (part.shape, part.dtype) == ((), np.float64)
    both = [float(a + b) for a, b in zip(first, second, strict=True)]
    assert figures.figure(metric.figure, both) == expected


def test_a_batch_of_which_nothing_counts_adds_nothing() -> None:
    right, counted = nn.Accuracy(ignore=1).sums(LOGITS, np.ones(4, int))
    assert (float(right), float(counted)) == (0, 0)


@pytest.mark.parametrize("ignore", [True, 0.5, "0"])
def test_a_label_to_ignore_is_a_whole_number(ignore: Any) -> None:
    with pytest.raises(UsageError, match="Accuracy: ignore must be a whole number or None, got "):
        nn.Accuracy(ignore=ignore)


def test_names() -> None:
    names = {m.name: m for m in (nn.Accuracy(), nn.MeanSquaredError(), nn.MeanAbsoluteError(), nn.RMSE())}
    assert list(names) == ["accuracy", "mean_squared_error", "mean_absolute_error", "rmse"]


@pytest.mark.parametrize(
    ("metric", "output", "target"),
    [
        (nn.Accuracy(), (10,), ()),
        (nn.Accuracy(), (1,), ()),
        (nn.Accuracy(), (1,), (1,)),
        (nn.Accuracy(), (3,), (3,)),
        (nn.Accuracy(), (6, 3), (6,)),
        (nn.MeanSquaredError(), (1,), ()),
        (nn.MeanAbsoluteError(), (2, 2), (2, 2)),
    ],
)
def test_what_fits_passes(metric: nn.Metric, output: nn.Shape, target: nn.Shape) -> None:
    metric.check(output, Field("y", "int64", target))


@pytest.mark.parametrize(
    ("metric", "output", "target"),
    [
        (nn.Accuracy(), (10,), (3,)),
        (nn.Accuracy(), (), (1,)),
        (nn.MeanSquaredError(), (10,), ()),
        (nn.MeanAbsoluteError(), (3,), (4,)),
        (nn.RMSE(), (3,), ()),
    ],
)
def test_what_does_not_fit_is_named_with_both_shapes(
    metric: nn.Metric, output: nn.Shape, target: nn.Shape
) -> None:
    with pytest.raises(ShapeMismatch) as caught:
        metric.check(output, Field("y", "int64", target))
    assert type(metric).__name__ in str(caught.value)
    assert str(output) in str(caught.value)
    assert f"y: {target} int64" in str(caught.value)


@pytest.mark.parametrize("metric", [nn.Accuracy(), nn.MeanSquaredError(), nn.MeanAbsoluteError()])
def test_text_is_no_target(metric: nn.Metric) -> None:
    with pytest.raises(ShapeMismatch, match="needs numbers"):
        metric.check((1,), Field("y", "U4", ()))
