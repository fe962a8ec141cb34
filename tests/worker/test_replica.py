"""The replica: a unit is a pure function of the weights, the shard and its name."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ps_common import data
from ps_common.arrays import Device
from ps_common.errors import DataError, PeerError, UsageError
from ps_common.figures import AREA_BINS, figure
from ps_common.job import Description
from ps_common.layout import Layout
from ps_common.seeds import Purpose, generator
from ps_worker import nn
from ps_worker.effects import Contribution
from ps_worker.replica import Parts, Replica, UnitContext, Watch
from ps_worker.rows import FileRows, HeldRows
from support_averages import naive_mean
from support_jobs import job, samples

RANDOM = nn.Sequential(nn.Dense(5, 6), nn.Dropout(0.5), nn.ReLU(), nn.Dense(6, 3))


@pytest.mark.parametrize(
    ("cells", "settings", "told"),
    [
        ("nan,1", {}, "input nan at (0,), but a model takes finite numbers; fill in or leave out "
         "(row 3 of the data, from 0, column 'age')"),
        ("1,nan", {}, "target nan, but MSE needs finite numbers (row 3 of the data, from 0, column 'sold')"),
        ("1,nan", {"header": False, "x": [-2], "y": 1}, "(row 3 of the data, from 0, column 1)"),
    ],
)  # fmt: skip
def test_a_wrong_number_of_a_table_is_named_by_row_and_column(tmp_path, cells, settings, told):
    header = "age,sold\n" if settings.get("header", True) else ""
    (tmp_path / "shop.csv").write_text(f"{header}0,0\n0,0\n0,0\n{cells}\n")
    train = data.csv(tmp_path / "shop.csv", **{"y": "sold", "y_dtype": "float32", **settings})
    model = nn.Sequential(nn.Dense(1, 1))
    trainer = Trainer(model=model, loss=nn.MSE(), metrics=[], train=train, test=None)
    trainer.replica.check("train", 0, trainer.rows(0))
    with pytest.raises(DataError) as caught:
        trainer.replica.check("train", 1, trainer.rows(1))
    assert told in str(caught.value)


NORMED = nn.Sequential(nn.Dense(5, 6), nn.BatchNorm(6), nn.ReLU(), nn.Dense(6, 3))


class Trainer:
    """A replica with the job's data at hand."""

    def __init__(self, made=None, **changes: Any):
        self.job = made or job(**changes)
        self.description: Description = self.job.describe()
        self.watch = Watch()
        self.replica = Replica(self.description, Parts.of(self.description), Device(), self.watch)
        self.layout = self.replica.layout

    def rows(self, shard: int, split: str = "train") -> HeldRows:
        _, shards = self.description.split(split)
        return HeldRows(getattr(self.job, split).read(shards.rows(shard)))

    def first(self) -> np.ndarray:
        return copied(self.replica.initialise())

    def train(self, base: np.ndarray, round_: int, shard: int) -> tuple[np.ndarray, Contribution]:
        contribution = self.replica.train(base, self.rows(shard), round_, shard)
        return copied(contribution), contribution

    def round(self, base: np.ndarray, round_: int) -> np.ndarray:
        """The average of a round's units."""
        units = self.description.schedule.units(round_)
        vectors = [self.train(base, round_, shard)[0] for shard in units]
        return naive_mean(self.layout, vectors, [self.description.schedule.samples(round_, s) for s in units])


def copied(contribution: Contribution) -> np.ndarray:
    """The vector lives until the next unit alone."""
    assert contribution.vector is not None
    return contribution.vector.copy()


def test_a_unit_draws_from_its_own_stream_when_it_first_asks():
    context, stream = UnitContext(5, 3, 1), generator(5, Purpose.TRAIN, 3, 1)
    assert context.training
    drawn = np.concatenate([context.rng.random(2), context.rng.random(2)])
    assert drawn.tolist() == stream.random(4).tolist()


