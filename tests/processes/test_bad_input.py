"""What a user gets wrong is told once, in words that say what to do, with the exit code of its kind."""

import numpy as np
import pytest

from processes import jobs


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("ps-local gone.py", 2, "no such job file: gone.py; give a Python file or package.module:name"),
        ("ps-local job.py --set epoch=3", 2, "the job has no setting of that name; did you mean 'epochs'?"),
        ("ps-local job.py --set optimizer.learningrate=1", 2, "did you mean 'optimizer.learning_rate'?"),
        ("ps-local job.py --epochs many", 2, "epochs must be int"),
        ("ps-local job.py --shards 241", 65, "241 shards of 240 train samples: every shard needs at least"),
        ("ps-local job.py --shards 0", 2, "the plan's shards must be 1 or more, not 0"),
        ("ps-local job.py --device tpu", 2, "device 'tpu' is not known; use auto, cpu, cuda or cuda:0"),
        ("ps-local job.py --worker 3", 2, "--workers"),
        ("ps-local job.py --checkpoint-every often", 2, "write it as 60s, 5m or 100rounds"),
        ("ps-local job.py --resume gone.safetensors", 65, "no such file: gone.safetensors"),
        ("ps-server job.py --bind tcp://0.0.0.0:0", 2, "can be reached from other machines"),
        ("ps-server job.py --bind 127.0.0.1:5555", 2, "--bind must look like tcp://127.0.0.1:5555"),
        ("ps-server job.py --bind tcp://no.such.host.invalid:0 --insecure", 2, "cannot bind tcp://no.such.host"),
        ("ps-server job.py --advertise master", 2, "--advertise must look like tcp://127.0.0.1:5555"),
        ("ps-server job.py --workers 3:2", 2, "--workers must be MIN or MIN:MAX"),
        ("ps-worker --master localhost", 2, "--master must look like tcp://host:5555, not 'localhost'"),
        (f"ps-worker --name {'x' * 257}", 2, "--name has at most 256 characters, not 257"),
        ("ps-worker --job gone.py", 2, "no such job file: gone.py"),
        ("ps-worker --device cuda:99", 2, "device 'cuda:99' was asked for, but"),
        ("ps-worker --master tcp://127.0.0.1:9 --master-timeout 0.5", 69, "nobody answers at the master's"),
    ],
)  # fmt: skip
def test_wrong_usage_is_told_with_its_exit_code(world, command, code, told):
    world.job()
    name, *arguments = command.split()
    ended, said = world.run(name, *arguments)
    assert ended == code, said
    assert told in said
    assert "Traceback" not in said
    assert said.count(told) == 1


def test_cuda_without_a_gpu_says_what_to_install_or_use_instead(world):
    code, said = world.run("ps-local", world.job(), "--device", "cuda", CUDA_VISIBLE_DEVICES="")
    assert code == 2
    assert "install paramserver[cuda12] or [cuda13] and a driver, or use --device cpu" in said
    assert "listening" not in said, "it is refused before anything is started"


def test_a_port_in_use_is_2(world):
    with world.cluster(workers=0) as cluster:
        code, said = world.run("ps-server", cluster.job, "--bind", cluster.address)
    assert code == 2
    assert f"cannot bind {cluster.address}: the address is in use" in said


@pytest.mark.parametrize("command", ["ps-local", "ps-server"])
def test_a_job_file_that_raises_is_1_with_its_own_traceback_once(world, command):
    job = world.job("def load():\n    return 1 / 0\n\n\nload()\n")
    code, said = world.run(command, job)
    assert code == 1
    assert said.count("Traceback") == 1
    assert f'File "{job}", line 5, in <module>' in said
    assert f'File "{job}", line 2, in load' in said
    assert "loader.py" not in said
    assert f"the job file {job} raised ZeroDivisionError: division by zero" in said


