"""Which stage comes next, from the first to the last, and from wherever a run was broken off."""

import copy
import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paramserver.leases import Lease, Stage
from paramserver.progress import Progress
from ps_common.figures import AREA_BINS
from ps_common.job import Description
from support_jobs import description


def finish(stage: Stage, job: Description) -> None:
    """Do a stage's units: the loss is the round's number in training and the shard's in evaluation."""
    for number, (shard, unit) in enumerate(stage.units.items()):
        lease = Lease(number, unit, b"w", 9.0, 0)
        stage.begin(lease)
        n = float(job.schedule.samples(stage.version, shard)) if stage.kind == "train" else 4.0
        loss = (stage.version if stage.kind == "train" else shard) * n
        lease.sums = {} if stage.kind == "initialise" else {"loss": [loss, n], "accuracy": [1.0, n]}
        if stage.kind == "train" and job.test is not None:
            del lease.sums["accuracy"]
        stage.finish(lease, "w1")


def run(job: Description, progress: Progress, stages: int | None = None) -> list[tuple[str, int]]:
    """Go through the stages (or so many of them): kind and round of each."""
    gone = []
    while stages is None or len(gone) < stages:
        stage = progress.next_stage(job)
        if stage is None:
            break
        assert progress.next_stage(job) is not stage  # asking changes nothing
        finish(stage, job)
        progress.close(stage, job)
        gone.append((stage.kind, stage.version))
    return gone


EVALUATED = description(n=20, n_test=8, shards=2, batch_size=5, local_steps=1, epochs=3)  # 2 rounds an epoch


def test_the_weights_are_initialised_then_trained_and_evaluated_after_every_epoch():
    assert run(EVALUATED, Progress()) == [
        ("initialise", 0),
        *[("train", 0), ("train", 1), ("evaluate", 2)],
        *[("train", 2), ("train", 3), ("evaluate", 4)],
        *[("train", 4), ("train", 5), ("evaluate", 6)],
    ]


@pytest.mark.parametrize(
    ("every", "epochs", "evaluated"), [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (2, 4, [2, 4]), (9, 2, [2])]
)
def test_evaluations_are_as_often_as_planned_and_after_the_last_epoch(every, epochs, evaluated):
    job = description(n=20, n_test=8, batch_size=5, epochs=epochs, evaluate_every=every)
    progress = Progress()
    run(job, progress)
    assert [entry["epoch"] for entry in progress.history] == list(range(1, epochs + 1))
    assert [entry["epoch"] for entry in progress.history if entry.get("evaluated")] == evaluated
    assert all(("accuracy" in entry) == (entry["epoch"] in evaluated) for entry in progress.history)


def test_without_test_data_nothing_is_evaluated_and_the_training_figures_count():
    job = description(n=20, n_test=None, batch_size=5, local_steps=1, epochs=1)
    progress = Progress()
    assert run(job, progress) == [("initialise", 0), ("train", 0), ("train", 1)]
    assert progress.history == [{"epoch": 1, "samples": 20, "loss": 0.5, "accuracy": 4 / 20}]
    assert progress.metrics() == {"loss": 0.5, "accuracy": 0.2}


def test_sums_are_made_into_what_the_job_says_and_what_counted_nothing_has_no_figure():
    job = description(n=20, n_test=None, batch_size=5, local_steps=2, epochs=1, shards=1)
    job = dataclasses.replace(job, figures={"rmse": "root", "perplexity": "exponential", "auc": "area"})
    progress = Progress(version=0)
    for _ in range(2):
        stage = progress.next_stage(job)
        lease = Lease(0, stage.units[0], b"w", 9.0, 0)
        stage.begin(lease)
        lease.sums = {
            "loss": [5.0, 10.0],
            "rmse": [45.0, 10.0],
            "perplexity": [20.0, 10.0],
            "auc": [0.0] * (2 * AREA_BINS),
            "own": [30.0, 10.0],
        }
        lease.sums["auc"][:2] = [0.0, 3.0]  # positives, of which a negative is below
        lease.sums["auc"][AREA_BINS] = 1.0
        lease.sums["none"] = [0.0, 0.0]
        stage.finish(lease, "w1")
        assert len(progress.sums.get("auc", [])) in (0, 2 * AREA_BINS)
        progress.close(stage, job)
    assert progress.metrics() == {
        "loss": 0.5,
        "rmse": math.sqrt(4.5),
        "perplexity": math.exp(2),
        "auc": 1.0,
        "own": 3.0,
    }
    assert set(progress.history[0]) == {"epoch", "samples", *progress.metrics()}


def test_an_epochs_entry_has_the_loss_of_training_and_the_figures_of_the_evaluation():
    progress = Progress()
    run(EVALUATED, progress)
    assert progress.history[0] == {
        "epoch": 1, "samples": 20, "train_loss": 0.5, "loss": 0.5, "accuracy": 0.25, "evaluated": True
    }  # fmt: skip
    assert [entry["samples"] for entry in progress.history] == [20, 40, 60]
    assert [entry["train_loss"] for entry in progress.history] == [0.5, 2.5, 4.5]
    assert progress.samples == 60
    assert progress.version == EVALUATED.schedule.rounds


def test_an_epoch_whose_contributions_said_no_loss_has_none():
    progress = Progress()
    run(EVALUATED, progress, stages=2)
    stage = progress.next_stage(EVALUATED)
    finish(stage, EVALUATED)
    for sums in (progress.sums, *stage.sums.values()):
        del sums["loss"]
    progress.close(stage, EVALUATED)
    assert progress.history == [{"epoch": 1, "samples": 20}]