UNITS = [(0, 0), (0, 1), (1, 1), (3, 0)]
PURE = [{}, {"optimizer": nn.Adam()}, {"optimizer": nn.Momentum(0.1), "optimizer_state": "reset"},
        {"model": RANDOM}, {"model": NORMED}, {"dtype": "float64", "regularizer": nn.L2(0.1)},
        {"optimizer": nn.ClipByNorm(nn.AdamW(nn.Cosine(0.1, steps=10, warmup=2)), 0.5)}]  # fmt: skip


@pytest.mark.parametrize("changes", PURE)
def test_a_unit_has_the_same_bits_whenever_and_wherever_it_is_computed(changes):
    one, other = Trainer(**changes), Trainer(**changes)
    base = one.first()
    assert other.first().tobytes() == base.tobytes()
    in_order = {unit: one.train(base, *unit)[0].tobytes() for unit in UNITS}
    other.replica.evaluate(base, other.rows(0, "test"), 0)
    backwards = {unit: other.train(base, *unit)[0].tobytes() for unit in [*reversed(UNITS), *UNITS]}
    assert in_order == backwards
    assert len(set(in_order.values())) == len(UNITS)


@pytest.mark.parametrize(("model", "different"), [(RANDOM, 4), (nn.Dense(5, 3), 1)])
def test_a_units_random_numbers_follow_from_its_name_and_from_nothing_else(model, different):
    same = data.arrays(np.ones((40, 5), np.float32), np.zeros(40, np.int64))
    trainer = Trainer(model=model, train=same)
    base = trainer.first()
    units = [(0, 0), (0, 1), (1, 0), (3, 0)]  # of two steps each
    assert len({trainer.train(base, *unit)[0].tobytes() for unit in units}) == different


def test_the_weights_a_unit_begins_with_are_not_changed():
    trainer = Trainer(optimizer=nn.Adam())
    base = trainer.first()
    before = base.tobytes()
    base.flags.writeable = False
    trainer.train(base, 0, 0)
    trainer.replica.evaluate(base, trainer.rows(0, "test"), 0)
    assert base.tobytes() == before


def test_the_learning_rate_is_that_of_the_step_of_the_run():
    """Of two local steps a round, those of round 3 are steps 6 and 7."""
    late = nn.LinearDecay(0.5, steps=100, warmup=6)
    rates = [late.at(6), late.at(7)]
    trainer = Trainer(optimizer=nn.SGD(late), local_steps=2)
    base = trainer.first()
    scheduled = trainer.train(base, 3, 0)[0].tobytes()

    class Recorded(nn.LearningRate):
        def at(self, step):
            return {6: rates[0], 7: rates[1]}[step]

    parts = dataclasses.replace(Parts.of(trainer.description), optimizer=nn.SGD(Recorded()))
    replica = Replica(trainer.description, parts, Device(), Watch())
    assert copied(replica.train(base, trainer.rows(0), 3, 0)).tobytes() == scheduled
    assert Trainer(optimizer=nn.SGD(0.5), local_steps=2).train(base, 3, 0)[0].tobytes() != scheduled


def test_adamw_decays_weights_and_no_biases():
    one_step = {"shards": 1, "local_steps": 1, "batch_size": 40}
    found = []
    for decay in (0.5, 0.0):
        trainer = Trainer(optimizer=nn.AdamW(0.1, decay=decay), **one_step)
        base = trainer.first()
        for view in trainer.layout.views(base, "weight").values():
            view[...] = 1
        found.append(trainer.layout.views(trainer.train(base, 0, 0)[0], "weight"))
    assert found[0].keys() == {"0.weight", "0.bias", "2.weight", "2.bias"}
    for name, weight in found[0].items():
        shrunk = 0.1 * 0.5 if name.endswith("weight") else 0.0
        np.testing.assert_allclose(weight, found[1][name] - shrunk, rtol=1e-6)


