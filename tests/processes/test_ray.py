"""ps-ray on a Ray cluster of several nodes: whatever is lost, the same bits, and nothing is left.

Which process a role makes, tests/master/test_ray_roles.py shows. Here a node is what Ray takes for one: a
raylet with all that it has started. It is lost by SIGKILL, or taken away by Ray's own harness.
"""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import paramserver
from paramserver.cli.ray import cli
from processes import jobs
from processes.world import Command, World, events, eventually, newest_round
from ps_common import command
from support_ray import RayCluster, pid_of

EVERY_ROUND = ("--checkpoint", "kept", "--checkpoint-every", "1round")
ENDLESS = jobs.GATED.replace("epochs=4", "epochs=100_000")  # it does not end by itself
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayCluster]:
    with RayCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(nodes: RayCluster) -> Iterator[RayCluster]:
    """With all of its nodes at first; afterwards nothing of a run is left on any of them."""
    nodes.restore()
    nodes.forgive_files()
    yield nodes
    eventually(lambda: not nodes.parts(), "processes of parts are left")


def start(world: World, cluster: RayCluster, job: Path, *flags: object) -> Command:
    words = ("--address", cluster.address, "--json", "record.json", *flags)
    return world.start("ps-ray", job, *words, **cluster.environment)


def held_worker(world: World, cluster: RayCluster) -> int:
    """Wait until a worker of a gated job is held; the raylet of its node."""
    pid = eventually(world.held_pids, "no worker came to the gate", 60.0)[0]
    return cluster.node_of(psutil.Process(pid).ppid())


def part(run: Command, name: str) -> int:
    """The process of a part's actor."""
    return int(eventually(lambda: pid_of(name, run.said), f"{name} says nothing:\n{run.said}"))


# -- the same bits, and what comes back -------------------------------------------------------------------


def test_ray_gives_the_same_bits_the_model_and_the_record(world, cluster, undisturbed) -> None:
    """The job lies in a folder that Ray copies to the nodes."""
    (world.folder / "jobs").mkdir()
    world.job(name="jobs/job.py")
    flags = ("--working-dir", "jobs", "--out", "model.safetensors")
    run = start(world, cluster, Path("job.py"), *flags)
    assert run.wait(90) == 0, run.said
    record = world.json()
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)
    assert {worker["name"] for worker in record["workers"]} == {"worker-0", "worker-1"}
    assert f"weights_sha256 {record['weights_sha256']}" in run.said
    assert paramserver.load(world.folder / "model.safetensors").metrics == record["metrics"]
    assert "(master pid=" in run.said
    assert cluster.files() == []


def test_a_driver_of_the_users_own_gets_the_result(world, cluster, undisturbed) -> None:
    """Here with averaging servers; ray.init is the user's, and stays so."""
    (world.folder / "driver.py").write_text(
        f"""
import json, ray, paramserver.ray
ray.init({cluster.address!r})
result = paramserver.ray.run({str(world.job())!r}, workers=2, servers=2, server_flags=["--quiet"])
assert ray.is_initialized()
print(json.dumps([result.status, result.weights_sha256, result.metrics, result.model_file]))
"""
    )
    run = world.start("python", "driver.py", **cluster.environment)
    assert run.wait(90) == 0, run.said
    said = next(json.loads(line) for line in run.said.splitlines() if line.startswith('["finished'))
    assert said[1] == undisturbed(jobs.PLAIN)
    assert 0 < said[2]["accuracy"] <= 1
    assert said[3] is None
    assert cluster.files() == []


# -- what is lost -----------------------------------------------------------------------------------------


def test_a_node_with_a_worker_is_lost(world, cluster, undisturbed) -> None:
    """And another one takes its place: there is one part a node."""
    world.hold()
    flags = (*EVERY_ROUND, "--strategy", "STRICT_SPREAD")
    run = start(world, cluster, world.job(jobs.GATED), *flags)
    lost = held_worker(world, cluster)
    cluster.kill_node(lost)
    cluster.restore()
    eventually(lambda: run.said.count(" joined from ") > 2, "the worker does not come back", 60.0)
    world.release()
    assert run.wait(90) == 0, run.said
    assert world.json()["weights_sha256"] == undisturbed(jobs.GATED)
    assert world.json()["term"] == 1


def test_the_node_with_the_master_is_lost(world, cluster, undisturbed) -> None:
    """It goes on, from a checkpoint, on one of the nodes that are left."""
    world.hold()
    run = start(world, cluster, world.job(jobs.GATED), *EVERY_ROUND)
    eventually(world.held_pids, "no worker came to the gate", 60.0)
    eventually(lambda: newest_round(world.folder / "kept") > 0, "a round is saved")
    cluster.remove(cluster.node_of(part(run, "master")))
    run.wait_for("resuming run", 90)
    run.wait_for(" instead of tcp://", 60)  # a worker has gone to where it is now
    world.release()
    assert run.wait(90) == 0, run.said
    assert world.json()["weights_sha256"] == undisturbed(jobs.GATED)
    assert world.json()["term"] == 2


