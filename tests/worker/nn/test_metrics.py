"""Metrics: figures by hand, additive over batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common.errors import ShapeMismatch
from ps_common.fields import Field
from ps_worker import nn

LOGITS = np.array([[3.0, 1, 2], [0, 5, 1], [1, 0, -1], [0, 1, 2]])

CASES = [
    (nn.Accuracy(), LOGITS, np.array([0, 1, 2, 2], np.uint8), 0.75),
    (nn.Accuracy(), np.array([[2.0], [-1], [0.5], [-3]]), np.array([1, 0, 0, 1]), 0.5),
    (nn.Accuracy(), np.array([[2.0], [-1], [0.5]]), np.array([[1], [0], [1]]), 1.0),
    (nn.Accuracy(), np.array([[2.0, -1], [-3, 4], [1, 1]]), np.array([[1, 0], [1, 1], [0, 0]]), 0.5),
    (nn.MeanSquaredError(), np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 0], [0, 4]]), (4 + 9) / 4),
    (nn.MeanSquaredError(), np.array([[1.0], [3]]), np.array([2, 6], np.uint8), (1 + 9) / 2),
    (nn.MeanAbsoluteError(), np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 0], [0, 5]]), (2 + 3 + 1) / 4),
    (nn.MeanAbsoluteError(), np.array([[1.0], [3]]), np.array([2, 6], np.uint8), (1 + 3) / 2),
]


def figure(metric: nn.Metric, output: np.ndarray, target: np.ndarray) -> float:
    numerator, denominator = metric.sums(output, target)
    return float(numerator) / float(denominator)


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
    assert float(first[0] + second[0]) / float(first[1] + second[1]) == expected


def test_names() -> None:
    metrics = (nn.Accuracy(), nn.MeanSquaredError(), nn.MeanAbsoluteError())
    assert [m.name for m in metrics] == ["accuracy", "mean_squared_error", "mean_absolute_error"]


@pytest.mark.parametrize(
    ("metric", "output", "target"),
    [
        (nn.Accuracy(), (10,), ()),
        (nn.Accuracy(), (1,), ()),
        (nn.Accuracy(), (1,), (1,)),
        (nn.Accuracy(), (3,), (3,)),
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
