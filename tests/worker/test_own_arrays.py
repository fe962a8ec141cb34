"""Values into the arrays of a user's own class and out of them, whoever made the arrays."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ps_common import arrays
from ps_common.errors import JobCodeError, UsageError
from ps_common.layout import Entry
from ps_worker.own_arrays import OwnArrays
from support_device_arrays import Array, Cupy


class Given:
    """Gives what it was made with."""

    def __init__(self, parameters: Any, buffers: Any = (), state: Any = ()) -> None:
        self.given = {"parameters": parameters, "buffers": buffers, "state": state}

    def parameters(self):
        return self.given["parameters"]

    def buffers(self):
        return self.given["buffers"]

    def state(self):
        return self.given["state"]


class Taking(Given):
    """Takes values by itself."""

    def load(self, parameters, buffers, state):
        self.taken = (parameters, buffers, state)


def w(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def test_every_array_has_its_name_its_shape_and_its_role():
    arrays = OwnArrays(Given({"w": w(2, 3), "b": w(3, dtype="float64")}, {"seen": w(1)}, {"w": w(2, 3)}))
    assert list(arrays.entries.values()) == [
        Entry("w", (2, 3), "float32", "weight"),
        Entry("b", (3,), "float64", "weight"),
        Entry("seen", (1,), "float32", "buffer"),
        Entry("state.w", (2, 3), "float32", "slot"),
    ]
    assert list(OwnArrays(Given([w(2), w(1)])).entries) == ["0", "1"]


@pytest.mark.parametrize(
    "made",
    [
        w,
        lambda *shape: w(*reversed(shape)).T,  # not contiguous
        lambda *shape: w(2 * shape[0], *shape[1:])[::2],
        lambda *shape: torch.from_numpy(w(*shape)),
        lambda *shape: torch.nn.Parameter(torch.from_numpy(w(*shape))),
    ],
)
def test_values_go_into_the_very_arrays_and_out_again(made):
    one = made(2, 3)
    arrays = OwnArrays(Given({"w": one, "b": made(1, 1)}, state={"v": made(2, 2)}))
    arrays.write({"w": np.full((2, 3), 7, "float32"), "state.v": np.full((2, 2), 3, "float32")})
    values = {name: np.empty(entry.shape, entry.dtype) for name, entry in arrays.entries.items()}
    arrays.read(values)
    assert np.asarray(one.detach() if isinstance(one, torch.Tensor) else one).tolist() == [[7.0] * 3] * 2
    assert {name: value.ravel().tolist() for name, value in values.items()} == {
        "w": [7.0] * 6, "b": [0.0], "state.v": [3.0] * 4,
    }  # fmt: skip


def test_arrays_that_the_class_has_put_in_their_place_are_found():
    given = Given({"w": w(3)})
    arrays = OwnArrays(given)
    given.given["parameters"] = {"w": w(3) + 5}
    out = {"w": np.empty(3, "float32")}
    arrays.read(out)
    assert out["w"].tolist() == [5.0, 6.0, 7.0]
    arrays.write({"w": w(3)})
    assert given.given["parameters"]["w"].tolist() == [0.0, 1.0, 2.0]


def test_a_class_that_takes_values_is_given_those_that_are_named():
    taking = Taking({"w": jnp.zeros(2), "b": jnp.zeros(1)}, state={"w": jnp.zeros(2)})
    OwnArrays(taking).write({"w": w(2), "state.w": w(2)})
    parameters, buffers, state = taking.taken
    assert (list(parameters), buffers, list(state)) == (["w"], {}, ["w"])
    assert parameters["w"].tolist() == state["w"].tolist() == [0.0, 1.0]


def read_only() -> np.ndarray:
    array = w(2)
    array.flags.writeable = False
    return array


SHARED = w(6)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (Given({}), "Given.parameters() gives no arrays: there is nothing to train"),
        (Given(3), "parameters() must give a dict from names to arrays, or a list of arrays, not a int"),
        (Given({"w": 3.0}), "Given.parameters(): w is a float, not an array"),
        (Given({"w": w(2, dtype="int64")}), "w (2,) is int64; what is averaged must be float32 or float64"),
        (Given({"w": torch.zeros(2, 3, dtype=torch.bfloat16)}), "w (2, 3) is bfloat16; what"),
        (Given({"w": w(2)}, {"n": w(1, dtype="float16")}), "Given.buffers(): n (1,) is float16"),
        (Given({"w": w(2)}, {"w": w(3)}), "w (3,): the name stands in w (2,) float32 weight already"),
        (Given({3: w(2)}), "a name must be a text of 1 to 500 characters"),
        (Given({"": w(2)}), "a name must be a text of 1 to 500 characters"),
        (Given({"w": SHARED, "v": SHARED}), "v (6,) and w (6,) lie in the same memory; give"),
        (Given({"w": SHARED[:4], "v": SHARED[3:]}), "w (4,) and v (3,) lie in the same memory"),
        (Given({"w": read_only()}), "w (2,) cannot be written in place; give the class a method load(par"),
        (Given({"w": jnp.zeros(2)}), "w (2,) cannot be written in place"),
        (Given({"w": torch.zeros(2, device="meta")}), "w (2,) cannot be written in place"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_averaged_are_refused_by_name(model, told):
    with pytest.raises(UsageError) as caught:
        OwnArrays(model)
    assert told in str(caught.value)


def test_columns_of_one_matrix_do_not_lie_in_the_same_memory():
    matrix = w(4, 3)
    assert len(OwnArrays(Given({"w": matrix[:, :2], "b": matrix[:, 2]})).entries) == 2


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ({"w": w(3)}, "w has become (3,) float32; it began as w (2,) float32 weight"),
        ({"w": w(2, dtype="float64")}, "w has become (2,) float64"),
    ],
)
def test_an_array_that_changes_its_shape_is_named(then, told):
    given = Given({"w": w(2)})
    arrays = OwnArrays(given)
    given.given["parameters"] = then
    for act in (arrays.read, arrays.write):
        with pytest.raises(JobCodeError) as caught:
            act({"w": w(2)})
        assert told in str(caught.value)


def test_an_array_that_is_gone_is_named():
    given = Given({"w": w(2), "b": w(1)})
    arrays = OwnArrays(given)
    given.given["parameters"] = {"w": w(2)}
    with pytest.raises(JobCodeError, match=r"Given.parameters\(\) gives b \(1,\) float32 weight no more"):
        arrays.read({"w": w(2), "b": w(1)})


def test_arrays_on_a_device_are_read_and_written_in_place_wherever_their_numbers_lie(monkeypatch):
    monkeypatch.setattr(arrays, "cupy", Cupy)
    monkeypatch.setattr(Array, "__module__", "cupy")
    whole = Array(np.zeros((4, 6), np.float32))
    own = OwnArrays(Given({"w": whole[:, ::2], "b": whole[0, 1::2]}))
    own.write({"w": w(4, 3), "b": w(3)})
    assert whole.get()[:, ::2].tolist() == w(4, 3).tolist()
    assert whole.get()[0, 1::2].tolist() == w(3).tolist()
    into = {"w": np.zeros((4, 3), np.float32)}
    own.read(into)
    assert into["w"].tolist() == w(4, 3).tolist()
