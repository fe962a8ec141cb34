"""It stops: after INT, TERM or KILL nothing runs, listens or lies about that should not."""

import signal

import pytest

from paramserver import checkpoint
from processes import jobs
from processes.world import eventually, is_listening

LISTENING = "listening: start workers with --master "
ENDLESS = jobs.GATED.replace("epochs=4", "epochs=100_000")  # it does not end by itself


def held_local(world, *flags, text=jobs.GATED):
    """ps-local in mid-run, all its workers at the gate; the address of its master."""
    world.hold()
    local = world.start("ps-local", world.job(text), "-n", 2, *flags)
    address = local.wait_for(LISTENING).removeprefix(LISTENING)
    world.all_held()
    return local, address


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_to_ps_local_finishes_the_units_writes_a_checkpoint_and_is_0(world, undisturbed, number):
    kept = world.folder / "kept"
    local, address = held_local(world, "--checkpoint", kept, "--json", "record.json")
    assert is_listening(address)
    local.send(number)
    local.wait_for("stopping (asked to stop)")
    world.release()
    assert local.wait(30) == 0
    assert not world.left_behind()
    assert not is_listening(address)
    assert not list(world.temporary.iterdir())
    assert world.json()["status"] == "stopped"
    assert 0 < world.json()["rounds"] < 12
    assert len(checkpoint.checkpoints(kept)) == 1
    record = world.record(jobs.GATED, 1, ("--checkpoint", kept))
    assert record["weights_sha256"] == undisturbed(jobs.GATED)


def test_a_second_int_to_ps_local_is_130_at_once(world):
    local, address = held_local(world)
    local.send(signal.SIGINT)
    local.wait_for("stopping (asked to stop)")
    assert local.process.poll() is None
    local.send(signal.SIGINT)
    assert local.wait(30) == 130
    assert not world.left_behind()
    assert not is_listening(address)
    assert "Traceback" not in local.said


def test_int_before_the_run_has_begun_is_0(world):
    world.hold()
    slow = "import time, pathlib\npathlib.Path(__file__).with_name('loading').touch()\ntime.sleep(60)\n"
    local = world.start("ps-local", world.job(slow + jobs.PLAIN))
    eventually((world.folder / "loading").exists, "the master loads the job")
    local.send(signal.SIGINT)
    assert local.wait(30) == 0
    assert "Traceback" not in local.said


def test_ctrl_c_while_it_waits_for_workers_is_0(world):
    server = world.start("ps-server", world.job(), "--bind", "tcp://127.0.0.1:0")
    server.wait_for("waiting for workers: 0 of 1 workers here")
    server.send(signal.SIGINT)
    assert server.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_to_ps_server_finishes_the_units_and_sends_the_workers_home(world, number):
    world.hold()
    with world.cluster(jobs.GATED) as cluster:
        world.held(cluster)
        cluster.kill_master(number)
        cluster.wait_for("stopping")
        world.release()
        record = cluster.wait(30)
        assert [worker.process.wait(30) for worker in cluster.workers] == [0, 0]
    assert record["status"] == "stopped"


def test_a_second_term_to_ps_server_is_143_at_once(world):
    world.hold()
    with world.cluster(jobs.GATED) as cluster:
        world.all_held()
        cluster.kill_master(signal.SIGTERM)
        cluster.wait_for("stopping")
        cluster.kill_master(signal.SIGTERM)
        assert cluster.master.process.wait(30) == 143


def test_nothing_lasts_longer_than_the_shutdown_timeout(world):
    local, _ = held_local(world, "--shutdown-timeout", 2)
    local.send(signal.SIGTERM)
    assert local.wait(20) == 0  # the workers are still at the gate
    assert not world.left_behind()


def test_kill_of_ps_local_ends_its_master_and_workers(world):
    local, address = held_local(world, text=ENDLESS)
    local.send(signal.SIGKILL)
    local.wait(30)
    world.release()
    eventually(lambda: not world.left_behind(), "they watch their parent")
    assert not is_listening(address)
    world.forgive_temporary_files()


def test_kill_of_the_master_of_ps_local_that_may_not_start_it_again_ends_it_and_says_so(world):
    local, _ = held_local(world, "--restarts", 0)
    (master,) = [child for child in local.children() if "paramserver.cli.server" in child.cmdline()]
    master.kill()
    world.release()
    assert local.wait(30) == 128 + signal.SIGKILL
    assert "ps-local: the master was killed by signal 9" in local.said
    assert not world.left_behind()


def test_kill_of_ps_local_before_its_children_are_up_ends_them(world):
    slow = "import time, pathlib\npathlib.Path(__file__).with_name('loading').touch()\ntime.sleep(1)\n"
    local = world.start("ps-local", world.job(slow + jobs.PLAIN))
    eventually((world.folder / "loading").exists, "the master loads the job")
    local.send(signal.SIGKILL)
    local.wait(30)
    eventually(lambda: not world.left_behind(), "they watch their parent")
    world.forgive_temporary_files()
