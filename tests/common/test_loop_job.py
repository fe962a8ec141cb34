"""Runs for loops of the users' own: what their description says, and what it must not be."""

import dataclasses

import pytest

from ps_common.errors import DataError, PeerError, UsageError
from ps_common.job import Description
from ps_common.loop_job import LoopJob
from ps_common.own_loop import OwnLoop
from ps_common.plan import Plan
from support_jobs import description

PLAN = Plan(shards=3, batch_size=4, local_steps=2, epochs=2)


def test_known_samples_are_cut_as_those_of_a_job():
    job = LoopJob(plan=PLAN, samples=41, seed=3).describe()
    assert (job.own_loop, job.has_open_samples, job.needs_code) == (OwnLoop(41), False, False)
    assert job.schedule.rounds_per_epoch == 2
    assert [job.schedule.samples(1, shard) for shard in range(3)] == [6, 6, 5]


def test_rounds_of_unknown_samples_have_a_unit_a_shard():
    job = LoopJob(plan=PLAN, rounds=5).describe()
    assert job.has_open_samples
    assert (job.schedule.rounds, job.schedule.rounds_per_epoch) == (10, 5)
    assert all(job.schedule.units(round_) == (0, 1, 2) for round_ in range(10))


@pytest.mark.parametrize("length", [{"samples": 41}, {"rounds": 5}])
def test_a_description_travels(length):
    job = LoopJob(plan=PLAN, seed=3, **length).describe()
    again = Description.from_plain(job.to_plain())
    assert (again, again.digest) == (job, job.digest)


def test_longer_runs_are_the_same_run_and_others_are_not():
    digest = LoopJob(plan=PLAN, samples=41).describe().digest
    assert LoopJob(plan=dataclasses.replace(PLAN, epochs=9), samples=41).describe().digest == digest
    assert LoopJob(plan=PLAN, samples=42).describe().digest != digest
    assert LoopJob(plan=PLAN, samples=41, seed=1).describe().digest != digest


@pytest.mark.parametrize("length", [{}, {"samples": 4, "rounds": 4}, {"rounds": 0}, {"samples": True}])
def test_an_epoch_has_samples_or_rounds(length):
    with pytest.raises(UsageError, match="an epoch"):
        LoopJob(plan=PLAN, **length).describe()


def test_samples_must_fill_the_shards():
    with pytest.raises(DataError, match="3 shards of 2"):
        LoopJob(plan=PLAN, samples=2).describe()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"kind": "OwnLoop", "samples": 0, "rounds": None}},
        {"model": {"kind": "OwnLoop"}},
        {"train": None},
        {"test": description().to_plain()["train"]},
        {"train": description().to_plain()["train"]},
    ],
)
def test_a_damaged_description_is_a_peers_mistake(changes):
    plain = LoopJob(plan=PLAN, samples=41).describe().to_plain()
    with pytest.raises(PeerError):
        Description.from_plain(plain | changes)


def test_a_job_has_fields_and_no_loop():
    assert description().own_loop is None
    plain = description().to_plain()
    plain["train"]["fields"] = []
    with pytest.raises(PeerError, match="the fields x and y"):
        Description.from_plain(plain)
