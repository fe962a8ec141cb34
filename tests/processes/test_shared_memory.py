"""Weights through shared memory or over TCP, chosen or found out: the same bits, and nothing is left."""

import contextlib
import os
import signal
import subprocess

import pytest

from processes import jobs
from processes.world import events, eventually, newest_round
from ps_common import segments

TRANSPORTS = ("shm", "tcp", "auto")
USED = {"shm": "shm", "tcp": "tcp", "auto": "shm"}  # by workers on the master's machine
EVERY_ROUND = ("--checkpoint-every", "1round")
WIDE_BYTES = 3 * 4 * (784 * 1000 + 1000 + 1000 * 3 + 3)  # of the weights and Adam's two slots, at least
ELSEWHERE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")  # sees no other process
CRAMPED = ("prlimit", "--fsize=65536:65536")  # no file may be larger, and a segment is a file


def transports(record):
    """How the weights of the workers that trained went."""
    return {worker["transport"] for worker in record["workers"] if worker["samples"]}


def mapped(pid):
    """How many segments a process has mapped."""
    with open(f"/proc/{pid}/maps") as maps:
        lines = maps.readlines()
    assert not any("/dev/shm/" in line for line in lines), "a segment with a name could be left"
    return sum(segments.NAME in line for line in lines)


def descriptors(pid):
    """How many descriptors of segments a process has open, those of its mappings included."""
    links = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            links.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return sum(f"memfd:{segments.NAME}" in link for link in links)


# -- the same bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_weights_have_the_same_bits_whichever_way_they_go(world, undisturbed, transport, workers):
    """More shards than workers, large enough for several threads, evaluated on the way."""
    record = world.record(jobs.WIDE, workers, ("--transport", transport))
    assert record["weights_sha256"] == undisturbed(jobs.WIDE)
    assert transports(record) == {USED[transport]}
    assert [set(entry) >= {"loss", "accuracy"} for entry in record["history"]] == [True, True]
    rounds = record["rounds"]
    if transport == "tcp":
        assert record["bytes_received"] > rounds * 6 * WIDE_BYTES
    else:
        assert record["bytes_received"] + record["bytes_sent"] < WIDE_BYTES, "only messages, and the rows"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_evaluation_and_dropout_are_the_same_on_every_way(world, undisturbed, transport):
    record = world.record(jobs.ADAM, 2, ("--transport", transport))
    assert record["weights_sha256"] == undisturbed(jobs.ADAM)
    other = world.record(jobs.ADAM, 1, ("--transport", "tcp"))
    assert record["history"] == other["history"]


@pytest.mark.parametrize(("first", "then"), [("shm", "tcp"), ("tcp", "shm")])
def test_a_checkpoint_of_one_way_goes_on_in_the_other(world, undisturbed, first, then):
    kept = world.folder / "kept"
    flags = ("--checkpoint", kept, *EVERY_ROUND)
    before = world.record(jobs.ADAM, 2, (*flags, "--epochs", 2, "--transport", first))
    after = world.record(jobs.ADAM, 2, (*flags, "--transport", then))
    assert (before["rounds"], after["rounds"]) == (6, 12)
    assert (transports(before), transports(after)) == ({first}, {then})
    assert after["weights_sha256"] == undisturbed(jobs.ADAM)


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_a_late_joiner_changes_no_bit(world, undisturbed, transport):
    world.hold()
    with world.cluster(jobs.GATED, 1, ("--transport", transport)) as cluster:
        world.held(cluster)
        cluster.start_worker()
        cluster.start_worker()
        cluster.wait_for("worker-3 joined")
        world.release()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert len({worker["pid"] for worker in record["workers"]}) == 3
    assert transports(record) == {transport}


