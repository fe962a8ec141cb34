"""Several averaging servers: the same bits, whatever their number, place and fate."""

import contextlib
import os
import random
import signal
import socket

import psutil
import pytest

from paramserver import checkpoint
from paramserver.servers.averagers import Averagers
from processes import jobs
from processes.world import events, eventually, is_listening
from ps_common import address

EVERY_ROUND = ("--checkpoint-every", "1round")
LISTENING = "averaging at "
LONG = jobs.PLAIN.replace("epochs=4", "epochs=60")


def averagers(parent):
    """The averaging servers that a process has started, and that are alive."""
    found = []
    for child in psutil.Process(parent).children():
        with contextlib.suppress(psutil.Error):  # it has just ended
            if child.status() != psutil.STATUS_ZOMBIE and "paramserver.cli.average" in child.cmdline():
                found.append(child)
    return found


def elsewhere(world, *flags):
    """An averaging server started by itself, and its address."""
    server = world.start("ps-average", "--bind", "tcp://127.0.0.1:0", *flags)
    return server, server.wait_for(LISTENING).removeprefix(LISTENING)


@pytest.mark.parametrize("transport", ["shm", "tcp"])
@pytest.mark.parametrize("servers", [2, 3])
def test_the_number_of_servers_changes_no_bit(world, undisturbed, transport, servers):
    record = world.record(flags=("--servers", servers, "--transport", transport))
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)
    assert len(set(record["servers"])) == servers
    assert record["transport"] == transport
    if transport == "tcp":  # each of 12 rounds, and the first weights: every byte once up and once down
        weights = 12 * 4 * record["parameters"]
        assert min(record["bytes_sent"], record["bytes_received"]) > weights


def test_servers_elsewhere_average_to_the_same_bits_one_run_after_the_other(world, undisturbed):
    places = [elsewhere(world) for _ in range(2)]
    addresses = ",".join(address for _, address in places)
    for _ in range(2):
        record = world.record(flags=("--servers", addresses, "--transport", "tcp"))
        assert record["weights_sha256"] == undisturbed(jobs.PLAIN)
        assert record["servers"] == addresses.split(",")
    for server, _ in places:
        server.send(signal.SIGTERM)
        assert server.wait(30) == 0


def test_the_port_of_a_killed_server_is_nobody_elses_until_it_is_back():
    started = Averagers(1, "127.0.0.1", "127.0.0.1", "text")
    try:
        started.start()
        (where,) = started.addresses
        host, port = address.split(where)
        (server,) = averagers(os.getpid())
        server.kill()
        server.wait()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((host, port))
        started.restart(0)
        eventually(lambda: is_listening(where), "it listens there again")
    finally:
        started.close()


@pytest.mark.parametrize("transport", ["auto", "tcp"])
def test_sigkill_of_servers_again_and_again_changes_no_bit(world, undisturbed, transport):
    rng = random.Random(7)
    with world.cluster(LONG, flags=("--servers", 2, "--transport", transport)) as cluster:
        cluster.wait_for("epoch 2")
        for _ in range(3):
            victim = rng.choice(
                eventually(lambda: averagers(cluster.master.process.pid), "servers are there")
            )
            victim.kill()
            cluster.wait_for(f"process {victim.pid} was killed by signal 9")
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(LONG)
    assert len([e for e in events(record, "loss") if "averaging server" in e["text"]]) == 3


def test_a_server_that_is_stopped_is_replaced(world, undisturbed):
    world.hold()
    with world.cluster(jobs.GATED, flags=("--servers", 2)) as cluster:
        world.held(cluster)
        averagers(cluster.master.process.pid)[0].suspend()
        world.release()
        cluster.wait_for("averaging server . .* is lost: not heard of for 10 s")
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)


def test_a_server_elsewhere_that_comes_back_knowing_nothing_is_filled_again(world, undisturbed):
    world.hold()
    (first, one), (_, two) = elsewhere(world), elsewhere(world)
    with world.cluster(jobs.GATED, flags=("--servers", f"{one},{two}")) as cluster:
        world.held(cluster)
        first.send(signal.SIGKILL)
        first.wait()
        world.start("ps-average", "--bind", one).wait_for(LISTENING)
        cluster.wait_for("averaging server 0 .* is lost: it has forgotten what it served")
        world.release()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    for command in world.commands:
        command.send(signal.SIGTERM)


def test_a_checkpoint_of_two_servers_goes_on_with_three_with_one_and_with_others(world, undisturbed):
    (server, address), kept = elsewhere(world), world.folder / "kept"
    for epochs, servers in ((1, "2"), (2, "3"), (3, address), (4, "1")):
        flags = ("--servers", servers, "--epochs", epochs, "--checkpoint", kept, *EVERY_ROUND)
        record = world.record(flags=flags)
        assert (record["epochs"], record["term"]) == (epochs, epochs)
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)
    server.send(signal.SIGTERM)


def test_sigkill_of_the_master_ends_its_servers_and_new_ones_go_on(world, undisturbed):
    world.hold()
    flags = ("--servers", 2, "--checkpoint", world.folder / "kept", *EVERY_ROUND)
    with world.cluster(jobs.GATED, flags=flags) as cluster:
        world.held(cluster)
        eventually(lambda: checkpoint.checkpoints(world.folder / "kept"), "a checkpoint is written")
        before = averagers(cluster.master.process.pid)
        cluster.kill_master()
        eventually(lambda: not any(process.is_running() for process in before), "they leave with it")
        cluster.start_master()
        world.release()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert record["term"] == 2


def test_ctrl_c_leaves_no_server(world):
    world.hold()
    local = world.start("ps-local", world.job(jobs.GATED), "-n", 2, "--servers", 2)
    eventually(lambda: list(world.folder.glob("held-*")), "no worker came to the gate")
    local.send(signal.SIGINT)
    local.wait_for("stopping (asked to stop)")
    world.release()
    assert local.wait(30) == 0
    assert not world.left_behind()


def test_a_server_that_serves_another_run_is_waited_for(world):
    server, address = elsewhere(world)
    world.hold()
    with world.cluster(jobs.GATED, flags=("--servers", address)) as busy:
        world.held(busy)
        flags = ("--servers", address, "--bind", "tcp://127.0.0.1:0", "--address-file", "there")
        other = world.start("ps-server", world.job(jobs.PLAIN, "other.py"), *flags)
        there = world.folder / "there"
        worker = world.start(
            "ps-worker", "--master", eventually(lambda: there.exists() and there.read_text(), "it listens")
        )
        other.wait_for("waiting for averaging server 0: this averaging server serves run")
        world.release()
        assert busy.wait(60)["status"] == "finished"
    assert (other.wait(60), worker.wait(60)) == (0, 0), other.said
    server.send(signal.SIGTERM)


@pytest.mark.parametrize(
    ("servers", "told"),
    [
        ("0", "start 1 to 64 of them"),
        ("65", "start 1 to 64 of them"),
        ("two", "give a number, or addresses like tcp://host:5556,..."),
        ("tcp://a:1,b:2", "give a number, or addresses like tcp://host:5556,..."),
        ("tcp://a:1,tcp://a:1", "an address is there twice; each server has one stretch"),
    ],
)
def test_what_is_neither_a_number_nor_addresses_is_a_usage_error(world, servers, told):
    code, said = world.run("ps-server", world.job(), "--servers", servers)
    assert code == 2
    assert told in said


def test_an_averaging_server_binds_beyond_this_machine_only_when_told_to(world):
    code, said = world.run("ps-average", "--bind", "tcp://0.0.0.0:0")
    assert code == 2
    assert "--insecure" in said
