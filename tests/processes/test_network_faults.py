"""The network between a worker and its master does its worst: the run goes on, and no bit changes."""

import contextlib
import random
import signal
import time

import pytest

from processes import jobs
from processes.world import events, eventually
from support_proxy import Proxy

HOLE_S = 10.0  # as long as a connection may be silent before it counts as broken
TCP = ("--transport", "tcp")
LISTENING = "averaging at "


@contextlib.contextmanager
def in_the_middle(world, text=jobs.CHUNKED):
    """A run whose first worker is at the gate, and whose second, behind a proxy, has sent half a unit."""
    world.hold()
    with world.cluster(text, 1, TCP) as cluster, Proxy(cluster.address) as proxy:
        world.held(cluster)
        cluster.start_worker("--master", proxy.address)
        eventually(lambda: proxy.up.passed > 2_000_000, "it sends a contribution")
        yield cluster, proxy


def finish(world, cluster, undisturbed, text=jobs.CHUNKED, epochs=2):
    """Let the run come to its end, with both workers; its record."""
    world.release()
    record = cluster.wait(60)
    assert [worker.process.wait(30) for worker in cluster.workers] == [0, 0], "both stayed to the end"
    assert record["weights_sha256"] == undisturbed(text)
    assert record["samples"] == sum(w["samples"] for w in record["workers"]) == epochs * jobs.SAMPLES
    return record


def joins_again(cluster):
    eventually(lambda: "joining again" in cluster.worker_log(1), "the worker joins again")


@pytest.mark.parametrize("then", ["late", "cut"])
def test_ten_seconds_in_which_nothing_comes_through_change_no_bit(world, undisturbed, then):
    with in_the_middle(world) as (cluster, proxy):
        proxy.up.hold()
        proxy.down.hold()
        time.sleep(HOLE_S)
        cluster.wait_for("worker-2 is lost: not heard of")
        if then == "cut":
            proxy.cut()
        proxy.up.let_go()
        proxy.down.let_go()
        joins_again(cluster)
        finish(world, cluster, undisturbed)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_partition_of_one_way_changes_no_bit(world, undisturbed, way):
    with in_the_middle(world) as (cluster, proxy):
        getattr(proxy, way).hold()
        cluster.wait_for("worker-2 is lost: not heard of", 30)
        getattr(proxy, way).let_go()
        joins_again(cluster)
        finish(world, cluster, undisturbed)


def test_a_connection_that_the_master_has_forgotten_changes_no_bit(world, undisturbed):
    with in_the_middle(world) as (cluster, proxy):
        proxy.forget("target")
        cluster.wait_for("worker-2 is lost: not heard of")
        joins_again(cluster)
        finish(world, cluster, undisturbed)


def test_a_connection_that_the_worker_has_forgotten_changes_no_bit(world, undisturbed):
    """It connects again, and the master takes the new connection for the old one."""
    with in_the_middle(world) as (cluster, proxy):
        proxy.forget("caller")
        before = proxy.up.passed
        eventually(lambda: proxy.up.passed > before + 2_000_000, "it goes on")
        record = finish(world, cluster, undisturbed)
    assert not events(record, "loss")


@pytest.mark.parametrize("fault", [{"delay_s": 0.05, "jitter_s": 0.02}, {"bytes_per_s": 2e7}])
def test_a_slow_network_changes_no_bit(world, undisturbed, fault):
    with in_the_middle(world) as (cluster, proxy):
        proxy.up.change(**fault)
        proxy.down.change(**fault)
        finish(world, cluster, undisturbed)


def cut_again_and_again(cluster, proxies, rng):
    """Five times, each somewhere in the chunks of one way."""
    for _ in range(5):
        way = rng.choice([way for proxy in proxies for way in (proxy.up, proxy.down)])
        before = way.cuts
        way.cut_after(rng.randrange(2_000_000))
        eventually(lambda way=way, before=before: way.cuts > before, "it is cut")
        assert cluster.look_after(), "the run goes on"


def test_connections_cut_in_the_middle_of_chunks_change_no_bit(world, undisturbed):
    text = jobs.CHUNKED.replace("epochs=2", "epochs=6")
    with world.cluster(text, 0, TCP) as cluster, Proxy(cluster.address) as proxy:
        worker = cluster.start_worker("--master", proxy.address).process
        cut_again_and_again(cluster, [proxy], random.Random(5))
        record = cluster.wait(60)
        assert worker.wait(30) == 0
    assert record["weights_sha256"] == undisturbed(text)
    assert record["samples"] == 6 * jobs.SAMPLES


def test_connections_of_averaging_servers_cut_in_the_middle_of_chunks_change_no_bit(world, undisturbed):
    text = jobs.CHUNKED.replace("epochs=2", "epochs=6")
    with contextlib.ExitStack() as stack:
        servers = [world.start("ps-average", "--bind", "tcp://127.0.0.1:0") for _ in range(2)]
        places = [server.wait_for(LISTENING).removeprefix(LISTENING) for server in servers]
        proxies = [stack.enter_context(Proxy(place)) for place in places]
        flags = (*TCP, "--servers", ",".join(proxy.address for proxy in proxies))
        cluster = stack.enter_context(world.cluster(text, 2, flags))
        cut_again_and_again(cluster, proxies, random.Random(6))
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(text)
    assert record["samples"] == 6 * jobs.SAMPLES
    for server in servers:
        server.send(signal.SIGTERM)
        assert server.wait(30) == 0
