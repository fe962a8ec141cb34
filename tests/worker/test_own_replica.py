"""A user's own class as the model: its units are as pure as those of layers."""

import re
from typing import Any

import numpy as np
import pytest
import torch

import paramserver
from paramserver.effects import Snapshot
from paramserver.serve import write_model
from ps_common.arrays import Device
from ps_common.errors import CheckpointError, DataError, JobCodeError, UsageError
from ps_common.layout import Layout
from ps_worker import nn
from ps_worker.effects import Contribution
from ps_worker.own_replica import OwnReplica
from ps_worker.replica import Watch
from ps_worker.replicas import layout_of_job, parts_of, replica_of
from ps_worker.rows import HeldRows
from support_jobs import job
from support_own import Straight, own_job


class Trainer:
    """A replica with the job's data at hand."""

    def __init__(self, model: Any = None, **changes: Any) -> None:
        self.model = model or Straight()
        self.job = own_job(self.model, **changes)
        self.description = self.job.describe()
        self.watch = Watch()
        self.replica = OwnReplica(self.description, self.model, self.watch)
        self.layout = self.replica.layout

    def rows(self, shard: int, split: str = "train") -> HeldRows:
        _, shards = self.description.split(split)
        return HeldRows(getattr(self.job, split).read(shards.rows(shard)))

    def first(self) -> np.ndarray:
        return copied(self.replica.initialise())

    def train(self, base: np.ndarray | None, round_: int, shard: int) -> np.ndarray:
        return copied(self.replica.train(base, self.rows(shard), round_, shard))


def copied(contribution: Contribution) -> np.ndarray:
    assert contribution.vector is not None
    return contribution.vector.copy()


UNITS = [(0, 0), (0, 1), (1, 1), (3, 0)]


