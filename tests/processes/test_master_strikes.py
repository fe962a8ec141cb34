"""The master is killed at any instant, with a checkpoint every round: workers stay, and no bit changes.

    MASTER_KILLS=50 pytest -n 2 tests/processes/test_master_strikes.py

kills it more often than usual.
"""

import contextlib
import os
import random
import signal
import time

import pytest

from processes import jobs
from processes.strikes import Strike, await_strike
from processes.world import eventually, newest_round

KILLS = int(os.environ.get("MASTER_KILLS", "10"))  # in two runs
LATEST_S = 0.1  # after a round was closed, or after the master has begun to listen: some twenty rounds
LAST = 12  # rounds of the small jobs

# Long enough for all kills, in few epochs, so that the history stays short: 1,500 rounds in 3 epochs.
LONG = jobs.PLAIN.replace("(240, 12)", "(24_000, 12)").replace("local_steps=2", "local_steps=1")
LONG = LONG.replace("epochs=4", "epochs=3")
# Two chunks.
CHUNKED = jobs.PLAIN.replace("nn.Dense(12, 8)", "nn.Dense(12, 20_000)").replace(
    "nn.Dense(8", "nn.Dense(20_000"
)

FILE = f"round-{LAST:010d}"
DISK = "ps_common.weights_file:fsync"
MOMENTS = {
    "with a checkpoint written, not on disk, not yet in place": Strike(DISK, ".partial", 2, is_before=True),
    "with a checkpoint on disk, not yet in place": Strike(DISK, ".partial", 2),
    "with a checkpoint in place, its folder not yet on disk": Strike(DISK, "kept')", 2, is_before=True),
    "with no contribution in": Strike("received", "Push(lease=", 8),
    "with some contributions in": Strike("received", "Push(lease=", 11),
    "with the last contribution coming": Strike("received", "Push(lease=", 13),
    "before the checkpoint of the last round": Strike("ps_common.weights_file:write", FILE, is_before=True),
    "with the checkpoint of the last round written, not yet in place": Strike(
        "pathlib:Path.replace", FILE, is_before=True
    ),
    "while it sends its workers home": Strike("sent", "Stop("),
    "with its workers sent home": Strike("sent", "Stop(", 2),
}
OF_CHUNKS = {
    "with some chunks of a contribution in": Strike("received", "Chunk(", 17),
    "with the last chunk of a round coming": Strike("received", "Chunk(", 26),
}


def check(record, text, undisturbed, epochs):
    assert record["weights_sha256"] == undisturbed(text)
    assert (record["status"], record["epochs"]) == ("finished", epochs)


@pytest.mark.parametrize(("transport", "seed"), [("auto", 1), ("tcp", 2)])
def test_sigkill_of_the_master_at_random_instants_changes_no_bit(world, undisturbed, transport, seed):
    rng, kept, seen = random.Random(seed), world.folder / "kept", -1
    flags = ("--transport", transport, "--checkpoint", kept, "--checkpoint-every", "1round")
    with world.cluster(LONG, flags=flags) as cluster:
        for _ in range(KILLS // 2):
            if rng.random() < 0.7:
                eventually(lambda seen=seen: newest_round(kept) > seen, "the run goes on")
            time.sleep(rng.uniform(0.0, LATEST_S))  # the instant
            seen = newest_round(kept)
            assert cluster.master.is_alive, "it is killed in mid-run"
            cluster.kill_master()
            cluster.start_master()
        record = cluster.wait(90)
        assert [worker.process.wait(60) for worker in cluster.workers] == [0, 0], "they stayed"
    check(record, LONG, undisturbed, 3)
    assert record["samples"] == 3 * 24_000
    assert record["rounds"] == 1500


@pytest.mark.parametrize(
    ("transport", "moment"), [("shm", m) for m in MOMENTS] + [("tcp", m) for m in (*MOMENTS, *OF_CHUNKS)]
)
def test_sigkill_of_the_master_at_an_exact_moment_changes_no_bit(world, undisturbed, transport, moment):
    kept, text = world.folder / "kept", CHUNKED if moment in OF_CHUNKS else jobs.PLAIN
    flags = ("--transport", transport, "--checkpoint", kept, "--checkpoint-every", "1round")
    flags = (*flags, "--begin-with", 2, "--wait-timeout", 60)
    with contextlib.ExitStack() as stack:
        with (MOMENTS | OF_CHUNKS)[moment].armed(signal.SIGKILL):
            cluster = stack.enter_context(world.cluster(text, 0, flags))
        workers = [cluster.start_worker().process for _ in range(2)]
        await_strike(cluster.master.process, signal.SIGKILL)
        assert not moment.endswith("not yet in place") or list(kept.glob(".*.partial"))
        cluster.start_master()
        record = cluster.wait(100)
        assert [worker.wait(60) for worker in workers] == [0, 0], "they stayed"
    check(record, text, undisturbed, 4)
    assert record["samples"] == 4 * jobs.SAMPLES
    assert [path.name for path in kept.iterdir() if path.name.startswith(".")] == []
