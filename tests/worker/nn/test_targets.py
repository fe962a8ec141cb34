"""How outputs and targets fit."""

import numpy as np
import pytest

from ps_common.errors import DataError, ShapeMismatch
from ps_common.fields import Field
from ps_worker.nn.targets import align, check_numbers, check_pairs, check_values, pairs_up


def test_align_never_broadcasts() -> None:
    output = np.zeros((3, 1), np.float32)
    aligned = align(np.arange(3, dtype=np.uint8), output)
    assert aligned.shape == (3, 1)
    assert aligned.dtype == np.float32
    with pytest.raises(ValueError, match="reshape"):
        align(np.arange(4), output)


@pytest.mark.parametrize(
    ("output", "target", "fits"),
    [
        ((3,), (3,), True),
        ((2, 3), (2, 3), True),
        ((1,), (), True),
        ((), (), True),
        ((3,), (), False),
        ((3,), (4,), False),
        ((6,), (2, 3), False),
        ((), (1,), False),
    ],
)
def test_pairs(output: tuple[int, ...], target: tuple[int, ...], fits: bool) -> None:
    assert pairs_up(output, target) == fits
    field = Field("y", "float32", target)
    if fits:
        check_pairs("MSE", output, field, "do this")
    else:
        with pytest.raises(ShapeMismatch) as caught:
            check_pairs("MSE", output, field, "do this")
        assert str(output) in str(caught.value)
        assert str(field) in str(caught.value)
        assert str(caught.value).endswith("do this")


def test_targets_are_numbers() -> None:
    for dtype in ("uint8", "bool", "float16", "int64"):
        check_numbers("MSE", Field("y", dtype, ()))
    for dtype in ("U5", "datetime64[s]", "complex64"):
        with pytest.raises(ShapeMismatch, match="MSE needs numbers as targets, got y: "):
            check_numbers("MSE", Field("y", dtype, ()))


def test_the_first_bad_sample_is_named() -> None:
    target = np.array([[1, 2], [3, 4], [5, 6], [7, 8]])
    with pytest.raises(DataError, match=r"^train, shard 3: sample 2 has the target 6, but it is too large$"):
        check_values("train, shard 3", target, target < 6, "it is too large")
    check_values("train", target, target < 9, "it is too large")
    check_values("train", target[:0], target[:0] < 9, "it is too large")
