"""A job, its description and the digest that names it."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common import data
from ps_common.errors import PeerError, ShapeMismatch, UsageError
from ps_common.job import Description, Job
from ps_common.plan import Plan
from ps_worker import nn
from support_jobs import description, job, samples


@dataclasses.dataclass(frozen=True)
class Own(nn.ReLU):
    """A layer that is not in the vocabulary."""

    width: int = 1


OWN = nn.Sequential(nn.Dense(5, 3), Own())


def test_a_description_comes_back_from_its_plain_form_equal():
    for made in (description(), description(n_test=None), description(shards=(10, 30), model=OWN)):
        again = Description.from_plain(made.to_plain())
        assert again == made
        assert again.digest == made.digest
        assert again.needs_code == made.needs_code


def test_a_description_knows_its_splits():
    made = description(n=40, n_test=5, shards=8)
    assert made.schedule.shards.count == 8
    assert made.test_shards is not None
    assert made.test_shards.count == 5
    assert made.split("train") == (made.train, made.schedule.shards)
    assert made.split("test") == (made.test, made.test_shards)
    with pytest.raises(PeerError, match="no data called 'valid'"):
        made.split("valid")
    with pytest.raises(PeerError, match="no data called 'test'"):
        description(n_test=None).split("test")


def test_a_block_holds_as_many_rows_as_fit_a_chunk_and_at_least_one():
    train = description().train
    assert train.sample_bytes == 5 * 4 + 8
    assert [train.block_rows(n) for n in (1, 27, 28, 56, 280)] == [1, 1, 1, 2, 10]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"n": 41},
        {"n_test": 13},
        {"n_test": None},
        {"train": samples(40, seed=9)},
        {"test": samples(12, seed=9)},
        {"model": nn.Sequential(nn.Dense(5, 6), nn.Tanh(), nn.Dense(6, 3))},
        {"optimizer": nn.SGD(0.2)},
        {"regularizer": nn.L2(0.1)},
        {"metrics": []},
        {"batch_size": 5},
        {"local_steps": 3},
        {"shards": 3},
        {"shards": (20, 20)},
        {"dtype": "float64"},
        {"threads": 2},
        {"optimizer_state": "reset"},
    ],
)
def test_the_digest_changes_with_whatever_decides_a_result(change: dict[str, Any]):
    assert description(**change).digest != description().digest


def elsewhere(tmp_path, name):
    """The same samples, in a file."""
    x, y = samples(40).read(slice(None))
    path = tmp_path / name
    np.savez(path, x=x, y=y)
    return data.npz(path)


def test_the_digest_does_not_change_with_epochs_overrides_place_or_unneeded_code(tmp_path):
    first = description().digest
    assert description(epochs=9).digest == first
    assert job().describe(code="ab", overrides={"epochs": "2"}).digest == first
    assert description(train=elsewhere(tmp_path, "a.npz")).digest == first
    assert description(train=elsewhere(tmp_path, "b.npz")).digest == first


def test_the_digest_changes_with_the_file_where_a_job_needs_it():
    own = job(model=OWN)
    assert own.describe().needs_code
    assert own.describe(code="ab").digest != own.describe(code="cd").digest
    assert own.describe(code="ab").digest == own.describe(code="ab", overrides={"seed": "3"}).digest


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"model": nn.Dense(6, 3)}, ShapeMismatch, "takes samples of shape (6,), got (5,)"),
        ({"model": nn.Dense(5, 1)}, ShapeMismatch, "at least 2 classes"),
        ({"loss": nn.MSE()}, ShapeMismatch, "MSE"),
        ({"metrics": [nn.MeanSquaredError()]}, ShapeMismatch, "MeanSquaredError"),
        (
            {"train": data.arrays(np.zeros((4, 5))), "test": None},
            UsageError,
            "the fields x and y, not x: (5,)",
        ),
        ({"test": data.arrays(np.zeros((4, 5)))}, UsageError, "must have the same fields"),
        ({"test": samples(4, width=6)}, UsageError, "test has x: (6,) float32, y: () int64"),
        ({"train": np.zeros((4, 5))}, UsageError, "the job's train data is a ndarray; wrap it"),
        ({"test": [1, 2]}, UsageError, "the job's test data is a list; wrap it: data.items(samples)"),
        ({"seed": -1}, UsageError, "seed must be an integer"),
        ({"seed": 2**63}, UsageError, "seed must be an integer"),
        ({"seed": 1.0}, UsageError, "seed must be an integer"),
        ({"seed": True}, UsageError, "seed must be an integer"),
        ({"plan": {"epochs": 2}}, UsageError, "the job's plan is a dict; write Plan(...)"),
    ],
)
def test_a_job_whose_parts_do_not_fit_is_refused_when_it_is_made(change, error, told):
    with pytest.raises(error) as caught:
        job(**change)
    assert told in str(caught.value)


def test_a_job_with_what_cannot_travel_is_refused_when_it_is_described():
    loss = dataclasses.make_dataclass(
        "Odd", [("f", Any, None)], bases=(nn.SoftmaxCrossEntropy,), frozen=True
    )(f=len)
    with pytest.raises(UsageError, match="cannot travel"):
        job(loss=loss).describe()


def changed(path: str, value: Any) -> dict[str, Any]:
    plain = description().to_plain()
    *way, last = path.split(".")
    at: Any = plain
    for name in way:
        at = at[name]
    at[last] = value
    return plain


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("plan", 5, "plan must be"),
        ("plan", {"kind": "Dense", "inputs": 1, "outputs": 1}, "plan must be"),
        ("plan.epochs", 0, "epochs"),
        ("plan.shards", 41, "41 shards of 40"),
        ("plan.shards", [40, 1], "add up to 41"),
        ("seed", -1, "seed must be"),
        ("seed", "3", "seed must be"),
        ("code", None, "code must be"),
        ("overrides", {"a": 1}, "overrides must be"),
        ("overrides", [], "overrides must be"),
        ("figures", {"accuracy": "radio"}, "figures must be a dict of some of ratio"),
        ("figures", ["ratio"], "figures must be"),
        ("train", None, "train must be"),
        ("train", [], "train must be a dict"),
        ("train.more", 1, "train must be a dict"),
        ("train.source", None, "train.source must be"),
        ("train.samples", 0, "train.samples must be"),
        ("train.samples", 2.0, "train.samples must be"),
        ("train.fingerprint", 3, "train.fingerprint must be"),
        ("train.fields", [], "train.fields must be"),
        ("train.fields", 3, "train.fields must be"),
        (
            "test.fields",
            [{"kind": "Field", "name": "x", "dtype": "float32", "shape": []}],
            "test.fields must",
        ),
        ("other", 1, "has the fields"),
    ],
)
def test_a_damaged_description_is_refused_with_a_reason(path, value, told):
    with pytest.raises(PeerError) as caught:
        Description.from_plain(changed(path, value))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("dtype", "object"), ("dtype", "U9"), ("dtype", 3), ("shape", 3), ("shape", [-1]), ("shape", [2**39, 9]),
     ("shape", [1.0]), ("name", "z"), ("name", None)],
)  # fmt: skip
def test_a_field_of_no_numbers_or_no_size_is_refused(name, value):
    plain = description().to_plain()
    plain["train"]["fields"][0][name] = value
    with pytest.raises(PeerError, match=r"train\.fields must be"):
        Description.from_plain(plain)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.binary(), inner, max_size=3),
    max_leaves=6,
)
PATHS = [
    *(
        "model",
        "loss",
        "metrics",
        "figures",
        "plan",
        "plan.shards",
        "plan.dtype",
        "seed",
        "code",
        "overrides",
    ),
    *("train", "train.fields", "train.samples", "train.fingerprint", "test", "test.samples", "test.source"),
]


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(PATHS), ANYTHING)
def test_a_description_with_anything_in_it_raises_nothing_but_a_peer_error(path, value):
    try:
        made = Description.from_plain(changed(path, value))
    except PeerError:
        return
    assert made.schedule.rounds >= 1
    assert len(made.digest) == 64


def test_a_job_keeps_its_metrics_and_has_a_default_plan():
    made = Job(
        model=nn.Dense(5, 3),
        loss=nn.SoftmaxCrossEntropy(),
        optimizer=nn.SGD(1),
        train=samples(9),
        metrics=[nn.Accuracy()],
    )
    assert made.metrics == (nn.Accuracy(),)
    assert made.plan == Plan()


def test_a_job_says_what_the_sums_of_its_metrics_are_made_into():
    assert job(metrics=[nn.Accuracy(), nn.Perplexity()]).describe().figures == {
        "accuracy": "ratio",
        "perplexity": "exponential",
    }


def test_a_metric_of_the_users_own_must_choose_a_figure_that_there_is():
    class Wrong(nn.Accuracy):
        figure = "radio"

    with pytest.raises(UsageError, match=r"Wrong: there is no figure 'radio'.*did you mean 'ratio'"):
        job(metrics=[Wrong()])
