"""Settings out of bounds name word, field, bound and value."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from ps_common.errors import UsageError
from ps_worker.nn.bounds import check_count, check_number


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "1", None])
def test_a_number_must_lie_above_its_bound(value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        check_number(SimpleNamespace(rate=value), "rate", above=0)
    assert str(caught.value) == f"SimpleNamespace: rate must be a number > 0, got {value!r}"


def test_bounds_are_open_or_closed_as_stated() -> None:
    for value in (0, 0.999):
        check_number(SimpleNamespace(rate=value), "rate", at_least=0, below=1)
    for value in (-1e-9, 1):
        with pytest.raises(UsageError, match="must be a number >= 0 and < 1"):
            check_number(SimpleNamespace(rate=value), "rate", at_least=0, below=1)


@pytest.mark.parametrize("value", [0, -3, 1.0, True, "5"])
def test_a_count_is_a_whole_number_of_at_least_one(value: Any) -> None:
    check_count(SimpleNamespace(inputs=1), "inputs")
    with pytest.raises(UsageError, match="inputs must be a whole number >= 1"):
        check_count(SimpleNamespace(inputs=value), "inputs")
