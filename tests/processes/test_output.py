"""What a run gives back: the record, the model, lines of the log, and the settings of the environment."""

import json

import numpy as np
import pytest

import paramserver
from processes import jobs
from processes.world import events

RECORD = (
    "status rounds epochs samples seconds train_seconds metrics history weights_sha256 parameters "
    "bytes_sent bytes_received workers events"
)
WORKER = "name device units samples compute_seconds wait_seconds transfer_seconds"


def test_the_record_holds_what_scripts_rely_on(world):
    code, said = world.run("ps-local", world.job(), "-n", 2, "--json", "record.json")
    assert code == 0, said
    record = world.json()
    assert set(RECORD.split()) <= record.keys()
    assert (record["status"], record["rounds"], record["epochs"], record["samples"]) == (
        "finished",
        12,
        4,
        960,
    )
    assert record["parameters"] == 12 * 8 + 8 + 8 * 3 + 3
    assert [entry["epoch"] for entry in record["history"]] == [1, 2, 3, 4]
    assert all({"loss", "accuracy"} <= entry.keys() for entry in record["history"])
    assert record["metrics"] == {name: record["history"][-1][name] for name in ("loss", "accuracy")}
    assert len(record["weights_sha256"]) == 64
    assert 0 < record["train_seconds"] <= record["seconds"] < 60
    assert min(record["bytes_sent"], record["bytes_received"]) > 12 * record["parameters"] * 4
    assert len(record["workers"]) == len(events(record, "join"))
    assert len({worker["pid"] for worker in record["workers"]}) == 2
    for worker in record["workers"]:
        assert set(WORKER.split()) <= worker.keys()
    assert sum(worker["samples"] for worker in record["workers"]) == 960
    assert record["weights_sha256"][:16] in said, "the last line names the weights"


def test_the_model_that_out_writes_predicts_what_the_run_reported(world):
    out = world.folder / "models" / "digits.safetensors"
    code, said = world.run("ps-local", world.job(), "-n", 2, "--epochs", 40, "--out", out)
    assert code == 0, said
    model = paramserver.load(out)
    x = np.random.default_rng(3).standard_normal((jobs.SAMPLES, 12)).astype("float32")
    labels = x[:, :3].argmax(axis=1)
    accuracy = (model.predict(x[:60]).argmax(axis=1) == labels[:60]).mean()
    assert accuracy == pytest.approx(model.metrics["accuracy"])
    assert accuracy > 0.9


def test_a_log_of_json_is_one_object_a_line(world):
    code, said = world.run("ps-local", world.job(), "--log-format", "json")
    assert code == 0
    lines = [json.loads(line) for line in said.splitlines()]
    assert all({"at", "event", "text"} <= line.keys() for line in lines)
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2, 3, 4]
    assert {"listening", "join", "start", "end"} <= {line["event"] for line in lines}


def test_quiet_says_nothing(world):
    assert world.run("ps-local", world.job(), "--quiet") == (0, "")


def test_a_log_folder_keeps_what_the_workers_said(world):
    code, said = world.run("ps-local", world.job(), "-n", 2, "--log-folder", "logs")
    assert code == 0, said
    for number in (0, 1):
        assert "joined run" in (world.folder / "logs" / f"worker-{number}.log").read_text()


def test_a_log_names_what_happens_in_order(world):
    code, said = world.run("ps-local", world.job(), "-n", 2)
    assert code == 0
    words = (
        "listening: ",
        "waiting for workers: 0 of 2 workers here",
        "worker-1 joined",
        "worker-2 joined",
        "2 of 2 workers here; starting",
        "epoch 1 of 4: ",
        "epoch 4 of 4: ",
        "finished: 12 rounds",
    )
    places = [said.find(word) for word in words]
    assert -1 not in places, said
    assert places == sorted(places)


def test_waiting_says_who_is_here_and_gives_up_with_75(world):
    with world.cluster(workers=1, flags=("--workers", 2, "--wait-timeout", 8)) as cluster:
        cluster.wait_for("1 of 2 workers here")
        assert cluster.wait_exit(30) == 75
        assert "1 of 2 workers were here after 8 s; start more and try again" in cluster.master_log()
        assert cluster.workers[0].process.wait(30) == 75
        assert cluster.record()["status"] == "failed"


def test_the_environment_sets_flags(world):
    settings = {"PS_EPOCHS": "2", "PS_WORKERS": "1", "PS_JSON": "record.json", "PS_LOG_FORMAT": "json"}
    code, said = world.run("ps-local", world.job(), **settings)
    assert code == 0, said
    assert all(json.loads(line) for line in said.splitlines())
    assert (world.json()["epochs"], len(world.json()["workers"])) == (2, 1)


def test_a_flag_wins_over_the_environment_and_the_environment_over_the_job(world):
    settings = {"PS_EPOCHS": "2", "PS_SEED": "5", "PS_WORKERS": "1", "PS_SET": "batch_size=20"}
    code, said = world.run("ps-local", world.job(), "--epochs", 1, "--json", "record.json", **settings)
    assert code == 0, said
    assert world.json()["epochs"] == 1
    flags = ("--epochs", 1, "--seed", 5, "--set", "batch_size=20")
    assert world.json()["weights_sha256"] == world.record(workers=1, flags=flags)["weights_sha256"]


def test_the_environment_of_one_command_does_not_reach_into_another(world):
    settings = {"PS_BIND": "tcp://0.0.0.0:1", "PS_MASTER": "tcp://127.0.0.1:1", "PS_RESUME": "gone"}
    code, said = world.run("ps-local", world.job(), "--resume", "auto", **settings)
    assert code == 0, said


def test_a_worker_reads_its_own_environment(world):
    code, said = world.run("ps-worker", PS_MASTER="tcp://127.0.0.1:9", PS_MASTER_TIMEOUT="0.3")
    assert code == 69
    assert "looking for the master at tcp://127.0.0.1:9" in said
    code, said = world.run("ps-worker", PS_JOB="gone.py")
    assert code == 2
    assert "no such job file: gone.py" in said
