"""The master dies: the workers stay, it is started again and goes on with the same bits."""

import random

import pytest

from paramserver import checkpoint
from processes import jobs
from processes.world import eventually, newest_round

EVERY_ROUND = ("--checkpoint-every", "1round")


def test_sigkill_of_the_master_and_a_restart_changes_no_bit(world, undisturbed):
    world.hold()
    kept = world.folder / "kept"
    with world.cluster(jobs.GATED, flags=("--checkpoint", kept, *EVERY_ROUND)) as cluster:
        world.held(cluster)
        eventually(lambda: newest_round(kept) > 0, "a round is saved")
        cluster.kill_master()
        cluster.start_master()
        cluster.wait_for("resuming run .* at round [1-9]")
        world.all_join(cluster, 4)
        world.release()
        record = cluster.wait(60)
        assert [worker.process.wait(60) for worker in cluster.workers] == [0, 0], "they stayed"
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert (record["term"], record["samples"], record["epochs"]) == (2, 4 * jobs.SAMPLES, 4)


def test_the_workers_wait_for_a_master_that_comes_back_late(world, undisturbed):
    world.hold()
    kept = world.folder / "kept"
    with world.cluster(jobs.GATED, flags=("--checkpoint", kept, *EVERY_ROUND)) as cluster:
        world.held(cluster)
        cluster.kill_master()
        world.release()
        for number in (0, 1):
            eventually(lambda n=number: "nothing heard of the master" in cluster.worker_log(n), "it waits")
        cluster.start_master()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)


def test_sigkill_of_the_master_before_the_first_checkpoint_begins_anew_with_the_same_bits(world, undisturbed):
    world.hold()
    flags = ("--checkpoint", world.folder / "kept", "--checkpoint-every", "1h")
    with world.cluster(jobs.GATED, flags=flags) as cluster:
        world.held(cluster)
        cluster.kill_master()
        cluster.start_master()
        world.release()
        record = cluster.wait(60)
        assert "resuming" not in cluster.master_log()
    assert record["term"] == 1
    assert record["weights_sha256"] == undisturbed(jobs.GATED)


def test_master_and_workers_killed_together_go_on_from_the_checkpoint(world, undisturbed):
    world.hold()
    kept = world.folder / "kept"
    with world.cluster(jobs.GATED, flags=("--checkpoint", kept, *EVERY_ROUND)) as cluster:
        world.held(cluster)
        eventually(lambda: newest_round(kept) > 0, "a round is saved")
    world.release()
    record = world.record(jobs.GATED, 1, ("--checkpoint", kept))
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert record["term"] == 2


def test_sigkill_of_the_master_again_and_again_changes_no_bit(world, undisturbed):
    """Killed at random rounds with a checkpoint every round: most of the time one is being written."""
    text = jobs.PLAIN.replace("epochs=4", "epochs=50")
    kept = world.folder / "kept"
    with world.cluster(text, flags=("--checkpoint", kept, *EVERY_ROUND)) as cluster:
        for version in sorted(random.Random(1).sample(range(1, 120), 3)):
            eventually(lambda v=version: newest_round(kept) >= v, f"round {version} is saved")
            cluster.kill_master()
            cluster.start_master()
        record = cluster.wait(60)
        assert [worker.process.wait(60) for worker in cluster.workers] == [0, 0], "they stayed"
    assert record["weights_sha256"] == undisturbed(text)
    assert (record["term"], record["samples"], len(record["history"])) == (4, 50 * jobs.SAMPLES, 50)


def test_a_master_killed_for_good_is_75(world):
    world.hold()
    with world.cluster(jobs.GATED) as cluster:
        cluster.start_worker("--master-timeout", "5")
        eventually(lambda: "joined run" in cluster.worker_log(2), "it joins")
        world.held(cluster)
        cluster.kill_master()
        world.release()
        assert cluster.workers[2].process.wait(30) == 75
        assert "lost the master: not heard of for 5 s" in cluster.worker_log(2)


# -- resuming a stopped run -------------------------------------------------------------------------------


def test_a_run_goes_on_for_more_epochs_with_the_bits_of_one_run(world, undisturbed, stopped):
    record = world.record(workers=2, flags=("--checkpoint", stopped))
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)
    assert (record["rounds"], record["epochs"], len(record["history"])) == (12, 4, 4)


def test_a_finished_run_started_again_ends_at_once(world, stopped):
    with world.cluster(workers=0, flags=("--epochs", 2, "--checkpoint", stopped)) as cluster:
        record = cluster.wait(30)  # there is no worker to wait for
    assert (record["status"], record["rounds"]) == ("finished", 6)


def test_a_damaged_checkpoint_is_skipped_and_named(world, undisturbed, stopped):
    newest = checkpoint.checkpoints(stopped)[0]
    data = newest.read_bytes()
    newest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with world.cluster(workers=1, flags=("--checkpoint", stopped)) as cluster:
        record = cluster.wait(60)
        line = cluster.wait_for("skipped a checkpoint")
    assert str(newest) in line
    assert "is damaged: its checksum is" in line
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)


def test_resume_never_begins_anew(world, undisturbed, stopped):
    flags = ("--checkpoint", stopped, "--resume", "never")
    record = world.record(workers=1, flags=flags)
    assert (record["term"], record["rounds"]) == (1, 12)
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)


def test_a_checkpoint_of_another_job_is_skipped_and_named(world, stopped):
    with world.cluster(workers=1, flags=("--checkpoint", stopped, "--seed", 9)) as cluster:
        assert cluster.wait(60)["term"] == 1
        assert "is of another job" in cluster.wait_for("skipped a checkpoint")


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_resuming_a_truncated_checkpoint_by_its_path_is_65(world, stopped, part):
    newest = checkpoint.checkpoints(stopped)[0]
    data = newest.read_bytes()
    newest.write_bytes(data[: int(len(data) * part)])
    code, said = world.run("ps-server", world.job(), "--bind", "tcp://127.0.0.1:0", "--resume", newest)
    assert code == 65
    assert f"{newest} is damaged: " in said
    assert "Traceback" not in said