def test_the_first_weights_follow_from_the_seed_and_begin_with_empty_slots():
    a = Trainer(optimizer=nn.Momentum(0.1))
    assert a.first().tobytes() == Trainer(optimizer=nn.Momentum(0.1)).first().tobytes()
    assert a.first().tobytes() != Trainer(optimizer=nn.Momentum(0.1), seed=4).first().tobytes()
    a.train(a.first(), 0, 0)
    contribution = a.replica.initialise()
    assert a.layout.views(copied(contribution))["optimizer.velocity"].tolist() == [0.0] * a.layout.parameters
    assert Layout.from_plain(contribution.layout) == a.layout
    assert (contribution.samples, contribution.sums) == (0, {})


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-6), ("float64", 1e-14)])
@pytest.mark.parametrize("shards", [1, 2, 5, (10, 18, 12)])
def test_one_averaged_step_of_sgd_is_one_step_on_the_large_batch(dtype, bound, shards):
    trainer = Trainer(shards=shards, local_steps=1, batch_size=40, dtype=dtype, regularizer=nn.L2(0.1))
    base = trainer.first()
    averaged = trainer.layout.views(trainer.round(base, 0))
    alone = Trainer(shards=1, local_steps=1, batch_size=40, dtype=dtype, regularizer=nn.L2(0.1))
    single = alone.layout.views(alone.train(base, 0, 0)[0])
    for name, view in averaged.items():
        scale = np.abs(single[name]).max()
        assert np.abs(view - single[name]).max() <= bound * scale, name
        assert np.abs(view - trainer.layout.views(base)[name]).max() > 0.001, "nothing was learnt"


def test_a_unit_takes_its_own_samples_once_in_the_epochs_order():
    seen: list[int] = []

    class Noting(HeldRows):
        def take(self, indices):
            seen.extend(indices.tolist())
            return super().take(indices)

    trainer = Trainer(shards=(10, 18, 12), batch_size=4, local_steps=2)
    base, schedule = trainer.first(), trainer.description.schedule
    for shard in range(3):
        for epoch in range(2):
            seen.clear()
            for round_ in range(epoch * schedule.rounds_per_epoch, (epoch + 1) * schedule.rounds_per_epoch):
                if schedule.samples(round_, shard):
                    rows = Noting(trainer.job.train.read(schedule.shards.rows(shard)))
                    done = trainer.replica.train(base, rows, round_, shard)
                    assert done.samples == schedule.samples(round_, shard)
            assert sorted(seen) == list(range(schedule.shards.size(shard)))


def test_rows_read_from_files_give_the_bits_of_rows_held_in_memory():
    trainer = Trainer()
    base = trainer.first()
    held, _ = trainer.train(base, 1, 1)
    from_source = FileRows(trainer.job.train, trainer.description.schedule.shards, 1)
    assert copied(trainer.replica.train(base, from_source, 1, 1)).tobytes() == held.tobytes()


def slots_of(trainer: Trainer, vector: np.ndarray) -> dict[str, np.ndarray]:
    return trainer.layout.views(vector, "slot")


def test_averaged_slots_travel_with_the_weights():
    trainer = Trainer(optimizer=nn.Momentum(0.1))
    base = trainer.first()
    after, _ = trainer.train(base, 0, 0)
    assert list(slots_of(trainer, after)) == ["optimizer.velocity"]
    assert np.abs(slots_of(trainer, after)["optimizer.velocity"]).max() > 0
    other = base.copy()
    slots_of(trainer, other)["optimizer.velocity"][...] = 1.0
    assert trainer.train(other, 0, 0)[0].tobytes() != after.tobytes()
    assert trainer.layout.weights_sha256(trainer.train(other, 0, 0)[0]) != trainer.layout.weights_sha256(
        after
    )


@pytest.mark.parametrize("state", ["reset", "local"])
def test_slots_that_are_not_averaged_do_not_travel(state):
    trainer = Trainer(optimizer=nn.Adam(), optimizer_state=state)
    assert slots_of(trainer, trainer.first()) == {}
    assert trainer.layout == Trainer().layout


def test_reset_slots_begin_every_unit_at_zero_as_a_fresh_replica_does():
    changes = {"optimizer": nn.Momentum(0.1), "optimizer_state": "reset"}
    used, fresh = Trainer(**changes), Trainer(**changes)
    base = used.first()
    for round_ in range(3):
        used.train(base, round_, 0)
    assert used.train(base, 3, 0)[0].tobytes() == fresh.train(base, 3, 0)[0].tobytes()