def test_without_restarts_the_run_is_lost_with_its_master(world, cluster) -> None:
    """The twin."""
    world.hold()
    run = start(world, cluster, world.job(jobs.GATED), *EVERY_ROUND, "--restarts", 0)
    eventually(world.held_pids, "no worker came to the gate", 60.0)
    psutil.Process(part(run, "master")).kill()
    assert run.wait(90) == 75, run.said
    assert "master is lost, and Ray does not start it again" in run.said


def test_every_process_may_be_killed(world, cluster, undisturbed) -> None:
    """The master's, an averaging server's actor and a worker's, one after another."""
    world.hold()
    run = start(world, cluster, world.job(jobs.GATED), *EVERY_ROUND, "--servers", 2)
    held = eventually(world.held_pids, "no worker came to the gate", 60.0)[0]
    eventually(lambda: newest_round(world.folder / "kept") > 0, "a round is saved")
    (master,) = psutil.Process(part(run, "master")).children()
    master.kill()
    run.wait_for("master ended with 137; starting it again (1 of 10 times)")
    run.wait_for("resuming run")
    psutil.Process(part(run, "server-1")).kill()
    run.wait_for("master: tcp://", 60)
    eventually(lambda: run.said.count("resuming run") == 2, "the master does not take the server", 60.0)
    psutil.Process(held).kill()
    run.wait_for("ended with 137; starting it again", 30)
    world.release()
    assert run.wait(90) == 0, run.said
    assert world.json()["weights_sha256"] == undisturbed(jobs.GATED)


# -- how it ends ------------------------------------------------------------------------------------------


def test_term_saves_and_leaves_in_order_and_the_next_start_goes_on(world, cluster, undisturbed) -> None:
    """Whatever is started next: here it is ps-local."""
    world.hold()
    job = world.job(jobs.GATED)
    run = start(world, cluster, job, "--checkpoint", "kept")
    eventually(world.held_pids, "no worker came to the gate", 60.0)
    run.send(signal.SIGUSR1)
    eventually(lambda: newest_round(world.folder / "kept") > 0, "no checkpoint is written")
    run.send(signal.SIGTERM)
    run.wait_for("stopping (asked to stop)")
    world.release()
    assert run.wait(60) == 0, run.said
    assert "ps-ray: stopped" in run.said
    assert world.json()["status"] == "stopped"
    assert cluster.files() == []
    code, said = world.run("ps-local", job, "--checkpoint", "kept", "--json", "record.json")
    assert (code, "resuming run" in said) == (0, True), said
    assert world.json()["weights_sha256"] == undisturbed(jobs.GATED)


def test_a_second_term_is_143_at_once(world, cluster) -> None:
    world.hold()
    run = start(world, cluster, world.job(ENDLESS))
    world.all_held()
    run.send(signal.SIGTERM)
    run.wait_for("stopping (asked to stop)")
    run.send(signal.SIGTERM)
    assert run.wait(30) == 143, run.said


def test_sigkill_of_the_driver_leaves_nobody(world, cluster) -> None:
    world.hold()
    run = start(world, cluster, world.job(ENDLESS))
    eventually(world.held_pids, "no worker came to the gate", 60.0)
    run.send(signal.SIGKILL)
    world.release()
    eventually(lambda: not cluster.parts(), "somebody is left", 60.0)
    world.forgive_temporary_files()


def test_a_job_that_fails_ends_with_its_code_and_traceback(world, cluster) -> None:
    run = start(world, cluster, world.job(jobs.RAISING))
    assert run.wait(90) == 1, run.said
    assert "tripped over a shoelace" in run.said
    assert "Traceback" in run.said
    assert events(world.json(), "failed") or world.json()["status"] == "failed"


def test_a_cluster_without_room_is_said_so(world, cluster) -> None:
    run = start(world, cluster, world.job(), "--workers", 20, "--placement-timeout", 1)
    assert run.wait(60) == 75, run.said
    assert "no room for 21 parts (SPREAD), which need 21 CPU (9 there, 9 free)" in run.said


# -- without a cluster ------------------------------------------------------------------------------------


def test_without_ray_it_says_what_to_install(world, monkeypatch, capfd) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "paramserver.ray", raising=False)  # another test may have imported it
    monkeypatch.delattr(paramserver, "ray", raising=False)
    assert command.run(cli, "ps-ray", [str(world.job())]) == 2
    assert "pip install 'paramserver[ray]'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (("--address", "ray://127.0.0.1:10001"), 2, "ray job submit"),
        (("--address", "127.0.0.1:1"), 69, "there is no Ray cluster at '127.0.0.1:1'"),
        (("--out", "/proc/model"), 2, "--out /proc/model cannot be written"),
    ],
)
def test_what_cannot_work_is_refused(world, flags, code, told) -> None:
    ended, said = world.run("ps-ray", world.job(), *flags)
    assert ended == code, said
    assert told in said
