"""The number of workers, the way of the data and chance change no bit; every sample counts once."""

import numpy as np
import pytest

from processes import jobs


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_no_bit(world, undisturbed, workers):
    record = world.record(workers=workers)
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)
    assert sum(worker["units"] > 0 for worker in record["workers"]) >= 1
    assert len({worker["pid"] for worker in record["workers"]}) == workers


def test_the_same_job_again_gives_the_same_bits_and_another_seed_others(world, undisturbed):
    assert world.record(workers=1)["weights_sha256"] == undisturbed(jobs.PLAIN)
    assert world.record(workers=1, flags=("--seed", 2))["weights_sha256"] != undisturbed(jobs.PLAIN)


@pytest.mark.parametrize("workers", [2, 3])
def test_averaged_optimizer_state_and_dropout_change_with_no_number_of_workers(world, undisturbed, workers):
    digest = undisturbed(jobs.ADAM)
    assert world.record(jobs.ADAM, workers)["weights_sha256"] == digest
    assert digest != undisturbed(jobs.PLAIN)


def test_streamed_and_shared_data_give_the_same_bits(world, undisturbed):
    path = jobs.write_npz(world.folder / "digits.npz")
    streamed = world.record(jobs.on_file(path, "stream"))
    shared = world.record(jobs.on_file(path, "shared"))
    assert streamed["weights_sha256"] == shared["weights_sha256"] == undisturbed(jobs.PLAIN)
    assert streamed["bytes_sent"] > shared["bytes_sent"] + 240 * 12 * 4  # the rows


@pytest.mark.parametrize("workers", [1, 2])
def test_shards_of_unequal_size_count_every_sample_once(world, workers):
    sizes, out = (40, 72, 16), world.folder / "counts.safetensors"  # 5, 9 and 2 batches, 2 a round
    record = world.record(jobs.counting(sizes, epochs=1), workers, ("--out", out))
    assert (record["rounds"], record["samples"]) == (5, 128)
    assert sum(worker["samples"] for worker in record["workers"]) == 128
    # By shard: how many of its samples had which share of a round.
    expected = [
        [1 / 3] * 24 + [1 / 2] * 16,
        [1 / 3] * 16 + [1 / 2] * 16 + [2 / 3] * 16 + [1] * 24,
        [1 / 3] * 16,
    ]
    shares = np.split(jobs.counts(out), np.cumsum(sizes)[:-1])
    for share, wanted in zip(shares, expected, strict=True):
        np.testing.assert_allclose(np.sort(share), wanted, rtol=1e-12)


def test_every_sample_of_every_epoch_counts_once(world):
    out = world.folder / "counts.safetensors"
    record = world.record(jobs.counting((50,) * 4, epochs=3), 2, ("--out", out))
    assert record["samples"] == 600
    assert (jobs.counts(out) * 4 == 3).all()  # quarters: exact