def test_local_slots_are_kept_by_whoever_trained_the_shard_last_each_shard_its_own():
    changes = {"optimizer": nn.Momentum(0.1), "optimizer_state": "local"}
    one, other = Trainer(**changes), Trainer(**changes)
    base = one.first()
    first, _ = one.train(base, 0, 0)
    assert first.tobytes() == other.train(base, 0, 0)[0].tobytes()
    one.train(base, 0, 1)  # another shard's slots do not mix with them
    second, _ = one.train(base, 1, 0)
    assert second.tobytes() == other.train(base, 1, 0)[0].tobytes()
    assert second.tobytes() != Trainer(**changes).train(base, 1, 0)[0].tobytes()


def test_a_units_sums_are_those_of_its_samples():
    without_test = Trainer(n_test=None, shards=1, batch_size=40, local_steps=1)
    base = without_test.first()
    _, trained = without_test.train(base, 0, 0)
    evaluated = Trainer(test=samples(40), shards=1)
    measured = evaluated.replica.evaluate(base, evaluated.rows(0, "test"), 0)
    assert measured.vector is None
    assert (trained.samples, measured.samples) == (40, 40)
    assert trained.sums.keys() == measured.sums.keys() == {"loss", "accuracy"}
    assert trained.sums["accuracy"] == measured.sums["accuracy"]
    assert trained.sums["loss"] == pytest.approx(measured.sums["loss"], rel=1e-6)
    assert trained.sums["loss"][1] == 40.0


def test_metrics_of_training_are_left_out_where_there_is_test_data():
    trainer = Trainer()
    _, trained = trainer.train(trainer.first(), 0, 0)
    assert trained.sums.keys() == {"loss"}
    assert all(type(part) is float for part in trained.sums["loss"])


def test_progress_is_a_step_a_batch_and_a_cancelled_unit_comes_back_after_one():
    trainer = Trainer(local_steps=5)
    base = trainer.first()
    trainer.train(base, 0, 0)
    assert trainer.watch.step == 5
    trainer.watch.is_cancelled = True
    trainer.train(base, 0, 0)
    assert trainer.watch.step == 6


def test_a_loss_that_is_no_number_is_named_with_its_unit():
    x, y = samples(40).read(slice(None))
    x[6] = np.nan
    trainer = Trainer(train=data.arrays(x, y), local_steps=5)
    with pytest.raises(DataError, match=r"the loss became nan in round 0, shard 0; the learning rate"):
        trainer.train(trainer.first(), 0, 0)
    trainer.train(trainer.first(), 0, 1)  # has none


@dataclasses.dataclass(frozen=True)
class Seen(nn.Accuracy):
    """A metric that says how large batches are."""

    def sums(self, output, target):
        return np.float64(len(output) ** 2), np.float64(len(output))


@pytest.mark.parametrize(
    ("batch_size", "mean"), [(4, (64**2 + 64**2 + 22**2) / 150), (100, (100**2 + 50**2) / 150)]
)
def test_as_many_samples_are_evaluated_at_once_as_in_a_batch_or_64(batch_size, mean):
    trainer = Trainer(n=150, n_test=150, shards=1, batch_size=batch_size)
    parts = dataclasses.replace(Parts.of(trainer.description), metrics=(Seen(),))
    replica = Replica(trainer.description, parts, Device(), Watch())
    sums = replica.evaluate(trainer.first(), trainer.rows(0, "test"), 0).sums["accuracy"]
    assert sums[0] / sums[1] == mean


@dataclasses.dataclass(frozen=True)
class Broken(nn.Accuracy):
    """A metric that is never a number."""

    def sums(self, output, target):
        return np.float64("nan"), np.float64(1)


def test_a_metric_that_is_no_number_is_named_with_its_unit():
    trainer = Trainer()
    parts = dataclasses.replace(Parts.of(trainer.description), metrics=(Broken(),))
    replica = Replica(trainer.description, parts, Device(), Watch())
    with pytest.raises(DataError, match=r"the accuracy became nan in test shard 1"):
        replica.evaluate(trainer.first(), trainer.rows(1, "test"), 1)


