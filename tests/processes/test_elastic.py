"""Workers come and go all the time: the result is that of a run with one, and every sample counts once."""

import signal

import numpy as np
import pytest

from processes import jobs
from processes.world import events, eventually

SCRIPT = (1, 4, 2, 3)  # workers, one phase after the other
EPOCHS = 300


def to(cluster, world, wanted):
    """Start or send home as many as it takes, while somebody is held in mid-unit."""
    here = [i for i, worker in enumerate(cluster.workers) if worker.is_alive]
    for _ in range(wanted - len(here)):
        number = len(cluster.workers)
        cluster.start_worker()
        eventually(lambda n=number: "joined run" in cluster.worker_log(n), "it joins")
    leavers = here[wanted:]
    for number in leavers:
        cluster.kill_worker(number, signal.SIGTERM)
    return leavers


@pytest.mark.parametrize(("transport", "sizes"), [("shm", (40, 72, 16, 24)), ("tcp", (50,) * 4)])
def test_one_four_two_and_three_workers_count_every_sample_once(world, undisturbed, transport, sizes):
    text, out = jobs.counting(sizes, EPOCHS), world.folder / "counts.safetensors"
    with world.cluster(text, 0, ("--transport", transport, "--out", out)) as cluster:
        for wanted in SCRIPT:
            world.hold()
            leavers = to(cluster, world, wanted)
            world.held(cluster)
            for number in leavers:  # before the others go on, who might be done by then
                world.let_pass(cluster.workers[number].process.pid)
                assert cluster.workers[number].process.wait(30) == 0
            before = cluster.master_log().count("epoch ")
            world.release()
            eventually(lambda n=before: cluster.master_log().count("epoch ") > n + 2, "epochs go by")
        record = cluster.wait(90)
    assert record["weights_sha256"] == undisturbed(text)
    assert record["samples"] == sum(w["samples"] for w in record["workers"]) == EPOCHS * sum(sizes)
    assert len({worker["pid"] for worker in record["workers"]}) == 5
    assert not [event for event in events(record, "loss") if "has ended" in event["text"]]
    if len(set(sizes)) == 1:
        assert (jobs.counts(out) * len(sizes) == EPOCHS).all()  # quarters: exact
    else:  # at least half of a round's samples are of one shard, in the end all of them
        assert np.all((jobs.counts(out) > 0) & (jobs.counts(out) <= EPOCHS + 1e-9))
