"""What inputs must be, and how what is wrong is named."""

import numpy as np
import pytest

from ps_common.errors import DataError
from ps_worker.nn.inputs import check_finite, check_indexes


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ([1.0, np.nan], "test data: sample 1 has the input nan, but a model takes finite numbers"),
        ([[1, 2], [3, -np.inf]], "test data: sample 1 has the input -inf at (1,), but a model takes"),
        ([[[1, 2], [np.inf, 4]], [[5, 6], [7, 8]]], "test data: sample 0 has the input inf at (1, 0), but"),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_first_number_that_is_none_is_named_with_its_place(x: list[float], said: str, dtype: str) -> None:
    with pytest.raises(DataError) as caught:
        check_finite("test data", np.array(x, dtype))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("x", [np.ones((3, 2)), np.full((2, 2), 255, np.uint8), np.empty((0, 4))])
def test_finite_numbers_pass(x: np.ndarray) -> None:
    check_finite("train data", x)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (
            [0, 4, 5],
            "train data: sample 1 has the input 4, but L looks up whole numbers from 0 to 3; give v=6",
        ),
        ([0, -1, 3], "train data: sample 1 has the input -1, but L looks up whole numbers from 0 to 3; mend"),
    ],
)
def test_indexes_beyond_a_table_are_named_with_the_size_it_takes(x: list[int], said: str) -> None:
    with pytest.raises(DataError) as caught:
        check_indexes("train data", np.array(x), 4, "L", "v")
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("x", [np.arange(4), np.arange(4.0), np.arange(4, dtype=np.uint8), np.empty(0, int)])
def test_indexes_of_a_table_pass(x: np.ndarray) -> None:
    check_indexes("train data", x, 4, "L", "v")
