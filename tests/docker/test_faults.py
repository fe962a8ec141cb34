"""Containers are killed, stopped, cut off, added and limited: the run goes on, and no bit changes."""

import concurrent.futures
import re
import time

import pytest

from processes.world import eventually
from support_engine import docker, inspect

pytestmark = pytest.mark.timeout(600)
HEALTHCHECK = ("python", "-I", "/opt/paramserver/healthcheck.py")
CUT_OFF_S = 10.0  # as long as a connection may be silent before it counts as broken


def start(project, workers, *services):
    """A run whose workers are all held in round 6, each with a unit in hand; their containers."""
    project.hold(6)
    project.up("master", "worker", *services, workers=workers)
    containers = project.containers("worker") + [one for name in services for one in project.containers(name)]
    project.wait_until_held(6, containers)
    return containers


def wait_until_lost(project, container):
    """Wait until the master misses this worker, by the name that it has there."""
    master = project.master()
    name = re.findall(rf"(\S+) joined from {container}", project.log(master))[-1]
    project.wait_for(master, f"{name} is lost: not heard of")


def finish(project, demo):
    """Let the run come to its end; its record."""
    record = project.finish()
    assert record["weights_sha256"] == demo.digest
    assert record["samples"] == 40_000
    return record


def test_a_killed_master_that_is_back_at_another_address_changes_no_bit(gated, demo):
    """Workers look up its name again. It goes on from its last checkpoint."""
    start(gated, 3)
    master = gated.master()
    before = gated.address(master)
    whole = ("/runs/checkpoints", "-name", "round-*.safetensors")
    eventually(lambda: docker("exec", master, "find", *whole), "a round is saved", 120.0)
    docker("kill", master)
    with gated.newcomer():
        docker("start", master)
        gated.wait_for(master, "resuming run")
        assert gated.address(master) != before
        gated.release(6)
        finish(gated, demo)
    assert gated.exit_codes("worker") == [0] * 3


def test_a_killed_and_a_frozen_worker_change_no_bit(gated, demo):
    """The frozen one joins again, and works again."""
    killed, frozen, other = start(gated, 3)
    gated.hold(20)
    docker("kill", killed)
    docker("pause", frozen)
    wait_until_lost(gated, killed)
    wait_until_lost(gated, frozen)
    gated.release(6)
    gated.wait_until_held(20, [other])
    docker("unpause", frozen)
    gated.wait_until_held(20, [frozen, other])
    gated.release(20)
    finish(gated, demo)
    assert "joining again" in gated.log(frozen)
    assert sorted(gated.exit_codes("worker")) == [0, 0, 137]


def test_a_worker_without_network_for_a_while_changes_no_bit(gated, demo):
    """It is back at another address, joins again, and works again."""
    cut_off, *others = start(gated, 3)
    gated.hold(20)
    docker("network", "disconnect", gated.network, cut_off)
    wait_until_lost(gated, cut_off)
    gated.release(6)
    gated.wait_until_held(20, others)
    time.sleep(CUT_OFF_S)
    docker("network", "connect", gated.network, cut_off)
    gated.wait_until_held(20, [cut_off, *others])
    gated.release(20)
    finish(gated, demo)
    assert "joining again" in gated.log(cut_off)
    assert gated.exit_codes("worker") == [0] * 3


def test_three_then_five_then_two_workers_change_no_bit(gated, demo):
    start(gated, 3)
    gated.up("master", "worker", workers=5)
    five = gated.containers("worker")
    gated.hold(20)
    gated.wait_until_held(6, five)
    gated.release(6)
    gated.wait_until_held(20, five)
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        scaling = thread.submit(gated.up, "master", "worker", workers=2)  # returns when three have left
        asked = "asked to stop: leaving after the unit in hand"
        eventually(
            lambda: sum(asked in gated.log(one) for one in five) == 3, "three are asked to stop", 120.0
        )
        gated.release(20)
        scaling.result(120)
    finish(gated, demo)
    assert len(gated.containers("worker")) == 2
    assert gated.exit_codes("worker") == [0] * 2


def test_a_master_that_is_stopped_takes_leave_and_goes_on_with_the_next_up(gated, demo):
    """`docker stop` sends SIGTERM to the process itself: units in hand are finished, then all leave."""
    start(gated, 2)
    master = gated.master()
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        stopping = thread.submit(docker, "stop", "--time", 60, master)
        gated.wait_for(master, "stopping (asked to stop)")
        gated.release(6)
        stopping.result(90)
    assert gated.record()["status"] == "stopped"
    assert [*gated.exit_codes("master"), *gated.exit_codes("worker")] == [0] * 3
    gated.up("master", "worker", workers=2)
    finish(gated, demo)
    assert "resuming run" in gated.log(gated.master())


def test_a_worker_with_128_mb_and_a_fifth_of_a_core_changes_no_bit(gated, demo):
    """It has a unit in hand, and others when it is done. It is healthy, as all are."""
    for container in [*start(gated, 1, "slow"), gated.master()]:
        docker("exec", container, *HEALTHCHECK)
    (slow,) = gated.containers("slow")
    limits = inspect(slow)["HostConfig"]
    assert (limits["Memory"], limits["NanoCpus"]) == (128 << 20, 200_000_000)
    gated.release(6)
    record = finish(gated, demo)
    assert gated.exit_codes("slow") + gated.exit_codes("worker") == [0, 0]
    assert {worker["host"] for worker in record["workers"] if worker["units"]} >= {slow}
