"""A run with keys, by real processes: the same bits, and nobody else in it."""

import signal

import pytest

import paramserver
from paramserver import LocalCluster
from processes import jobs
from processes.world import World, events, eventually, newest_round
from ps_common.errors import NotAuthorised
from ps_common.key_folder import KeyFolder

OWN = ("own", "--samples", 96, "--shards", 2, "--batch-size", 8, "--local-steps", 2)


def cluster_with_keys(world: World, text: str, *flags: object, workers: int = 2) -> LocalCluster:
    words = [str(flag) for flag in flags]
    return LocalCluster(world.job(text), workers, server_flags=words, keys=world.folder / "keys")


@pytest.mark.parametrize(
    "flags", [("--transport", "tcp", "--servers", 2), ("--servers", 2)], ids=["tcp", "memory"]
)
def test_keys_change_no_bit(world, undisturbed, flags):
    with cluster_with_keys(world, jobs.PLAIN, *flags) as cluster:
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)
    assert {worker["name"] for worker in record["workers"]} == {"local-1", "local-2"}
    assert record["rejections"] == []


def test_averaging_servers_that_run_already_change_no_bit(world, undisturbed):
    """They share no memory with the master, which asks each for its stretch of every version."""
    keys = KeyFolder(world.folder / "keys")
    keys.make()
    servers = [world.start("ps-average", "--bind", "tcp://127.0.0.1:0", "--keys", keys.path) for _ in "ab"]
    urls = [server.wait_for("averaging at ").removeprefix("averaging at ") for server in servers]
    with cluster_with_keys(world, jobs.PLAIN, "--servers", ",".join(urls)) as cluster:
        record = cluster.wait(60)
    for server in servers:
        server.send(signal.SIGTERM)
        assert server.wait(30) == 0
        assert "refused" not in server.said
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)


def test_sigkill_of_the_master_and_a_restart_with_keys_changes_no_bit(world, undisturbed):
    world.hold()
    kept = world.folder / "kept"
    flags = ("--checkpoint", kept, "--checkpoint-every", "1round", "--transport", "tcp")
    with cluster_with_keys(world, jobs.GATED, *flags) as cluster:
        world.held(cluster)
        eventually(lambda: newest_round(kept) > 0, "a round is saved")
        cluster.kill_master()
        cluster.start_master()
        cluster.wait_for("resuming run .* at round [1-9]")
        world.release()
        record = cluster.wait(60)
        assert [worker.process.wait(60) for worker in cluster.workers] == [0, 0], "they stayed"
    assert record["weights_sha256"] == undisturbed(jobs.GATED)


def test_a_worker_whose_key_is_revoked_is_out_and_the_run_goes_on(world, undisturbed):
    world.hold()
    with cluster_with_keys(world, jobs.GATED) as cluster:
        number = world.held(cluster)
        name = f"local-{number + 1}"
        KeyFolder(world.folder / "keys").revoke(name)
        cluster.wait_for(f"{name} is out: its key {name} was revoked", 30)
        assert cluster.workers[number].process.wait(30) == 77
        assert f"does not let in the key {name} " in cluster.worker_log(number)
        world.release()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert [event["worker"] for event in events(record, "revoked")] == [name]


def test_who_is_not_let_in_leaves_with_77_and_knows_what_to_do(world):
    with cluster_with_keys(world, jobs.PLAIN, workers=0) as cluster:
        master = ("--master", cluster.address)
        code, said = world.run("ps-worker", *master)
        assert (code, "say --key NAME.key" in said) == (77, True)
        other = KeyFolder(world.folder / "other").bundle_for("w")
        code, said = world.run("ps-worker", *master, "--key", other)
        assert (code, "does not have the server key" in said) == (77, True)
        with pytest.raises(NotAuthorised, match="lets in only who has a key"):
            paramserver.connect(cluster.address, is_quiet=True)


def test_a_key_for_a_master_without_keys_is_told(world):
    keys = KeyFolder(world.folder / "keys")
    with world.cluster(workers=0) as cluster:
        code, said = world.run("ps-worker", "--master", cluster.address, "--key", keys.bundle_for("w"))
    assert (code, "has no keys, so it cannot prove who it is" in said) == (77, True)


def test_a_loop_of_the_users_own_joins_by_its_key(world):
    keys = KeyFolder(world.folder / "keys")
    bundle = keys.bundle_for("mine")
    server = world.start("ps-server", *OWN, "--bind", "tcp://127.0.0.1:0", "--keys", keys.path)
    address = server.wait_for("listening:").split("--master ")[1].strip()
    with paramserver.connect(address, key=bundle, is_quiet=True):
        server.wait_for("mine joined")
    server.process.terminate()
    assert server.wait(30) == 0


def test_beyond_loopback_a_master_with_keys_is_not_loud_and_an_averaging_server_without_is(world):
    KeyFolder(world.folder / "keys").make()
    bind = ("--bind", "tcp://0.0.0.0:0")
    master = world.start("ps-server", world.job(), *bind, "--keys", "keys")
    server = world.start("ps-average", *bind, "--insecure")
    for started, line, loud in ((master, "listening:", 0), (server, "averaging at", 1)):
        started.wait_for(line)
        assert started.said.count("INSECURE") == loud
        started.process.terminate()
        assert started.wait(30) == 0
