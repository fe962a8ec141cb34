"""Losses: values by the naive formula, gradients by finite differences, extremes and messages."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common.arrays import Array
from ps_common.errors import DataError, ShapeMismatch, UsageError
from ps_common.fields import Field
from ps_worker import nn
from support_gradients import assert_close, numeric_gradient

N = 5


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


CASES = [
    (nn.MSE(), rng().normal(size=(N, 3)), rng().random((N, 3))),
    (nn.MSE(), rng().normal(size=(N, 2, 2)), rng().random((N, 2, 2))),
    (nn.MSE(), rng().normal(size=(N, 1)), rng().random(N)),
    (nn.MSE(), rng().normal(size=N), rng().integers(0, 9, N)),
    (nn.SoftmaxCrossEntropy(), rng().normal(size=(N, 4)), rng().integers(0, 4, N)),
    (nn.SoftmaxCrossEntropy(), rng().normal(size=(N, 3, 4)), rng().integers(0, 4, (N, 3))),
    (nn.SoftmaxCrossEntropy(ignore=9), rng().normal(size=(N, 3, 4)), rng().integers(0, 4, (N, 3))),
    (nn.MSE(skip_missing=True), rng().normal(size=(N, 3)), rng().random((N, 3))),
    (nn.SigmoidCrossEntropy(skip_missing=True), rng().normal(size=(N, 3)), rng().random((N, 3))),
    (nn.SigmoidCrossEntropy(), rng().normal(size=(N, 3)), rng().integers(0, 2, (N, 3))),
    (nn.SigmoidCrossEntropy(), rng().normal(size=(N, 1)), rng().integers(0, 2, N)),
    (nn.SigmoidCrossEntropy(), rng().normal(size=(N, 1)), rng().random((N, 1))),
]


def naive(loss: nn.Loss, output: list[float], target: list[float]) -> float:
    """The loss of one sample, from its definition."""
    if isinstance(loss, nn.MSE):
        return sum((o - t) ** 2 for o, t in zip(output, target, strict=True)) / len(output)
    if isinstance(loss, nn.SoftmaxCrossEntropy):
        steps, size = len(target), len(output) // len(target)
        each = [output[t * size : (t + 1) * size] for t in range(steps)]
        shares = [math.exp(o[int(t)]) / sum(map(math.exp, o)) for o, t in zip(each, target, strict=True)]
        return -sum(map(math.log, shares)) / steps
    shares = [1 / (1 + math.exp(-o)) for o in output]
    each = [-t * math.log(s) - (1 - t) * math.log(1 - s) for s, t in zip(shares, target, strict=True)]
    return sum(each) / len(each)


@pytest.mark.parametrize(("loss", "output", "target"), CASES)
def test_value_is_the_sum_over_samples(loss: nn.Loss, output: np.ndarray, target: np.ndarray) -> None:
    expected = sum(
        naive(loss, np.ravel(o).tolist(), np.ravel(t).tolist()) for o, t in zip(output, target, strict=True)
    )
    for value in (loss.value(output, target), loss.value_and_gradient(output, target)[0]):
        assert isinstance(value, np.ndarray)
        assert (value.shape, value.dtype) == ((), np.float64)
        assert_close(value, expected, str(loss))


@pytest.mark.parametrize(("loss", "output", "target"), CASES)
def test_gradient_is_that_of_the_mean(loss: nn.Loss, output: np.ndarray, target: np.ndarray) -> None:
    given_output, given_target = output.copy(), target.copy()
    _, gradient = loss.value_and_gradient(output, target)
    assert gradient.shape == output.shape
    assert_close(gradient, numeric_gradient(lambda: float(loss.value(output, target)) / N, output), str(loss))
    np.testing.assert_array_equal(output, given_output)
    np.testing.assert_array_equal(target, given_target)


@pytest.mark.parametrize(("loss", "output", "target"), CASES)
def test_float32_stays_float32_whatever_the_target(
    loss: nn.Loss, output: np.ndarray, target: np.ndarray
) -> None:
    value, gradient = loss.value_and_gradient(output.astype(np.float32), target)
    assert gradient.dtype == np.float32
    exact_value, exact = loss.value_and_gradient(output, target)
    np.testing.assert_allclose(value, exact_value, rtol=1e-5)
    np.testing.assert_allclose(gradient, exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("loss", "output", "target"), CASES)
def test_batches_add_up_to_their_data_set(loss: nn.Loss, output: np.ndarray, target: np.ndarray) -> None:
    parts = loss.value(output[:2], target[:2]) + loss.value(output[2:], target[2:])
    assert_close(parts, loss.value(output, target), str(loss))
    assert float(loss.value(output[:0], target[:0])) == 0


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "uint32", "int64", "uint64", "float32"])
def test_labels_of_any_dtype(dtype: str) -> None:
    loss, output, labels = nn.SoftmaxCrossEntropy(), rng().normal(size=(N, 4)), rng().integers(0, 4, N)
    expected_value, expected = loss.value_and_gradient(output, labels)
    value, gradient = loss.value_and_gradient(output, labels.astype(dtype))
    assert value == expected_value
    np.testing.assert_array_equal(gradient, expected)


def test_labels_above_127_are_not_wrapped() -> None:
    output = np.zeros((1, 300))
    output[0, 200] = 10
    value, gradient = nn.SoftmaxCrossEntropy().value_and_gradient(output, np.array([200], np.uint8))
    assert float(value) < 0.02
    assert gradient.argmin() == 200


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_at_extreme_logits(dtype: str) -> None:
    big = 1e30 if dtype == "float32" else 1e300
    output = np.array([[big, 0, -big], [-big, -big, -big], [1e4, 1e4, 0], [0, -1e4, 0]], dtype)
    right = np.array([0, 1, 0, 1])
    value, gradient = nn.SoftmaxCrossEntropy().value_and_gradient(output, right)
    np.testing.assert_allclose(float(value), 0 + math.log(3) + math.log(2) + 1e4 + math.log(2), rtol=1e-6)
    expected = np.array([[0, 0, 0], [1, -2, 1], [-1.5, 1.5, 0], [1.5, -3, 1.5]]) / 3 / 4
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_at_extreme_logits(dtype: str) -> None:
    output = np.array([[1e30], [-1e30], [1e30], [-1e30]], dtype)
    value, gradient = nn.SigmoidCrossEntropy().value_and_gradient(output, np.array([1, 0, 0, 1]))
    np.testing.assert_allclose(float(value), 2e30, rtol=1e-6)
    np.testing.assert_array_equal(gradient, [[0], [0], [0.25], [-0.25]])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=5), st.floats(-1e4, 1e4))
def test_softmax_sees_only_differences_of_logits(logits: list[float], shift: float) -> None:
    output, labels = np.array([logits]), np.array([1])
    loss = nn.SoftmaxCrossEntropy()
    np.testing.assert_allclose(loss.value(output + shift, labels), loss.value(output, labels), atol=1e-10)
    gradient = loss.value_and_gradient(output, labels)[1]
    assert abs(gradient.sum()) < 1e-12


@settings(deadline=None, max_examples=50)
@given(st.floats(-40, 40), st.integers(0, 1))
def test_two_logits_and_one_logit_agree(logit: float, label: int) -> None:
    one = nn.SigmoidCrossEntropy().value(np.array([[logit]]), np.array([label]))
    two = nn.SoftmaxCrossEntropy().value(np.array([[0.0, logit]]), np.array([label]))
    np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("loss", "output", "field", "said"),
    [
        (nn.MSE(), (3,), Field("y", "float32", (4,)), ["MSE", "(3,)", "y: (4,) float32"]),
        (nn.MSE(), (3,), Field("y", "float32", ()), ["MSE", "(3,)", "y: () float32"]),
        (nn.MSE(), (1,), Field("y", "U3", ()), ["MSE needs numbers", "y: () U3"]),
        (
            nn.SigmoidCrossEntropy(),
            (2,),
            Field("y", "int64", ()),
            ["SigmoidCrossEntropy", "(2,)", "y: () int64"],
        ),
        (nn.SoftmaxCrossEntropy(), (10,), Field("y", "float32", (10,)), ["y: (10,) float32", "argmax"]),
        (nn.SoftmaxCrossEntropy(), (1,), Field("y", "int64", ()), ["(1,)", "y: () int64", "SigmoidCross"]),
        (nn.SoftmaxCrossEntropy(), (4, 5), Field("y", "int64", ()), ["(4, 5)", "y: () int64"]),
        (nn.SoftmaxCrossEntropy(), (), Field("y", "int64", ()), ["output is (classes,)"]),
        (nn.SoftmaxCrossEntropy(), (6, 5), Field("y", "int64", (7,)), ["(6, 5)", "y: (7,) int64", "steps"]),
    ],
)
def test_what_does_not_fit_is_named_with_both_shapes(
    loss: nn.Loss, output: nn.Shape, field: Field, said: list[str]
) -> None:
    with pytest.raises(ShapeMismatch) as caught:
        loss.check(output, field)
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "output", "field"),
    [
        (nn.MSE(), (3,), Field("y", "float64", (3,))),
        (nn.MSE(), (1,), Field("y", "int32", ())),
        (nn.SigmoidCrossEntropy(), (1,), Field("y", "uint8", ())),
        (nn.SigmoidCrossEntropy(), (1,), Field("y", "bool", (1,))),
        (nn.SoftmaxCrossEntropy(), (10,), Field("y", "uint8", ())),
        (nn.SoftmaxCrossEntropy(), (6, 10), Field("y", "uint8", (6,))),
    ],
)
def test_what_fits_passes(loss: nn.Loss, output: nn.Shape, field: Field) -> None:
    loss.check(output, field)


@pytest.mark.parametrize(
    ("loss", "output", "target", "message"),
    [
        (nn.SoftmaxCrossEntropy(), (3,), [0, 2, 3, -1], "test.y: sample 2 has the target 3, but .* 0 to 2"),
        (nn.SoftmaxCrossEntropy(), (3,), [0, -1], "sample 1 has the target -1"),
        (nn.SoftmaxCrossEntropy(), (3,), [0.0, 1.5], "sample 1 has the target 1.5"),
        (nn.SoftmaxCrossEntropy(), (3,), [0.0, 2.0, math.nan], "sample 2 has the target nan"),
        (nn.SoftmaxCrossEntropy(), (2, 3), [[0, 1], [2, 3]], "sample 1 has the target 3, but .* 0 to 2$"),
        (nn.SoftmaxCrossEntropy(ignore=-1), (3,), [0, -1, -2], "sample 2 .* labels 0 to 2, and ignores -1"),
        (nn.SigmoidCrossEntropy(skip_missing=True), (1,), [0, math.nan, 2], "sample 2 has the target 2"),
        (nn.MSE(skip_missing=True), (1,), [0, math.nan, math.inf], "sample 2 has the target inf"),
        (nn.SigmoidCrossEntropy(), (1,), [0, 1, 2], "sample 2 has the target 2, but .*0, 1"),
        (nn.SigmoidCrossEntropy(), (1,), [-1, 1], "sample 0 has the target -1"),
        (nn.SigmoidCrossEntropy(), (2,), [[0, 1], [0.5, math.nan]], "sample 1 has the target nan"),
        (nn.MSE(), (2,), [[0, 1], [3, math.inf]], "sample 1 has the target inf, but MSE needs finite"),
    ],
)
def test_targets_that_cannot_be_name_sample_and_value(
    loss: nn.Loss, output: nn.Shape, target: list[float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        loss.check_targets(np.array(target), output, "test.y")


@pytest.mark.parametrize(
    ("loss", "output", "target"),
    [
        (nn.SoftmaxCrossEntropy(), (3,), np.array([0, 1, 2], np.uint8)),
        (nn.SoftmaxCrossEntropy(), (3,), np.array([0.0, 2.0])),
        (nn.SoftmaxCrossEntropy(ignore=-100), (3,), np.array([0, 2, -100])),
        (nn.SoftmaxCrossEntropy(ignore=-100), (3,), np.array([0, 2], np.uint8)),
        (nn.SoftmaxCrossEntropy(ignore=255), (2, 3), np.array([[0, 255]], np.uint8)),
        (nn.MSE(skip_missing=True), (1,), np.array([math.nan, 1.0])),
        (nn.MSE(skip_missing=True), (1,), np.array([2, 1])),
        (nn.SigmoidCrossEntropy(skip_missing=True), (1,), np.array([math.nan, 1.0])),
        (nn.SoftmaxCrossEntropy(), (300,), np.array([0, 255], np.uint8)),
        (nn.SigmoidCrossEntropy(), (1,), np.array([True, False])),
        (nn.MSE(), (1,), np.array([3, 4], np.int16)),
        (nn.MSE(), (1,), np.empty(0)),
    ],
)
def test_targets_that_can_be_pass(loss: nn.Loss, output: nn.Shape, target: np.ndarray) -> None:
    loss.check_targets(target, output, "test.y")


MASKED = [
    (nn.SoftmaxCrossEntropy(ignore=-1), rng().normal(size=(N, 4)), np.array([0, -1, 3, -1, 2]), -1),
    (nn.SoftmaxCrossEntropy(ignore=2), rng().normal(size=(N, 3, 4)), rng().integers(0, 4, (N, 3)), 2),
    (nn.MSE(skip_missing=True), rng().normal(size=(N, 3)), rng().random((N, 3)), math.nan),
    (nn.SigmoidCrossEntropy(skip_missing=True), rng().normal(size=(N, 3)), rng().random((N, 3)), math.nan),
]
for _, _, some, left_out in MASKED[2:]:
    some[[0, 3, 3], [1, 0, 2]] = left_out


@pytest.mark.parametrize(("loss", "output", "target", "left_out"), MASKED)
def test_what_does_not_count_is_as_if_it_were_not_there(
    loss: nn.Loss, output: np.ndarray, target: np.ndarray, left_out: float
) -> None:
    counted = ~np.isnan(target) if math.isnan(left_out) else target != left_out
    alone = type(loss)()
    mean, gradient = alone.value_and_gradient(output[counted], target[counted])
    if isinstance(loss, nn.SoftmaxCrossEntropy):
        mean = mean / counted.sum()
    else:  # a flat batch of numbers
        mean, gradient = alone.value_and_gradient(output[counted][:, None], target[counted][:, None])
        mean, gradient = mean / counted.sum(), gradient[:, 0]
    value, found = loss.value_and_gradient(output, target)
    assert_close(value, N * mean, f"value of {loss}")
    assert_close(loss.value(output, target), N * mean, f"value alone of {loss}")
    assert_close(found[counted], gradient, f"gradient of {loss}")
    assert not found[~counted].any()
    assert loss.value_and_gradient(output.astype(np.float32), target)[1].dtype == np.float32


@pytest.mark.parametrize(("loss", "output", "target", "left_out"), MASKED)
def test_a_batch_of_which_nothing_counts_has_loss_0(
    loss: nn.Loss, output: np.ndarray, target: np.ndarray, left_out: float
) -> None:
    value, gradient = loss.value_and_gradient(output, np.full_like(target, left_out))
    assert float(value) == 0
    assert not gradient.any()


@pytest.mark.parametrize("ignore", [True, 0.5, "0"])
def test_a_label_to_ignore_is_a_whole_number(ignore: Any) -> None:
    with pytest.raises(UsageError, match="SoftmaxCrossEntropy: ignore must be a whole number or None, got "):
        nn.SoftmaxCrossEntropy(ignore=ignore)


def test_a_users_own_loss_needs_one_method() -> None:
    @dataclasses.dataclass(frozen=True)
    class Linear(nn.Loss):
        def value_and_gradient(self, output: Array, target: Array) -> tuple[Array, Array]:
            return np.asarray(output.sum()), np.full_like(output, 1 / len(output))

    assert float(Linear().value(np.ones((2, 1)), np.ones(2))) == 2
    Linear().check((1,), Field("y", "float32", ()))
    with pytest.raises(ShapeMismatch, match="Linear needs numbers"):
        Linear().check((1,), Field("y", "U1", ()))
    with pytest.raises(DataError, match="Linear needs finite numbers"):
        Linear().check_targets(np.array([math.nan]), (1,), "train.y")