def test_an_epoch_is_told_once_it_is_complete():
    progress, told = Progress(), []
    while (stage := progress.next_stage(EVALUATED)) is not None:
        finish(stage, EVALUATED)
        entry = progress.close(stage, EVALUATED)
        told.append(None if entry is None else (stage.kind, entry["epoch"]))
    assert [one for one in told if one] == [("evaluate", 1), ("evaluate", 2), ("evaluate", 3)]
    rarely = description(n=20, n_test=8, batch_size=5, epochs=2, evaluate_every=2)
    progress, told = Progress(), []
    while (stage := progress.next_stage(rarely)) is not None:
        finish(stage, rarely)
        entry = progress.close(stage, rarely)
        told += [] if entry is None else [(stage.kind, entry["epoch"])]
    assert told == [("train", 1), ("evaluate", 2)]


def test_the_metrics_are_those_of_the_last_evaluation():
    job = description(n=20, n_test=8, batch_size=5, local_steps=2, epochs=3, evaluate_every=2)
    progress = Progress()
    assert progress.metrics() == {}
    run(job, progress, stages=2)
    assert progress.history[-1]["epoch"] == 1
    assert progress.metrics() == {}
    run(job, progress, stages=2)
    assert progress.metrics() == {"loss": 0.5, "accuracy": 0.25}
    run(job, progress, stages=0)
    run(job, progress)
    assert progress.metrics() == {"loss": 0.5, "accuracy": 0.25}


def test_a_shard_that_sits_a_round_out_is_not_in_its_stage():
    job = description(n=16, n_test=None, shards=(5, 9, 2), batch_size=1, local_steps=4, epochs=1)
    progress = Progress()
    shards = []
    while (stage := progress.next_stage(job)) is not None:
        shards.append((stage.kind, tuple(stage.units)))
        finish(stage, job)
        progress.close(stage, job)
    assert shards == [("initialise", (0,)), ("train", (0, 1, 2)), ("train", (0, 1)), ("train", (1,))]
    assert progress.samples == 16


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([None, 3, 8]),
    st.integers(1, 3),
    st.data(),
)
def test_a_run_broken_off_anywhere_goes_on_to_the_same_end(shards, epochs, every, n_test, local_steps, data):
    job = description(
        n=12,
        n_test=n_test,
        shards=shards,
        batch_size=2,
        local_steps=local_steps,
        epochs=epochs,
        evaluate_every=every,
    )
    whole = Progress()
    stages = run(job, whole)
    cut = data.draw(st.integers(0, len(stages)))
    first = Progress()
    before = run(job, first, stages=cut)
    resumed = copy.deepcopy(first)
    assert before + run(job, resumed) == stages
    assert resumed == whole


def test_where_nothing_is_said_of_units_none_has_been_left_out():
    first = Progress()
    run(UNEQUAL, first, stages=4)
    resumed = Progress(first.version, first.samples, first.sums, first.history)
    rest = [unit for _, unit in units_of(UNEQUAL, resumed)]
    assert rest == [unit for _, unit in units_of(UNEQUAL, first)]


# Three shards of 3, 1 and 2 rounds an epoch.
UNEQUAL = description(n=12, n_test=None, shards=(6, 2, 4), batch_size=2, local_steps=1, epochs=2)


def units_of(job, progress, late=()):
    """The units of every stage to the end, with their versions; without those of `late`: version, shard."""
    gone = []
    progress = copy.deepcopy(progress)
    while (stage := progress.next_stage(job)) is not None:
        finish(stage, job)
        for version, shard in late:
            if version == stage.version and stage.kind == "train":
                del stage.units[shard], stage.sums[shard]
        progress.close(stage, job)
        gone += [(stage.version, unit) for unit in stage.units.values() if unit.kind == "train"]
    return gone


def test_what_a_round_was_closed_without_is_trained_later_in_the_epoch_in_its_shards_order():
    units = units_of(UNEQUAL, Progress(), late=[(0, 0), (1, 0), (1, 2)])
    assert [(version, unit.round, unit.shard) for version, unit in units] == [
        *[(0, 0, 1), (0, 0, 2)],
        *[],  # version 1: shard 0 and 2 are left out again, and shard 1 has had its one
        *[(2, 0, 0), (2, 1, 2)],
        *[(3, 1, 0), (4, 2, 0)],
        *[(5, 3, 0), (5, 3, 1), (5, 3, 2)],
        *[(6, 4, 0), (6, 4, 2)],
        *[(7, 5, 0)],
    ]
    without = sorted((unit.round, unit.shard) for _, unit in units_of(UNEQUAL, Progress()))
    assert sorted((unit.round, unit.shard) for _, unit in units) == without, "each of an epoch once"


def test_a_run_that_lags_is_broken_off_and_goes_on():
    progress = Progress()
    for _ in range(3):
        stage = progress.next_stage(UNEQUAL)
        finish(stage, UNEQUAL)
        if stage.kind == "train" and stage.version == 0:
            del stage.units[0], stage.sums[0]
        progress.close(stage, UNEQUAL)
    assert progress.done == [1, 1, 2]
    resumed = copy.deepcopy(progress)
    assert [(v, u.round, u.shard) for v, u in units_of(UNEQUAL, resumed)][:2] == [(2, 1, 0), (3, 2, 0)]


def test_a_finished_run_goes_on_for_more_epochs():
    progress = Progress()
    run(EVALUATED, progress)
    longer = description(n=20, n_test=8, shards=2, batch_size=5, local_steps=1, epochs=4)
    assert run(longer, progress) == [("train", 6), ("train", 7), ("evaluate", 8)]
    assert [entry["epoch"] for entry in progress.history] == [1, 2, 3, 4]
    assert run(EVALUATED, progress) == []