@pytest.mark.parametrize("state", ["average", "reset"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_unit_has_the_same_bits_whenever_and_wherever_it_is_computed(state, dtype):
    one, other = (Trainer(Straight(dtype), optimizer_state=state) for _ in range(2))
    base = one.train(one.first(), 2, 0)
    base.flags.writeable = False
    in_order = {unit: one.train(base, *unit).tobytes() for unit in UNITS}
    other.replica.evaluate(base, other.rows(0, "test"), 0)
    backwards = {unit: other.train(base, *unit).tobytes() for unit in [*reversed(UNITS), *UNITS]}
    assert in_order == backwards
    assert len(set(in_order.values())) == len(UNITS)


class Forgetful(Straight):
    """Does not say that it keeps a velocity."""

    def state(self):
        return {}


def test_a_class_that_hides_what_it_remembers_is_not_pure():
    one, other = Trainer(Forgetful()), Trainer(Forgetful())
    base = one.first()
    one.train(base, 0, 0)
    assert one.train(base, 0, 1).tobytes() != other.train(base, 0, 1).tobytes()


def test_weights_that_lie_in_the_slot_already_are_those_the_unit_begins_with():
    one, other = Trainer(), Trainer()
    base = one.train(one.first(), 1, 1)
    other.replica.use(1, base.copy())
    assert other.train(None, 0, 0).tobytes() == one.train(base, 0, 0).tobytes()


def test_after_an_evaluation_the_slot_holds_what_was_evaluated():
    trainer = Trainer()
    base = trainer.train(trainer.first(), 0, 0)
    trainer.replica.use(1)
    trainer.replica.evaluate(base, trainer.rows(0, "test"), 0)
    assert trainer.replica.vector.tobytes() == base.tobytes()


def test_a_vector_that_is_given_takes_the_place_of_the_slots_own():
    trainer = Trainer()
    before, given = trainer.replica.vector, trainer.first()
    assert trainer.replica.use(0, given) is before
    assert trainer.replica.vector is given
    assert trainer.replica.use(1) is None
    assert trainer.replica.vector is not given
    trainer.replica.use(0)
    assert trainer.replica.vector is given


def test_the_first_weights_are_those_the_object_is_made_with_whatever_it_has_done_since():
    trainer = Trainer()
    first = trainer.first()
    trainer.train(first, 0, 0)
    contribution = trainer.replica.initialise()
    assert copied(contribution).tobytes() == first.tobytes()
    views = trainer.layout.views(first)
    assert {name: view.ravel().tolist() for name, view in views.items()} == {
        "w": [0.5] * 5, "b": [0.0], "seen": [0.0], "state.w": [0.0] * 5,
    }  # fmt: skip
    assert Layout.from_plain(contribution.layout) == trainer.layout
    assert (contribution.samples, contribution.sums) == (0, {})


def test_a_unit_makes_the_plans_steps_on_its_samples_in_their_order():
    seen: list[tuple[int, ...]] = []

    class Noting(Straight):
        def train(self, batch):
            seen.append(tuple(len(part) for part in batch))
            return super().train(batch)

    trainer = Trainer(Noting(), shards=(10, 18, 12), local_steps=2)
    by_hand = Straight()
    done = trainer.replica.train(trainer.first(), trainer.rows(0), 1, 0)
    assert seen == [(2, 2)]  # of 10 samples 8 went in the round before
    assert done.samples == 2
    assert trainer.watch.step == 1
    from ps_common.seeds import Purpose, generator
    from ps_common.shards import shuffled

    x, y = trainer.rows(0).take(shuffled(3, 0, 0, 10)[8:])
    by_hand.begin(generator(3, Purpose.TRAIN, 1, 0))
    loss = by_hand.train((x, y))
    views = trainer.layout.views(copied(done))
    assert views["w"].tobytes() == by_hand.w.tobytes()
    assert views["state.w"].tobytes() == by_hand.velocity.tobytes()
    assert done.sums == {"loss": [float(loss) * 2, 2.0]}


def test_state_is_averaged_set_back_or_kept_by_the_shard():
    for state, travels in (("average", True), ("reset", False), ("local", False)):
        trainer = Trainer(optimizer_state=state)
        assert ("state.w" in trainer.layout.views(trainer.first())) == travels
    reset, fresh = (Trainer(optimizer_state="reset") for _ in range(2))
    local, averaged = Trainer(optimizer_state="local"), Trainer()
    base = reset.first()
    reset.train(base, 0, 0)
    assert reset.train(base, 1, 0).tobytes() == fresh.train(base, 1, 0).tobytes()
    base = local.first()
    local.train(base, 0, 1)  # another shard's does not mix with it
    local.train(base, 0, 0)
    kept = local.layout.views(local.train(base, 1, 0))["w"]
    start = averaged.first()
    velocity = averaged.layout.views(averaged.train(start, 0, 0))["state.w"]
    averaged.layout.views(start)["state.w"][...] = velocity
    assert kept.tobytes() == averaged.layout.views(averaged.train(start, 1, 0))["w"].tobytes()
    assert kept.tobytes() != Trainer(optimizer_state="local").train(base, 1, 0).tobytes()


def test_what_evaluate_returns_counts_by_its_samples():
    trainer = Trainer(shards=1)
    measured = trainer.replica.evaluate(trainer.first(), trainer.rows(0, "test"), 0)
    x, y = trainer.job.test.read(slice(None))
    error = (x @ np.full(5, 0.5, np.float32)).astype(np.float64) - y
    assert measured.vector is None
    assert measured.samples == 12
    assert measured.sums["loss"] == pytest.approx([(error**2).sum(), 12.0])
    assert measured.sums["bias"] == pytest.approx([error.sum(), 12.0])


class Returning(Straight):
    """Returns what it is told to."""

    def __init__(self, *values: Any) -> None:
        super().__init__()
        self.values = list(values)

    def train(self, batch: Any) -> Any:
        return self.values.pop(0)


@pytest.mark.parametrize("one", [2, 2.0, np.float32(2), np.array(2.0), torch.tensor(2.0), True + 1])
def test_a_loss_may_be_any_number(one):
    trainer = Trainer(Returning(one, {"loss": 4.0}))
    done = trainer.replica.train(trainer.first(), trainer.rows(0), 0, 0)
    assert done.sums == {"loss": [2.0 * 4 + 4.0 * 4, 8.0]}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([None], "Returning.train(batch): loss must be one number, the mean over the batch, not a NoneType"),
        ([np.zeros(4)], "loss must be one number, the mean over the batch, not a ndarray of shape (4,)"),
        ([torch.zeros(1, 4)], "not a Tensor of shape (1, 4)"),
        ([{"accuracy": 1.0}], 'must return the mean loss, or a dict with "loss"'),
        (
            [{"loss": 1.0}, {"loss": 1.0, "more": 2.0}],
            "each time the same names; it returned ['loss', 'more']",
        ),
        (
            [{"loss": 1.0, "share": "half"}],
            "share must be one number, the mean over the batch, not a str 'half'",
        ),
    ],
)
def test_anything_else_is_the_classs_mistake(values, told):
    trainer = Trainer(Returning(*values))
    with pytest.raises(JobCodeError) as caught:
        trainer.replica.train(trainer.first(), trainer.rows(0), 0, 0)
    assert told in str(caught.value)


