"""Workers of one cluster on several devices."""

from paramserver import LocalCluster


def test_workers_are_given_the_devices_in_turn(world):
    flags = ["--begin-with", "1", "--transport", "tcp"]
    with LocalCluster(world.job(), 3, server_flags=flags, devices=["cpu", "cuda:99"]) as cluster:
        record = cluster.wait(60)
        assert cluster.workers[1].process.wait(30) == 2
        assert "device 'cuda:99' was asked for" in cluster.worker_log(1)
        assert all("computing on cpu" in cluster.worker_log(number) for number in (0, 2))
    assert {worker["device"] for worker in record["workers"]} == {"cpu"}
