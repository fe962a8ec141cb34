"""What tables share: numbers are converted exactly or not at all; ids do not depend on the order of names."""

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import strategies as st

from ps_common.data.table import Categories, Unknown, converted, misfit, pairs_of
from ps_common.errors import UsageError

TYPES = ["int8", "uint8", "int64", "uint64", "float16", "float32", "float64"]


def fits(value, dtype):
    """Whether one number fits a type, by Python's own numbers."""
    number = value.item()
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        return (
            number == number
            and abs(number) != np.inf
            and number == int(number)
            and bounds.min <= number <= bounds.max
        )
    with np.errstate(over="ignore"):
        return abs(number) == np.inf or not np.isinf(dtype.type(number))


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(
    values=st.sampled_from(TYPES).flatmap(lambda t: hnp.arrays(t, st.integers(0, 6))),
    name=st.sampled_from(TYPES),
)
def test_a_conversion_is_exact_or_refused_with_the_first_that_does_not_fit(values, name):
    dtype = np.dtype(name)
    good = [fits(value, dtype) for value in values]
    out = converted(values, dtype)
    if all(good):
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(out, values.astype(dtype), strict=True)
    else:
        assert out is None
        assert misfit(values, dtype) == good.index(False)


def test_complex_numbers_become_no_others():
    assert converted(np.array([1 + 0j]), np.dtype("float32")) is None


@hypothesis.given(st.lists(st.text(max_size=2), min_size=1), st.integers(1, 9))
def test_names_that_are_met_have_their_places_in_order(names, block):
    met = Categories("a", None)
    ids = np.concatenate(
        [met.ids(names[i : i + block], np.dtype("int16")) for i in range(0, len(names), block)]
    )
    met.put_in_order([ids])
    assert met.names == sorted(set(names))
    assert [met.names[i] for i in ids] == names


def test_names_that_are_given_keep_their_order():
    given = Categories("a", ["b", "a"])
    ids = given.ids(["a", "b", "a"], np.dtype("float32"))
    given.put_in_order([ids])
    np.testing.assert_array_equal(ids, np.float32([1, 0, 1]), strict=True)
    with pytest.raises(Unknown) as caught:
        given.ids(["a", "c", "d"], np.dtype("int8"))
    assert caught.value.at == 1


@pytest.mark.parametrize("setting", [{"a": None, 2: ["x"]}, [("a", None), [2, ["x"]]], ["a", (2, ["x"])]])
def test_columns_and_what_is_said_of_them_may_be_a_dict_or_its_plain_form(setting):
    assert pairs_of(setting, "categories") == [("a", None), (2, ["x"])]


@pytest.mark.parametrize("setting", ["a", 3, [("a",)], [(None, 3)], [["a", "b", "c"]]])
def test_what_is_neither_is_refused(setting):
    with pytest.raises(UsageError, match="categories must be a dict by column"):
        pairs_of(setting, "categories")
