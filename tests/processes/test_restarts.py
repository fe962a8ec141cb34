"""Who is killed is started again by whoever started it, so often and no more; who fails is not."""

import dataclasses
import os
import signal
import socket

import psutil
import pytest

from paramserver import ClusterError
from processes import jobs
from processes.strikes import Strike
from processes.world import eventually, newest_round
from ps_common import address

LISTENING = "listening: start workers with --master "
EVERY_ROUND = ("--checkpoint-every", "1round")
MASTER, WORKER = "paramserver.cli.server", "ps_worker.cli"


def held_local(world, *flags):
    """ps-local in mid-run, a worker at the gate; the pid of that worker."""
    world.hold()
    local = world.start("ps-local", world.job(jobs.GATED), "-n", 2, "--json", "record.json", *flags)
    local.wait_for(LISTENING)
    return local, eventually(lambda: world.held_pids(), "no worker came to the gate")[0]


def of_kind(local, module):
    """The process ids of ps-local's children that run a module."""
    pids = []
    for child in local.children():
        try:
            pids += [child.pid] if module in child.cmdline() else []
        except psutil.Error:  # it has just ended
            continue
    return pids


def another_master(local, pids):
    """Wait for a master that is none of these; its process id."""
    return eventually(lambda: set(of_kind(local, MASTER)) - set(pids), "the master is started again").pop()


def test_ps_local_starts_a_killed_worker_again(world, undisturbed):
    local, worker = held_local(world)
    os.kill(worker, signal.SIGKILL)
    line = local.wait_for("was killed by signal 9; starting it again (1 of 10 times)")
    assert line.startswith("worker ")
    eventually(lambda: local.said.count(" joined from ") >= 3, "it joins")
    world.release()
    assert local.wait(60) == 0
    record = world.json()
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert len({worker["pid"] for worker in record["workers"]}) == 3


@pytest.mark.parametrize("keeps", [False, True])
def test_ps_local_starts_a_killed_master_again_which_goes_on_or_begins_anew(world, undisturbed, keeps):
    kept = world.folder / "kept"
    local, _ = held_local(world, *(("--checkpoint", kept, *EVERY_ROUND) if keeps else ()))
    if keeps:
        eventually(lambda: newest_round(kept) > 0, "a round is saved")
    os.kill(of_kind(local, MASTER)[0], signal.SIGKILL)
    local.wait_for("the master was killed by signal 9; starting it again (1 of 10 times)")
    world.release()
    assert local.wait(60) == 0
    record = world.json()
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert record["term"] == (2 if keeps else 1)
    assert record["samples"] == 4 * jobs.SAMPLES
    assert ("resuming run" in local.said) == keeps
    assert local.said.count(LISTENING) == 2
    assert len({line for line in local.said.splitlines() if LISTENING in line}) == 1, "at the same address"


def test_a_master_is_started_again_so_often_and_no_more(world):
    local, _ = held_local(world, "--restarts", 2)
    killed = of_kind(local, MASTER)
    for number in (1, 2):
        os.kill(killed[-1], signal.SIGKILL)
        local.wait_for(f"starting it again ({number} of 2 times)")
        eventually(lambda n=number: local.said.count(LISTENING) == n + 1, "it listens again")
        killed.append(another_master(local, killed))
    os.kill(killed[-1], signal.SIGKILL)
    world.release()
    assert local.wait(30) == 128 + signal.SIGKILL
    assert "ps-local: the master was killed by signal 9; with --checkpoint, start again" in local.said


def test_a_run_whose_every_worker_was_killed_too_often_ends(world):
    world.hold()
    flags = ("-n", 1, "--restarts", 1, "--shutdown-timeout", 2)
    local = world.start("ps-local", world.job(jobs.GATED), *flags)
    for _ in range(2):
        worker = eventually(lambda: [p for p in world.held_pids() if psutil.pid_exists(p)], "it is held")[0]
        os.kill(worker, signal.SIGKILL)
        eventually(lambda w=worker: not psutil.pid_exists(w), "it is gone")
    assert local.wait(30) == 128 + signal.SIGKILL
    assert "every worker left with an error" in local.said


def test_a_worker_that_fails_by_itself_is_not_started_again(world):
    local = world.start("ps-local", world.job(jobs.RAISING), "-n", 2)
    assert local.wait(60) == 1
    assert "starting it again" not in local.said


def test_a_second_int_while_a_killed_master_starts_again_leaves_nothing(world):
    local, _ = held_local(world)
    killed = of_kind(local, MASTER)
    os.kill(killed[0], signal.SIGKILL)
    another_master(local, killed)
    local.send(signal.SIGINT)
    local.send(signal.SIGTERM)
    code = local.wait(30)
    assert code in (130, 143)
    assert not world.left_behind()
    world.forgive_temporary_files()  # of the master, which was killed while it began


@pytest.mark.parametrize("started", [1, 2, 3])
def test_two_signals_at_the_very_moment_that_a_child_is_started_leave_nothing(world, started):
    """A child that is there already, and that its parent does not know of yet, would be left."""
    forked = Strike("subprocess:Popen._execute_child", MASTER if started == 1 else WORKER)
    with dataclasses.replace(forked, count=max(1, started - 1)).armed(signal.SIGINT, signal.SIGTERM):
        code, said = world.run("ps-local", world.job(), "-n", 2)
    assert code == 143, said
    assert not world.left_behind()
    world.forgive_temporary_files()  # of the master, which was killed while it began


def test_int_while_a_killed_master_starts_again_stops_the_run(world):
    local, _ = held_local(world, "--shutdown-timeout", 2)
    killed = of_kind(local, MASTER)
    os.kill(killed[0], signal.SIGKILL)
    another_master(local, killed)
    local.send(signal.SIGINT)
    world.release()
    assert local.wait(20) == 0
    assert not world.left_behind()


def test_a_cluster_starts_again_who_was_killed_from_outside_and_not_whom_it_was_asked_to_kill(
    world, undisturbed
):
    world.hold()
    with world.cluster(jobs.GATED, restarts=3) as cluster:
        worker = world.held(cluster)
        child = cluster.workers[worker]
        before = child.process.pid
        os.kill(before, signal.SIGKILL)
        eventually(lambda: cluster.look_after() and child.process.pid != before, "it is started again")
        cluster.kill_worker(1 - worker)
        assert cluster.look_after()
        assert not cluster.workers[1 - worker].is_alive
        assert [cluster.workers[n].restarts for n in (worker, 1 - worker)] == [1, 0]
        cluster.kill_master()
        assert not cluster.look_after()
        cluster.start_master()
        world.release()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)


def test_the_port_of_a_killed_master_is_nobody_elses_until_it_is_back(world):
    with world.cluster(workers=0) as cluster:
        before, (host, port) = cluster.address, address.split(cluster.address)
        cluster.kill_master()
        cluster.master.process.wait()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((host, port))
        cluster.start_master()
        assert cluster.address == before


def test_without_restarts_a_cluster_starts_nobody_again(world):
    world.hold()
    with world.cluster(jobs.GATED, workers=1) as cluster:
        world.held(cluster)
        os.kill(cluster.workers[0].process.pid, signal.SIGKILL)
        cluster.wait_for("is lost: its process .* has ended")
        assert not cluster.workers[0].is_alive
        os.kill(cluster.master.process.pid, signal.SIGKILL)
        with pytest.raises(ClusterError) as raised:
            cluster.wait(30)
    assert raised.value.exit_code == 128 + signal.SIGKILL