def test_a_job_file_that_is_no_python_is_1_and_shows_the_line(world):
    code, said = world.run("ps-server", world.job("job = = 3\n"))
    assert code == 1
    assert "job = = 3" in said
    assert "SyntaxError" in said


def test_a_model_that_does_not_fit_the_data_is_65_and_names_both_shapes(world):
    job = world.job(jobs.PLAIN.replace("nn.Dense(12, 8)", "nn.Dense(13, 8)"))
    code, said = world.run("ps-local", job)
    assert code == 65
    assert "Dense(13, 8) takes samples of shape (13,), got (12,)" in said


def test_no_samples_are_65(world):
    code, said = world.run(
        "ps-local", world.job(jobs.PLAIN.replace("data.arrays(x, y)", "data.arrays(x[:0], y[:0])"))
    )
    assert code == 65
    assert "no samples; at least one is needed" in said


def test_a_truncated_data_file_is_65_and_named(world):
    path = jobs.write_npz(world.folder / "train.npz")
    path.write_bytes(path.read_bytes()[:-300])
    code, said = world.run("ps-local", world.job(jobs.on_file(path, "stream")))
    assert code == 65
    assert f"{path} is no .npz file or is damaged or truncated" in said


def test_data_that_are_not_the_masters_are_65(world):
    path = jobs.write_npz(world.folder / "train.npz")
    with world.cluster(jobs.on_file(path, "shared"), workers=0) as cluster:
        x = np.random.default_rng(4).standard_normal((jobs.SAMPLES, 12)).astype("float32")
        np.savez(path, x=x, y=x[:, :3].argmax(axis=1))
        cluster.start_worker()
        assert cluster.wait_exit(30) == 65
        assert "the train data here is not the master's" in cluster.master_log()


def test_a_label_out_of_range_is_65_and_names_sample_and_value(world):
    job = world.job(jobs.PLAIN.replace("\njob =", "\ny[20] = 7\njob ="))
    code, said = world.run("ps-local", job)
    assert code == 65
    assert "sample 3 has the target 7, but a model with 3 outputs knows the labels 0 to 2" in said
    assert "train data, shard 2" in said  # sample 20 is the third of shard 2


def test_a_layer_that_raises_is_1_with_one_whole_report(world):
    with world.cluster(jobs.RAISING, workers=1) as cluster:
        assert cluster.wait_exit(30) == 1
        said, pid = cluster.master_log(), cluster.workers[0].process.pid
        assert cluster.workers[0].process.wait(30) == 1
        failure = cluster.record()["failure"]
    for part in (
        "train round 0 shard 0 failed",
        "worker: worker-1 on ",
        f"(pid {pid}, cpu)",
        "log: ",
        "exit code: 1",
        'raise RuntimeError("tripped over a shoelace")',
    ):
        assert part in said, part
    assert said.count("Traceback") == 1
    assert failure["unit"] == "train round 0 shard 0"
    assert "RuntimeError: tripped over a shoelace" in failure["error"]


def test_ps_local_ends_with_the_code_of_the_layer_that_raises(world):
    code, said = world.run("ps-local", world.job(jobs.RAISING), "-n", 2)
    assert code == 1
    assert said.count("tripped over a shoelace\n") >= 1
    assert said.count("Traceback") == 1


def test_a_loss_that_is_no_number_is_65_and_says_what_to_look_at(world):
    code, said = world.run("ps-local", world.job(), "--set", "optimizer.learning_rate=1e30")
    assert code == 65
    assert "the learning rate may be too high" in said


def test_when_every_worker_leaves_with_an_error_ps_local_ends_with_its_code(world):
    changes_itself = "from pathlib import Path\nwith Path(__file__).open('a') as f:\n    f.write('#')\n"
    code, said = world.run("ps-local", world.job(changes_itself + jobs.GATED), "-n", 2)
    assert code == 76
    assert "ps-local: every worker left with an error" in said
    assert "is not the master's job; start both from the same file" in said
