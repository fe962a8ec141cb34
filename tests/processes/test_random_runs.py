"""Real runs in which things happen at random: all end, with the same bits, and nothing is left.

    RANDOM_RUNS=100 pytest -n 2 tests/processes/test_random_runs.py

makes more of them than usual.
"""

import os
import random
import signal
import time

import pytest

from processes import jobs

RUNS = int(os.environ.get("RANDOM_RUNS", "15"))
GROUP = 5  # runs a test
EPOCHS = 30
TEXT = jobs.PLAIN.replace("epochs=4", f"epochs={EPOCHS}")  # 90 rounds: some tenths of a second
SHM, TCP, SERVERS = ("--transport", "shm"), ("--transport", "tcp"), ("--transport", "tcp", "--servers", 2)
MODES = (SHM, SHM, TCP, TCP, SERVERS)
CALM_S = 0.3  # at most, between two of the things that happen
WITHIN_S = 60.0


def living(cluster):
    """Workers that are there, and have not been asked to leave."""
    return [i for i, worker in enumerate(cluster.workers) if worker.is_alive and not worker.is_asked]


def kill_a_worker(cluster, rng):
    for number in rng.sample(living(cluster), min(1, len(living(cluster)))):
        os.kill(cluster.workers[number].process.pid, signal.SIGKILL)


def kill_the_master(cluster, rng):
    if cluster.master.is_alive:
        os.kill(cluster.master.process.pid, signal.SIGKILL)


def stop_a_worker_for_a_while(cluster, rng):
    for number in rng.sample(living(cluster), min(1, len(living(cluster)))):
        cluster.kill_worker(number, signal.SIGSTOP)
        time.sleep(rng.uniform(0.0, CALM_S))
        cluster.kill_worker(number, signal.SIGCONT)


def let_a_worker_leave(cluster, rng):
    if len(living(cluster)) > 1:
        cluster.kill_worker(rng.choice(living(cluster)), signal.SIGTERM)


def let_a_worker_join(cluster, rng):
    cluster.start_worker()


EVENTS = (kill_a_worker, kill_the_master, stop_a_worker_for_a_while, let_a_worker_leave, let_a_worker_join)


@pytest.mark.parametrize("first", range(0, RUNS, GROUP))
def test_random_runs_end_with_the_same_bits_and_leave_nothing(world, undisturbed, first):
    for seed in range(first, first + GROUP):
        rng = random.Random(seed)
        kept = world.folder / f"kept-{seed}"
        flags = (*rng.choice(MODES), "--checkpoint", kept, "--checkpoint-every", "1round", "--begin-with", 1)
        with world.cluster(TEXT, 2, flags, restarts=3) as cluster:
            for happen in rng.choices(EVENTS, k=rng.randint(1, 3)):
                time.sleep(rng.uniform(0.0, CALM_S))  # the instant
                if not cluster.look_after():
                    break  # it was over before
                happen(cluster, rng)
            record = cluster.wait(WITHIN_S)
        assert record["weights_sha256"] == undisturbed(TEXT), f"seed {seed}"
        assert (record["status"], record["samples"]) == ("finished", EPOCHS * jobs.SAMPLES), f"seed {seed}"
        assert not list(kept.glob(".*")), f"seed {seed}"
    assert not world.left_behind()
