"""A worker is killed, or stopped for longer than it may be silent, in any state: no bit changes."""

import signal

import pytest

from processes import jobs
from processes.strikes import Strike, await_strike
from processes.world import eventually

TEXT = {"tcp": jobs.CHUNKED, "shm": jobs.EARLY}
EPOCHS = {"tcp": 2, "shm": 4}

# While another worker is held with one unit of a round, this one is given others, and then none.
MOMENTS = {
    ("tcp", "before it joins"): Strike("sent", "Join(", is_before=True),
    ("tcp", "joined"): Strike("received", "Welcome("),
    ("tcp", "leased"): Strike("received", "Lease("),
    ("tcp", "pulling"): Strike("sent", "Pull("),
    ("tcp", "with some of the weights"): Strike("received", "Weights(", 2),
    ("tcp", "computing"): Strike("ps_worker.replica:Replica.train", is_before=True),
    ("tcp", "computed, before its push"): Strike("sent", "Push(", is_before=True),
    ("tcp", "between chunks"): Strike("sent", "Chunk(", 2),
    ("tcp", "after the last chunk"): Strike("sent", "index=4,"),
    ("tcp", "waiting"): Strike("received", "Accepted("),
    ("shm", "leased"): Strike("received", "Lease("),
    ("shm", "computing"): Strike("ps_worker.replica:Replica.train", is_before=True),
    ("shm", "after its push"): Strike("sent", "Push("),
    ("shm", "after its second push"): Strike("sent", "Push(", 2),
    ("shm", "waiting"): Strike("received", "Accepted("),
}
EVALUATING = Strike("ps_worker.replica:Replica.evaluate", is_before=True)
HOW = [signal.SIGKILL, signal.SIGSTOP]


def check(record, transport, undisturbed):
    assert record["weights_sha256"] == undisturbed(TEXT[transport])
    assert record["samples"] == EPOCHS[transport] * jobs.SAMPLES
    assert sum(worker["samples"] for worker in record["workers"]) == record["samples"]


def thaw(cluster, number, says):
    """A stopped worker goes on when the master has given it up, and notices."""
    if says == "joining again":
        cluster.wait_for("worker-2 is lost: not heard of")
    cluster.kill_worker(number, signal.SIGCONT)
    eventually(lambda: says in cluster.worker_log(number), "it is a member again")


@pytest.mark.parametrize("how", HOW, ids=lambda how: how.name)
@pytest.mark.parametrize(("transport", "state"), [pytest.param(*at, id=" ".join(at)) for at in MOMENTS])
def test_a_worker_struck_in_any_state_changes_no_bit(world, undisturbed, transport, state, how):
    world.hold()
    with world.cluster(TEXT[transport], 1, ("--transport", transport)) as cluster:
        world.held(cluster)
        with MOMENTS[transport, state].armed(how):
            struck = cluster.start_worker().process
        await_strike(struck, how)
        if how == signal.SIGSTOP:
            thaw(cluster, 1, "joined run" if state == "before it joins" else "joining again")
        world.release()
        record = cluster.wait(60)
        assert struck.wait(30) == (0 if how == signal.SIGSTOP else -how)
    check(record, transport, undisturbed)


@pytest.mark.parametrize("how", HOW, ids=lambda how: how.name)
@pytest.mark.parametrize("transport", ["tcp", "shm"])
def test_a_worker_struck_while_it_evaluates_changes_no_bit(world, undisturbed, transport, how):
    """After the first epoch; the other worker comes to the gate in the second."""
    world.hold()
    flags = ("--transport", transport, "--begin-with", 2)
    with world.cluster(TEXT[transport], 1, flags) as cluster:
        with EVALUATING.armed(how):
            struck = cluster.start_worker().process
        await_strike(struck, how)
        if how == signal.SIGSTOP:
            thaw(cluster, 1, "joining again")
        world.release()
        record = cluster.wait(60)
        assert struck.wait(30) == (0 if how == signal.SIGSTOP else -how)
    check(record, transport, undisturbed)


@pytest.mark.parametrize("transport", ["tcp", "shm"])
def test_two_workers_killed_at_once_change_no_bit(world, undisturbed, transport):
    world.hold()
    with world.cluster(TEXT[transport], 1, ("--transport", transport)) as cluster:
        world.held(cluster)
        with Strike("sent", "Push(").armed(signal.SIGKILL):
            struck = [cluster.start_worker().process for _ in range(2)]
        for process in struck:
            await_strike(process, signal.SIGKILL)
        world.release()
        record = cluster.wait(60)
    check(record, transport, undisturbed)


@pytest.mark.parametrize("transport", ["tcp", "shm"])
def test_a_worker_killed_started_again_and_killed_again_changes_no_bit(world, undisturbed, transport):
    world.hold()
    with world.cluster(TEXT[transport], 1, ("--transport", transport), restarts=2) as cluster:
        world.held(cluster)
        with Strike("sent", "Push(").armed(signal.SIGKILL):
            child = cluster.start_worker()
            for number in (1, 2):  # each of its lives ends as the one before
                eventually(
                    lambda n=number: cluster.look_after() and child.restarts == n, "it is started again"
                )
        await_strike(child.process, signal.SIGKILL)
        world.release()
        record = cluster.wait(60)
    check(record, transport, undisturbed)
