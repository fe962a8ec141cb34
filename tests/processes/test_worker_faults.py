"""Workers die, freeze, come and go: the run completes with the same bits."""

import signal

import pytest

from processes import jobs
from processes.world import events, eventually


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_sigkill_of_a_worker_is_told_by_the_kernel_and_changes_no_bit(world, undisturbed, transport):
    world.hold()
    with world.cluster(jobs.GATED, 1, ("--transport", transport)) as cluster:
        world.held(cluster)
        killed = cluster.start_worker()  # nobody is left to race its unit
        eventually(lambda: killed.process.pid in world.held_pids(), "it comes to the gate, too")
        killed.process.kill()
        cluster.wait_for(f"is lost: its process {killed.process.pid} has ended")
        world.release()
        record = cluster.wait(60)
    assert record["status"] == "finished"
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert len([event for event in events(record, "loss") if "has ended" in event["text"]]) == 1
    assert events(record, "release"), "it had a unit in hand"
    assert sum(worker["samples"] for worker in record["workers"]) == record["samples"] == 4 * jobs.SAMPLES


def test_every_sample_counts_once_though_a_worker_is_killed_and_another_joins(world):
    out = world.folder / "counts.safetensors"
    world.hold()
    with world.cluster(jobs.counting((50,) * 4, epochs=4), 2, ("--out", out)) as cluster:
        cluster.kill_worker(world.held(cluster))
        cluster.start_worker()
        world.release()
        record = cluster.wait(60)
    assert events(record, "loss")
    assert (jobs.counts(out) * 4 == 4).all()


def test_a_worker_frozen_for_longer_than_its_silence_is_allowed_changes_no_bit(world, undisturbed):
    world.hold()
    with world.cluster(jobs.GATED) as cluster:
        frozen = world.held(cluster)
        cluster.kill_worker(frozen, signal.SIGSTOP)
        cluster.wait_for(f"{world.name_of(cluster, frozen)} is lost: not heard of")
        cluster.kill_worker(frozen, signal.SIGCONT)
        eventually(lambda: "joining again" in cluster.worker_log(frozen), "the thawed worker joins again")
        world.release()
        record = cluster.wait(60)
        assert cluster.workers[frozen].process.wait(30) == 0
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert len(events(record, "join")) >= 3


def test_all_workers_killed_and_new_ones_started_changes_no_bit(world, undisturbed):
    world.hold()
    with world.cluster(jobs.GATED) as cluster:
        world.held(cluster)
        cluster.kill_worker(0)
        cluster.kill_worker(1)
        cluster.wait_for("waiting for workers: 0 of 1", 20)
        world.release()
        cluster.start_worker()
        cluster.start_worker()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert len([event for event in events(record, "loss") if "has ended" in event["text"]]) == 2


def test_a_worker_that_joins_in_mid_run_works_and_changes_no_bit(world, undisturbed):
    world.hold()
    with world.cluster(jobs.GATED, workers=1) as cluster:
        world.held(cluster)
        cluster.start_worker()
        cluster.wait_for("worker-2 joined")
        world.release()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert len({worker["pid"] for worker in record["workers"]}) == 2
    assert sum(worker["samples"] for worker in record["workers"]) == record["samples"]


def test_a_worker_asked_to_leave_finishes_its_unit_and_the_run_goes_on(world, undisturbed):
    world.hold()
    with world.cluster(jobs.GATED, 1) as cluster:
        world.held(cluster)
        leaver = cluster.start_worker().process  # nobody is left to race its unit
        eventually(lambda: leaver.pid in world.held_pids(), "it comes to the gate, too")
        cluster.kill_worker(1, signal.SIGTERM)
        eventually(lambda: "asked to stop" in cluster.worker_log(1), "it says that it was asked to")
        world.let_pass(leaver.pid)
        assert leaver.wait(30) == 0
        world.release()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert any(event["text"].endswith("left: asked to stop") for event in events(record, "leave"))
    samples = sum(w["samples"] for w in record["workers"] if w["pid"] == leaver.pid)
    assert samples >= 8 * jobs.HOLD_AT, "its unit was finished, not given to another"
    assert not [event for event in events(record, "loss") if "has ended" in event["text"]]


def test_a_worker_asked_twice_leaves_at_once(world, undisturbed):
    world.hold()
    with world.cluster(jobs.GATED, 1) as cluster:
        world.held(cluster)
        leaver = cluster.start_worker().process  # nobody is left to race its unit, or it would have none
        eventually(lambda: leaver.pid in world.held_pids(), "it comes to the gate, too")
        cluster.kill_worker(1, signal.SIGTERM)
        eventually(lambda: "asked to stop" in cluster.worker_log(1), "it says that it was asked to")
        cluster.kill_worker(1, signal.SIGTERM)
        assert leaver.wait(30) == 143
        world.release()
        assert cluster.wait(60)["weights_sha256"] == undisturbed(jobs.GATED)
