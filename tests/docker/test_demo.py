"""The README's line: three workers, each in a container of its own, train the demo, and everything ends."""

import collections
import re

import pytest

from support_engine import IMAGE, docker, inspect

pytestmark = pytest.mark.timeout(600)
SIZE_MAX_BYTES = 350e6  # with all layers of the base


def test_everything_ends_by_itself_and_well(demo):
    assert demo.exit_codes == [0] * 4
    assert demo.record["status"] == "finished"


def test_the_demo_reaches_its_accuracy(demo):
    assert demo.record["metrics"]["accuracy"] >= 0.93


def test_each_worker_has_a_host_of_its_own_and_a_part_of_the_work(demo):
    workers = demo.record["workers"]
    assert {worker["host"] for worker in workers} == set(demo.project.containers("worker"))
    samples = collections.Counter()
    for worker in workers:  # one that was starved for long has joined again
        samples[worker["host"]] += worker["samples"]
    assert all(samples.values())
    assert sum(worker["samples"] for worker in workers) == demo.record["samples"] == 40_000


def test_the_log_says_who_says_what(demo):
    """A line each, behind the name of its container."""
    output = re.sub(r"\x1b\[\d*K", "", demo.output)  # `docker compose` clears lines, colours or not
    said = [line.partition("|") for line in output.splitlines() if " | " in line]
    names = {re.split(r"[-_]", who.strip())[0] for who, _, _ in said}  # worker-1, or worker_1 as it once was
    assert names == {"prepare", "master", "worker"}
    text = "\n".join(what for _, _, what in said)
    assert len(set(re.findall(r"(worker\S*) joined from", text))) == 3
    assert len(re.findall(r"epoch \d+ of 10: .* accuracy 0\.\d+", text)) == 10
    assert "model written to /runs/model.safetensors" in text
    assert f"weights {demo.digest[:16]}" in text
    assert "Traceback" not in text


def test_model_record_and_checkpoints_stay_in_the_volume(demo):
    listed = demo.project.compose("run", "--rm", "--no-deps", "prepare", "ls", "/runs")
    assert {"model.safetensors", "record.json"} <= set(listed.split())
    words = ("ps-server", "verify", "/runs/checkpoints")
    verified = demo.project.compose("run", "--rm", "--no-deps", "prepare", *words)
    assert (
        f"verified: 60 rounds, 360 units, 40,000 samples, each exactly once; weights {demo.digest[:16]}"
        in verified
    )


def test_one_container_alone_comes_to_the_same_weights(demo):
    """Master and workers in it share memory, of which /dev/shm has 64 MB: they do not need it."""
    words = ("run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", IMAGE)
    said = docker(*words, "ps-local", "mnist_mlp.py", "-n", 2, timeout_s=120)
    assert f"weights {demo.digest[:16]}" in said


def test_the_image_is_small(context):
    size = int(docker("image", "inspect", "-f", "{{.Size}}", IMAGE))
    print(f"the image has {size / 1e6:.0f} MB")
    assert size <= SIZE_MAX_BYTES


@pytest.mark.parametrize("service", ["master", "worker"])
def test_a_container_can_do_little(demo, service):
    """Not root, nothing to write to but its volumes, no capability, and none to be had."""
    container = inspect(demo.project.containers(service)[0])
    assert container["Config"]["User"] == "10001:10001"
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert not host["PortBindings"]
    assert host["ShmSize"] == 64 << 20, "what a default container has"


def test_workers_prove_who_they_are_and_do_not_see_the_servers_key(demo):
    """Keys are made at the first start, and nobody else on the network gets in."""
    assert "made the run's keys" in demo.project.log(demo.project.containers("prepare")[0])
    assert "INSECURE" not in demo.output
    (mount,) = inspect(demo.project.containers("worker")[0])["Mounts"]
    assert (mount["Destination"], mount["RW"]) == ("/key", False)
    listed = demo.project.compose("run", "--rm", "--no-deps", "prepare", "ls", "-lR", "/key", "/keys")
    secrets = [line.split() for line in listed.splitlines() if line.endswith(".key")]
    assert sorted((words[0], words[-1]) for words in secrets) == [
        ("-rw-------", "server.key"), ("-rw-------", "worker.key"),
    ]  # fmt: skip


@pytest.mark.parametrize("workers", [1, 5])
def test_the_number_of_workers_changes_no_bit(demo, workers):
    flags = ("--no-build", "--scale", f"worker={workers}")
    demo.project.compose("up", *flags, PS_BEGIN_WITH=str(workers))
    record = demo.project.record()
    assert record["weights_sha256"] == demo.digest
    assert record["run"] != demo.record["run"], "another `up` begins anew"
    assert demo.project.exit_codes("worker") == [0] * workers
