"""Workers of one cluster on several devices."""

from paramserver import LocalCluster
from processes import jobs
from processes.world import eventually


def test_workers_are_given_the_devices_in_turn(world):
    flags = ["--begin-with", "1", "--transport", "tcp"]
    world.hold()  # or the run may be over before all have begun
    with LocalCluster(world.job(jobs.GATED), 3, server_flags=flags, devices=["cpu", "cuda:99"]) as cluster:
        assert cluster.workers[1].process.wait(30) == 2
        assert "device 'cuda:99' was asked for" in cluster.worker_log(1)
        for number in (0, 2):
            eventually(lambda n=number: "computing on cpu" in cluster.worker_log(n), "it computes")
        world.release()
        record = cluster.wait(60)
    assert {worker["device"] for worker in record["workers"]} == {"cpu"}