def test_a_loss_that_is_no_number_is_named_with_its_unit():
    trainer = Trainer(Returning(1.0, float("nan")))
    with pytest.raises(DataError, match=r"the loss became nan in round 1, shard 1"):
        trainer.replica.train(trainer.first(), trainer.rows(1), 1, 1)


def test_a_cancelled_unit_comes_back_after_a_step():
    trainer = Trainer(local_steps=5)
    trainer.watch.is_cancelled = True
    trainer.train(trainer.first(), 0, 0)
    trainer.replica.evaluate(trainer.first(), trainer.rows(0, "test"), 0)
    assert trainer.watch.step == 2


def test_the_job_says_which_replica_computes_it():
    made, layers = own_job(), job()
    assert isinstance(replica_of(made.describe(), parts_of(made), Device(), Watch()), OwnReplica)
    assert not isinstance(replica_of(layers.describe(), parts_of(layers), Device(), Watch()), OwnReplica)
    assert [e.name for e in layout_of_job(made.describe(), parts_of(made)).entries] == [
        "w",
        "b",
        "seen",
        "state.w",
    ]
    assert layout_of_job(layers.describe(), parts_of(layers)).parameters == 5 * 4 + 4 + 4 * 3 + 3


# -- its file ---------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path):
    """A file of a model that was trained for a round, and its weights."""
    trainer = Trainer()
    vector = trainer.train(trainer.first(), 0, 0)
    described = trainer.description
    snapshot = Snapshot(
        trainer.layout, vector, 1, "run", 1, described.to_plain(), described.digest, 8, {}, [], 0.0
    )
    write_model(tmp_path / "m", snapshot, {"loss": 0.5})
    return tmp_path / "m", trainer.layout.views(vector)


def test_a_file_gives_the_weights_by_name_and_fills_an_object(trained):
    path, values = trained
    model, empty = paramserver.load(path), Straight()
    assert {name: value.tolist() for name, value in model.weights.items()} == {
        name: values[name].tolist() for name in ("w", "b", "seen")
    }
    assert model.metrics == {"loss": 0.5}
    with pytest.raises(UsageError, match="a class of the user's own, which alone knows how to predict"):
        model.predict(np.zeros((1, 5)))
    paramserver.load(path, model=empty)
    assert empty.w.tobytes() == values["w"].tobytes()
    assert empty.seen.tobytes() == values["seen"].tobytes()
    assert empty.velocity.tolist() == [0.0] * 5


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (Straight(width=6), "w is (5,) float32 in the file and (6,) float32 in the object"),
        (Straight("float64"), "b is () float32 in the file and () float64 in the object"),
        (nn.Dense(5, 1), "is of a class with train(batch), not of a model like Dense"),
    ],
)
def test_an_object_that_does_not_fit_the_file_is_refused(trained, model, told):
    with pytest.raises(CheckpointError, match=re.escape(told)):
        paramserver.load(trained[0], model=model)
