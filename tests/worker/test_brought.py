"""Arrays of several libraries as parts of one flat vector, there and back."""

import numpy as np
import pytest
import torch

from ps_common.errors import DataError, UsageError
from ps_common.layout import Entry
from ps_worker.brought import Brought, like


def values(*shape, dtype="float32"):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


def there_and_back(arrays, others):
    """Copy arrays to a vector, and from there to others of the same layout."""
    brought = Brought(arrays)
    vector = brought.layout.empty()
    brought.copy_to(vector)
    Brought(others).copy_from(vector)
    return vector


def test_names_shapes_and_dtypes_make_the_layout():
    brought = Brought({"w": values(3, 4), "b": values(4, dtype="float64")})
    assert brought.layout.entries == (Entry("w", (3, 4)), Entry("b", (4,), "float64"))
    assert [entry.name for entry in Brought([values(2), values(3)]).layout.entries] == ["0", "1"]
    assert [entry.name for entry in Brought(values(2)).layout.entries] == ["0"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numpy_arrays_go_there_and_back(dtype):
    arrays = {"w": values(3, 4, dtype=dtype), "step": np.array(2.5, dtype)}
    others = {name: np.zeros_like(array) for name, array in arrays.items()}
    there_and_back(arrays, others)
    for name, array in arrays.items():
        np.testing.assert_array_equal(others[name], array)


def test_an_array_need_not_be_contiguous():
    whole, other = values(4, 6), np.zeros((6, 4), np.float32)
    there_and_back([whole.T], [other])
    np.testing.assert_array_equal(other, whole.T)
    into = np.zeros((4, 6), np.float32)
    there_and_back([other], [into.T])
    np.testing.assert_array_equal(into, whole)


def test_torch_tensors_are_updated_in_place_also_those_with_a_gradient():
    weight = torch.nn.Parameter(torch.zeros(3, 4))
    half = torch.zeros(5, dtype=torch.float16)
    wanted = [values(3, 4), values(5, dtype="float16")]
    address = weight.data_ptr()
    Brought([weight, half]).require_writable()
    there_and_back(wanted, [weight, half])
    np.testing.assert_array_equal(weight.detach().numpy(), wanted[0])
    np.testing.assert_array_equal(half.numpy(), wanted[1])
    assert weight.data_ptr() == address
    there_and_back([weight, half], wanted := [np.zeros((3, 4), "float32"), np.zeros(5, "float16")])
    np.testing.assert_array_equal(wanted[0], weight.detach().numpy())


def test_new_arrays_are_held_as_the_old_ones():
    for arrays in ({"w": values(2), "b": values(3)}, [values(2)], (values(2), values(3)), values(2, 2)):
        brought = Brought(arrays)
        vector = brought.layout.empty()
        brought.copy_to(vector)
        made = like(arrays, brought.layout, vector)
        assert type(made) is type(arrays)
        again = Brought(made).layout.empty()
        Brought(made).copy_to(again)
        assert bytes(again) == bytes(vector)


def test_jax_arrays_can_be_read_and_are_refused_in_place():
    import jax.numpy as jnp

    brought = Brought({"w": jnp.ones((2, 3))})
    vector = brought.layout.empty()
    brought.copy_to(vector)
    assert list(vector.view("float32")[:6]) == [1.0] * 6
    with pytest.raises(UsageError, match=r"array w .* cannot be changed in place; paramserver\.jax"):
        brought.require_writable()


def test_a_read_only_array_is_refused_in_place():
    array = values(3)
    array.flags.writeable = False
    with pytest.raises(UsageError, match=r"array 0 .* cannot be changed"):
        Brought([array]).require_writable()


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ([], "no arrays"),
        ({"w": [1.0, 2.0]}, "array w is a list; give arrays"),
        ({"w": values(2), "n": np.arange(3)}, "array n is int64; what is averaged is float16"),
        ({"w": np.zeros(3, ">f4")}, "array w is >f4"),
        ({1: values(2)}, "named by strings"),
        ([torch.zeros(3, dtype=torch.bfloat16)], "array 0 .* cannot be seen"),
        ([torch.zeros(3, dtype=torch.int64)], "array 0 is int64"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused_by_name(arrays, told):
    with pytest.raises(UsageError, match=told):
        Brought(arrays)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_array_with_nan_or_infinity_is_refused_by_name(wrong, dtype):
    arrays = {"w": values(3, 4, dtype=dtype), "b": values(4, dtype=dtype)}
    arrays["b"][2] = wrong
    brought = Brought(arrays)
    with pytest.raises(DataError, match="array b holds NaN or infinity"):
        brought.require_finite()


def test_numbers_whose_squares_overflow_are_numbers():
    arrays = [np.full(4, 1e30, np.float32), np.full(3, 60_000, np.float16)]
    there_and_back(arrays, [array * 0 for array in arrays])