def test_sums_of_several_numbers_add_up_over_batches_and_shards():
    x, _ = samples(40).read(slice(None))
    y = (x[:, 0] + x[:, 1] > 0).astype(np.int64)
    parts = {"model": nn.Dense(5, 1), "loss": nn.SigmoidCrossEntropy(), "metrics": [nn.AUC(), nn.Accuracy()]}
    trainer = Trainer(train=data.arrays(x, y), test=data.arrays(x, y), **parts)
    assert trainer.description.figures == {"auc": "area", "accuracy": "ratio"}
    base = trainer.first()
    totals: dict[str, list[float]] = {}
    for shard in range(2):
        sums = trainer.replica.evaluate(base, trainer.rows(shard, "test"), shard).sums
        assert {name: len(values) for name, values in sums.items()} == {
            "loss": 2,
            "auc": 2 * AREA_BINS,
            "accuracy": 2,
        }
        assert all(type(value) is float for value in sums["auc"])
        for name, values in sums.items():
            totals[name] = [a + b for a, b in zip(totals.get(name, [0.0] * len(values)), values, strict=True)]
    w = trainer.layout.views(base)
    assert figure("area", totals["auc"]) == pytest.approx(roc_auc_score(y, x @ w["weight"][:, 0]), abs=2e-3)
    alone = Trainer(train=data.arrays(x, y), test=None, local_steps=10, batch_size=3, **parts)
    sums = alone.train(alone.first(), 0, 0)[1].sums
    assert sum(sums["auc"]) == sums["accuracy"][1] == 20


@pytest.mark.parametrize(("label", "told"), [(3, "labels 0 to 2"), (-1, "labels 0 to 2")])
def test_a_label_out_of_range_is_named_with_its_shard(label, told):
    x, y = samples(40).read(slice(None))
    y[7] = label
    trainer = Trainer(train=data.arrays(x, y))
    trainer.replica.check("train", 0, trainer.rows(0))
    with pytest.raises(DataError, match=f"train data, shard 1.*{told}.*row 7 of the data"):
        trainer.replica.check("train", 1, trainer.rows(1))


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("model", "value", "told"),
    [
        (nn.Dense(5, 3), np.nan, "sample 3 has the input nan at (2,), but a model takes finite numbers"),
        (nn.Sequential(nn.Dense(5, 3)), -np.inf, "sample 3 has the input -inf at (2,)"),
        (
            nn.Sequential(nn.Embedding(9, 1), nn.Flatten(), nn.Dense(5, 3)),
            9,
            "sample 3 has the input 9.0 at (2,), but Embedding(9, 1) looks "
            "up whole numbers from 0 to 8; give vocabulary=10, or mend the data",
        ),
    ],
)
def test_an_input_that_cannot_be_is_named_before_a_step_is_made(split, model, value, told):
    x, y = samples(40).read(slice(None))
    x = np.abs(x).round()
    x[7, 2] = value  # the fourth sample of shard 1
    wrong, right = data.arrays(x, y), data.arrays(np.ones_like(x), y)
    trainer = Trainer(model=model, train=wrong, test=right) if split == "train" else (
        Trainer(model=model, train=right, test=wrong)
    )  # fmt: skip
    trainer.replica.check(split, 0, trainer.rows(0, split))
    with pytest.raises(DataError) as caught:
        trainer.replica.check(split, 1, trainer.rows(1, split))
    assert str(caught.value).startswith(f"{split} data, shard 1: {told}")


def test_parts_are_built_from_the_vocabulary_alone():
    description = job(model=RANDOM, regularizer=nn.L2(0.5)).describe()
    parts = Parts.of(description)
    assert (parts.model, parts.regularizer, parts.metrics) == (RANDOM, nn.L2(0.5), (nn.Accuracy(),))
    with pytest.raises(PeerError, match="not in the vocabulary"):
        Parts.of(dataclasses.replace(description, model={"kind": "own:Mine"}))
    with pytest.raises(UsageError, match="the model must be a Layer"):
        Replica(description, dataclasses.replace(parts, model=nn.SGD(1)), Device(), Watch())