# -- faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_a_worker_killed_in_mid_run_changes_no_bit(world, undisturbed, transport):
    world.hold()
    with world.cluster(jobs.GATED, 3, ("--transport", transport)) as cluster:
        cluster.kill_worker(world.held(cluster))
        world.release()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert events(record, "loss")
    assert transports(record) == {transport}


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_a_worker_frozen_over_several_rounds_changes_no_bit_when_it_goes_on(world, undisturbed, transport):
    """It wakes in the middle of a unit that others have done long since, and writes on in its memory."""
    world.hold()
    with world.cluster(jobs.GATED, 2, ("--transport", transport)) as cluster:
        frozen = world.held(cluster)
        process = cluster.workers[frozen].process
        cluster.kill_worker(frozen, signal.SIGSTOP)
        cluster.wait_for(f"{world.name_of(cluster, frozen)} is lost: not heard of")
        cluster.wait_for("epoch 2 of 4")  # the other comes to the gate after that
        world.let_pass(process.pid)
        cluster.kill_worker(frozen, signal.SIGCONT)
        eventually(lambda: "joining again" in cluster.worker_log(frozen), "it learns that it was lost")
        world.release()
        record = cluster.wait(60)
        assert process.wait(30) == 0
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert transports(record) == {transport}


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_the_master_killed_in_mid_run_changes_no_bit(world, undisturbed, transport):
    world.hold()
    kept = world.folder / "kept"
    flags = ("--transport", transport, "--checkpoint", kept, *EVERY_ROUND)
    with world.cluster(jobs.GATED, 2, flags) as cluster:
        world.held(cluster)
        eventually(lambda: newest_round(kept) > 0, "a round is saved")
        cluster.kill_master()
        cluster.start_master()
        cluster.wait_for("resuming run .* at round [1-9]")
        world.all_join(cluster, 4)
        world.release()
        record = cluster.wait(60)
        assert [worker.process.wait(60) for worker in cluster.workers] == [0, 0], "they stayed"
    assert (record["term"], record["weights_sha256"]) == (2, undisturbed(jobs.GATED))
    assert transports(record) == {transport}


# -- nothing is left --------------------------------------------------------------------------------------


def test_memory_of_workers_that_are_gone_is_given_back(world):
    """One worker after the other works and is killed: the master maps no more than with the first."""
    world.hold()
    counts = []
    with world.cluster(jobs.GATED.replace("epochs=4", "epochs=9"), 1) as cluster:
        for number in range(4):
            pid = cluster.workers[number].process.pid
            eventually(lambda pid=pid: (world.folder / f"held-{pid}").exists(), "it works and is held")
            master = cluster.master.process.pid
            counts.append((mapped(master), descriptors(master)))
            cluster.kill_worker(number)
            eventually(
                lambda n=number: cluster.master_log().count("is lost: its process") == n + 1, "it is missed"
            )
            cluster.start_worker()
        world.release()
        assert cluster.wait(60)["status"] == "finished"
    assert counts[0][0] >= 3, "two of its own, and one of the worker's"
    assert max(counts) <= (5, 7), f"at most two of the worker's, and one that the last has lent: {counts}"


def test_memory_of_masters_that_are_gone_is_given_back(world):
    """One master after the other is killed under a worker that works for each, from the beginning."""
    with world.cluster(jobs.PLAIN.replace("epochs=4", "epochs=100000"), 1) as cluster:
        worker = cluster.workers[0].process.pid
        for number in range(5):
            eventually(lambda n=number: cluster.master_log().count("epoch 9 of") > n, "it works")
            if number < 4:
                cluster.kill_master()
                cluster.start_master()
        # Its two vectors and the two of one master; those of others go when cycles are collected.
        eventually(lambda: (mapped(worker), descriptors(worker)) <= (4, 8), "they are let go")
        cluster.stop()
        assert cluster.wait_exit(30) == 0


