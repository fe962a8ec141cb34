"""The plan: its bounds, and settings replaced from text."""

from __future__ import annotations

import dataclasses

import pytest

from ps_common.errors import UsageError
from ps_common.plan import Plan, overridden, parsed
from ps_worker import nn


@dataclasses.dataclass(frozen=True)
class Own:
    """A user's own class, in a file whose annotations are text."""

    rate: float = 0.5
    name: str | None = None

    def __post_init__(self) -> None:
        if self.rate > 9:
            raise ValueError("the rate is over nine")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, bad) for name in ("batch_size", "local_steps", "epochs", "threads", "evaluate_every")
          for bad in (0, -1, 2**31 + 1, 1.0, "2", True, None)],
        ("threads", 1025),
        *[("shards", bad) for bad in (0, (), (3, 0), (3, True), 2.0, "4", None, (3, "4"), 2**31 + 1)],
        ("optimizer_state", "mean"),
        ("dtype", "float16"),
        ("dtype", ["float32"]),
        ("precision", "float32"),
        ("precision", 16),
        ("data", "file"),
    ],
)  # fmt: skip
def test_a_setting_out_of_bounds_is_refused_by_name(name, value):
    with pytest.raises(UsageError, match=f"the plan's {name} must be .*, not "):
        Plan(**{name: value})


def test_half_precision_goes_with_weights_in_float32():
    with pytest.raises(UsageError, match="precision float16 goes with the dtype float32, not float64"):
        Plan(precision="float16", dtype="float64")


def test_shard_sizes_may_be_a_list_and_are_kept_as_a_tuple():
    assert Plan(shards=[3, 4]) == Plan(shards=(3, 4))
    assert Plan(shards=[3, 4]).shards == (3, 4)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shards": "4", "epochs": "7"}, Plan(shards=4, epochs=7)),
        ({"shards": "5,9,2"}, Plan(shards=(5, 9, 2))),
        ({"dtype": "float64", "optimizer_state": "local"}, Plan(dtype="float64", optimizer_state="local")),
        ({"precision": "float16"}, Plan(precision="float16")),
        ({}, Plan()),
    ],
)
def test_plan_fields_are_replaced_from_text(changes, expected):
    assert overridden(Plan(), changes) == expected


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epochs": "many"}, "--set epochs=many: epochs must be int"),
        ({"epochs": "1.5"}, "epochs must be int"),
        ({"shards": "5,x"}, "--set shards=5,x: shards must be int or tuple"),
        ({"epochs": "0"}, "the plan's epochs must be 1 to"),
        ({"dtype": "int8"}, "the plan's dtype must be one of float32, float64"),
    ],
)
def test_text_of_another_type_or_out_of_bounds_is_refused(changes, told):
    with pytest.raises(UsageError) as caught:
        overridden(Plan(), changes)
    assert told in str(caught.value)


def test_settings_of_a_users_own_class_are_replaced_though_its_annotations_are_text():
    assert overridden(Own(), {"rate": "0.25", "name": "x"}) == Own(0.25, "x")
    with pytest.raises(UsageError, match=r"--set rate=10: Own does not take it: the rate is over nine"):
        overridden(Own(), {"rate": "10"})


def test_an_optimizers_numbers_are_replaced_and_still_checked():
    assert overridden(nn.SGD(0.1), {"learning_rate": "1e-3"}) == nn.SGD(0.001)
    for text in ("nan", "0", "inf"):
        with pytest.raises(UsageError, match="learning_rate must be"):
            overridden(nn.SGD(0.1), {"learning_rate": text})


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int, 3),
        ("3", float, 3.0),
        ("3", int | float, 3),
        ("3.5", int | float, 3.5),
        ("Yes", bool, True),
        ("0", bool, False),
        ("3", str, "3"),
        ("1,2", int | tuple[int, ...], (1, 2)),
    ],
)
def test_text_is_parsed_as_the_type_asked_for(text, kind, value):
    got = parsed("key", text, kind)
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "kind"), [("maybe", bool), ("2", bool), ("", int), ("x", float), ("1", list)]
)
def test_text_that_is_none_of_the_type_is_refused(text, kind):
    with pytest.raises(UsageError, match=f"--set key={text}: key must be {kind.__name__}"):
        parsed("key", text, kind)
