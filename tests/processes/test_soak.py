"""Twenty thousand rounds while workers come, leave and are killed all along: memory stays where it was."""

import itertools
import signal
import statistics

import pytest

from processes import jobs
from processes.world import events, eventually, newest_round

ROUNDS = 20_000
FROM = 3_000  # by then everything that is made once is made
CHURN_ROUNDS = 400  # between two that come or go
TO_THE_END = 2_000  # rounds in which nobody looks any more: it may be over before that has come to an end
# What may come and go by chance: a round of the allocator's arenas, and the records of a hundred members, of
# about a kilobyte each, and of what happened to them.
GROWTH_BYTES = 6 * 2**20

# A round is one step of a batch of one on each of two shards; two epochs, so that the history stays short.
TEXT = jobs.PLAIN.replace("(240, 12)", "(20_000, 12)").replace("test=data.arrays(x[:60], y[:60]),", "")
TEXT = TEXT.replace("shards=6, batch_size=8, local_steps=2", "shards=2, batch_size=1, local_steps=1")
TEXT = TEXT.replace("epochs=4", "epochs=2")


def memory(process):
    """Resident and anonymous bytes of a process."""
    with open(f"/proc/{process.pid}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return tuple(1024 * int(fields[name].split()[0]) for name in ("VmRSS", "RssAnon"))


def change_one(cluster, number):
    """Someone comes, leaves or is killed; the first worker stays, and who is on the way is let come."""
    others = [i for i, worker in enumerate(cluster.workers) if i and worker.is_alive]
    here = [i for i in others if "joined run" in cluster.worker_log(i)]
    if here:
        cluster.kill_worker(here[0], signal.SIGKILL if number % 2 else signal.SIGTERM)
    if len(others) < 3:
        cluster.start_worker()


@pytest.mark.timeout(600)
def test_memory_is_flat_over_twenty_thousand_rounds_of_coming_and_going(world):
    kept = world.folder / "kept"
    flags = ("--checkpoint", kept, "--checkpoint-every", "100rounds")
    held = {"master": [], "worker": []}
    with world.cluster(TEXT, 2, flags) as cluster:
        watched = {"master": cluster.master.process, "worker": cluster.workers[0].process}
        for number in itertools.count(1):
            goal = number * CHURN_ROUNDS
            if goal > ROUNDS - TO_THE_END:
                break
            eventually(lambda goal=goal: newest_round(kept) >= goal, f"round {goal} is saved", 60.0)
            change_one(cluster, number)
            if goal >= FROM:
                for who, process in watched.items():
                    held[who].append(memory(process))
        record = cluster.wait(60)
    assert record["rounds"] == ROUNDS
    assert record["samples"] == sum(worker["samples"] for worker in record["workers"]) == 2 * ROUNDS
    assert len(events(record, "join")) >= 8
    for who, samples in held.items():
        for kind, values in zip(("resident", "anonymous"), zip(*samples, strict=True), strict=True):
            early, late = statistics.median(values[:8]), statistics.median(values[-8:])
            assert late - early < GROWTH_BYTES, f"{kind} memory of the {who}: {[v >> 10 for v in values]} KiB"