@pytest.mark.parametrize(("transport", "least"), [("shm", 2), ("tcp", 0)])
def test_segments_are_mapped_where_they_are_used_and_have_no_name(world, transport, least):
    before = mapped(os.getpid())
    world.hold()
    with world.cluster(jobs.GATED, 2, ("--transport", transport)) as cluster:
        number = world.held(cluster)
        pids = [cluster.master.process.pid, cluster.workers[number].process.pid]
        counts = [mapped(pid) for pid in pids]
        world.release()
        cluster.wait(60)
    assert min(counts) >= least
    assert transport == "shm" or counts[0] == 0
    assert mapped(os.getpid()) == before


# -- where memory is not shared, or there is too little ----------------------------------------------------


@pytest.fixture(scope="module")
def elsewhere():
    """What starts a process that sees no other one; as root, or where the system allows it to anybody."""
    for under in (ELSEWHERE, (*ELSEWHERE[:1], "--user", "--map-root-user", *ELSEWHERE[1:])):
        if subprocess.run([*under, "true"], capture_output=True).returncode == 0:
            return under
    pytest.skip("this system allows no PID namespace of one's own")


def test_a_worker_that_shares_no_memory_is_refused_where_it_must_and_told_why(world, elsewhere):
    with world.cluster(workers=0, flags=("--workers", 1, "--transport", "shm")) as cluster:
        code, said = world.run("ps-worker", "--master", cluster.address, under=elsewhere)
        assert code == 2
        assert "the master was started with --transport shm, and this worker shares no memory with it" in said
        assert said.count("shares no memory") == 1
        assert "Traceback" not in said
        cluster.start_worker()
        record = cluster.wait(60)
    assert transports(record) == {"shm"}
    assert len({event["text"] for event in events(record, "refusal")}) == 1  # it may have asked twice


@pytest.mark.parametrize("near", [0, 1])
def test_a_worker_that_shares_no_memory_trains_over_tcp_where_it_may(world, undisturbed, elsewhere, near):
    with world.cluster(jobs.WIDE, near, ("--workers", near + 1)) as cluster:
        worker = world.start("ps-worker", "--master", cluster.address, "--name", "far", under=elsewhere)
        record = cluster.wait(60)
        assert worker.wait(30) == 0
    assert record["weights_sha256"] == undisturbed(jobs.WIDE)
    transports = {w["name"]: w["transport"] for w in record["workers"] if w["samples"]}
    if near:  # which may be so much faster that nothing of the other counts
        assert transports.pop("worker-1") == "shm"
    assert transports in ([{}, {"far": "tcp"}] if near else [{"far": "tcp"}])


def test_a_worker_without_memory_to_share_trains_over_tcp_and_says_so(world, undisturbed):
    job = jobs.WIDE.replace("epochs=2", 'epochs=2, optimizer_state="local"')  # no unit of it is raced
    with world.cluster(job, 1, ("--workers", 2)) as cluster:
        worker = world.start("ps-worker", "--master", cluster.address, "--name", "cramped", under=CRAMPED)
        record = cluster.wait(60)
        assert worker.wait(30) == 0
    assert {w["name"]: w["transport"] for w in record["workers"]} == {"cramped": "tcp", "worker-1": "shm"}
    assert worker.said.count("go over the network, not through memory: no segment of") == 1


def test_a_master_without_memory_to_share_sends_weights_over_tcp(world, undisturbed):
    address, out = world.folder / "address", world.folder / "record.json"
    flags = ("--bind", "tcp://127.0.0.1:0", "--address-file", address, "--json", out, "--workers", 2)
    master = world.start("ps-server", world.job(jobs.WIDE), *flags, under=CRAMPED)
    eventually(address.exists, "it listens")
    workers = [world.start("ps-worker", "--master", address.read_text()) for _ in range(2)]
    assert master.wait(60) == 0, master.said
    assert [worker.wait(30) for worker in workers] == [0, 0]
    record = world.json()
    assert record["weights_sha256"] == undisturbed(jobs.WIDE)
    assert record["bytes_sent"] > record["rounds"] * WIDE_BYTES
    assert record["bytes_received"] < WIDE_BYTES, "contributions came through memory all the same"
