"""Metric sums of a peer: as many and of such a kind as the job's figures take, or refused."""

import pytest

from paramserver.gate import SAMPLES_MAX, check_push, check_sums
from paramserver.leases import Unit
from ps_common.errors import PeerError
from ps_common.figures import AREA_BINS, NAME_MAX, SUMS_MAX
from ps_common.loop_job import LoopJob
from ps_common.messages import Push
from ps_common.plan import Plan

FIGURES = {"accuracy": "ratio", "auc": "area", "rmse": "root"}
LOSS = {"loss": [1.0, 2.0]}


def test_what_the_jobs_figures_take_passes():
    sums = LOSS | {"accuracy": [1.0, 2.0], "auc": [1.0] * (2 * AREA_BINS), "rmse": [1.0, 2.0]}
    assert check_sums(sums, FIGURES) == sums


def test_what_the_job_does_not_name_is_a_ratio():
    assert check_sums(LOSS | {"own": [-1.0, 2.0]}, FIGURES)["own"] == [-1.0, 2.0]


@pytest.mark.parametrize(
    ("sums", "told"),
    [
        ({"auc": [1.0, 2.0]}, f"sums of auc are not {2 * AREA_BINS} finite numbers, all at least 0"),
        ({"accuracy": [1.0] * 3}, "sums of accuracy are not 2 finite numbers, the second at least 0"),
        ({"rmse": [-1.0, 2.0]}, "the metric sums of rmse are not 2 finite numbers, all at least 0"),
        ({"own": [1.0] * (2 * AREA_BINS)}, "the metric sums of own are not 2 finite numbers"),
        ({"accuracy": (1.0, 2.0)}, "are lists of numbers by name"),
        ({7: [1.0, 2.0]}, "are lists of numbers by name"),
        ({"samples": [1.0, 2.0]}, "no metric may be called 'samples'"),
        ({"x" * (NAME_MAX + 1): [1.0, 2.0]}, "no metric may be called 'xxx"),
        ({str(i): [1.0, 2.0] for i in range(SUMS_MAX + 1)}, "a dict of at most 64 entries"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_named(sums, told):
    with pytest.raises(PeerError) as caught:
        check_sums(sums, FIGURES)
    assert told in str(caught.value)


def push_of(samples, sums):
    return Push(1, samples, sums, None, 0.0, 0.0, 0.0)


TRAIN = Unit("train", 0, 1)
KNOWN = LoopJob(plan=Plan(shards=2, batch_size=4), samples=20).describe()
OPEN = LoopJob(plan=Plan(shards=2), rounds=3).describe()


@pytest.mark.parametrize("samples", [1, 512, SAMPLES_MAX])
def test_a_loop_whose_samples_nobody_knows_says_them_and_needs_no_loss(samples):
    assert check_push(push_of(samples, {}), TRAIN, OPEN) == {}
    sums = {"loss": [1.0, float(samples)]}
    assert check_push(push_of(samples, sums), TRAIN, OPEN) == sums


@pytest.mark.parametrize(
    ("samples", "sums", "job", "told"),
    [
        (0, {}, OPEN, "must have 1 to"),
        (SAMPLES_MAX + 1, {}, OPEN, "must have 1 to"),
        (5, {"loss": [1.0, 4.0]}, OPEN, "are over 4 samples, not 5"),
        (5, {}, KNOWN, "has 4 samples, the contribution says 5"),
    ],
)
def test_what_a_loop_says_has_bounds(samples, sums, job, told):
    with pytest.raises(PeerError, match=told):
        check_push(push_of(samples, sums), TRAIN, job)
