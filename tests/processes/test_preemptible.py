"""Who asks these processes to leave starts them again, as Kubernetes does: the run goes on, bit for bit.

Each test has its twin without the flag: the run is over then, or a worker counts as done.
"""

import signal

import pytest

from processes import jobs
from processes.world import eventually, newest_round

LISTENING = "listening: start workers with --master "


def start_master(world, *flags, bind="tcp://127.0.0.1:0"):
    kept = ("--checkpoint", world.folder / "kept", "--checkpoint-every", "1h", "--json", "record.json")
    master = world.start("ps-server", world.job(jobs.GATED), "--bind", bind, *kept, *flags)
    return master, master.wait_for(LISTENING).removeprefix(LISTENING)


def start_worker(world, address, *flags):
    return world.start("ps-worker", "--master", address, "--job", world.folder / "job.py", *flags)


def held(world):
    eventually(lambda: world.held_pids(), "no worker came to the gate")


def test_a_master_that_is_asked_to_leave_goes_on_with_its_workers_at_its_next_start(world, undisturbed):
    world.hold()
    master, address = start_master(world, "--preemptible", "--stay")
    worker = start_worker(world, address, "--preemptible")
    held(world)
    master.send(signal.SIGTERM)
    assert master.wait(30) == 143
    assert newest_round(world.folder / "kept") > 0, "it has saved, long before that was due"
    assert world.json()["status"] == "stopped"
    master, _ = start_master(world, "--preemptible", "--stay", bind=address)
    master.wait_for("resuming run")
    world.release()
    assert worker.wait(60) == 0, "it waited, and has heard that the run is over"
    master.wait_for("staying to tell who comes")
    record = world.json()
    assert (record["status"], record["term"]) == ("finished", 2)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert start_worker(world, address, "--preemptible").wait(30) == 0, "who comes late hears of it, too"
    code, said = world.run("ps-status", "--master", address)
    assert (code, "over: finished" in said) == (0, True)
    master.send(signal.SIGTERM)
    assert master.wait(30) == 0


def test_the_signal_of_our_own_commands_ends_the_run(world):
    """Of ps-ray, which starts such a master, and stops it when it is itself asked to."""
    world.hold()
    master, address = start_master(world, "--preemptible")
    worker = start_worker(world, address)
    held(world)
    master.send(signal.SIGUSR2)
    master.wait_for("stopping (asked to stop)")
    world.release()
    assert (master.wait(30), worker.wait(30)) == (0, 0)


def test_without_the_flag_a_master_that_is_asked_to_leave_ends_the_run(world):
    world.hold()
    master, address = start_master(world)
    worker = start_worker(world, address)
    held(world)
    master.send(signal.SIGTERM)
    master.wait_for("stopping (asked to stop)")
    world.release()
    assert (master.wait(30), worker.wait(30)) == (0, 0)
    assert world.json()["rounds"] < 12


@pytest.mark.parametrize(("flags", "code"), [(("--preemptible",), 143), ((), 0)], ids=["preemptible", "twin"])
def test_a_worker_that_is_asked_to_leave_finishes_its_unit_and_does_not_count_as_done(world, flags, code):
    world.hold()
    master, address = start_master(world)
    worker = start_worker(world, address, *flags)
    held(world)
    worker.send(signal.SIGTERM)
    worker.wait_for("leaving after the unit in hand")
    world.release()
    assert worker.wait(30) == code
    master.wait_for("left: asked to stop")
    master.send(signal.SIGTERM)
    assert master.wait(30) == 0
    assert 0 < world.json()["rounds"] < 12
