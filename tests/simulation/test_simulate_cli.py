"""ps-simulate: what it says and how it ends."""

import json

import pytest

from paramserver.cli.simulate import cli, parse_rate, parse_time
from ps_common import command

JOB = """
import numpy as np
from paramserver import Job, Plan, data, nn, options

settings = options(hidden=8)
x = np.random.default_rng(1).normal(size=(60, 4)).astype("float32")
job = Job(
    model=nn.Sequential(nn.Dense(4, settings.hidden), nn.Tanh(), nn.Dense(settings.hidden, 3)),
    loss=nn.SoftmaxCrossEntropy(), optimizer=nn.Momentum(0.1), metrics=[nn.Accuracy()],
    train=data.arrays(x, np.arange(60) % 3), test=data.arrays(x[:6], np.arange(6) % 3),
    plan=Plan(shards=2, batch_size=5, local_steps=2, epochs=4),
)
"""
OWN_LAYER = """
import dataclasses
from paramserver import nn

@dataclasses.dataclass(frozen=True)
class Mine(nn.Tanh):
    pass
""" + JOB.replace("nn.Tanh()", "Mine()")


@pytest.fixture
def job(tmp_path):
    path = tmp_path / "job.py"
    path.write_text(JOB)
    return path


@pytest.fixture
def simulate(job, capsys):
    """Run the command on the job; its exit code, output and errors."""

    def run(*flags: object, target: object = job) -> tuple[int, str, str]:
        code = command.run(cli, "ps-simulate", [str(target), *map(str, flags)])
        return code, *capsys.readouterr()

    return run


def test_it_predicts_and_says_what_a_round_waits_for(simulate, tmp_path):
    path = tmp_path / "prediction.json"
    code, out, err = simulate("-n", 6, "--step-time", 0.5, "--rounds", 2, "--json", path)
    assert code == 0
    assert "6 workers and a master; 67 parameters" in out
    assert "6 shards (the job has 2), 60 samples a round; a step takes 500 ms\n" in out
    assert "What a round waits for: workers' computing, " in out
    assert "What would help: more workers" in out
    assert "\n2 rounds of " in out
    assert err.splitlines() == [f"ps-simulate: round {i} of 3 is simulated" for i in (1, 2, 3)]
    record = json.loads(path.read_text())
    assert record["bottleneck"]["resources"] == ["workers' computing"]
    assert record["round_seconds"]["median"] == pytest.approx(1.0, rel=0.05)  # two steps
    assert len(record["round_seconds"]["all"]) == 2
    assert record["samples_a_second"] == pytest.approx(60.0, rel=0.05)
    assert (record["workers"], record["servers"], record["shards"]) == (6, 1, 6)
    assert not record["step_is_measured"]
    assert record["losses"] == 0


@pytest.mark.parametrize("text", [JOB, OWN_LAYER])
def test_without_a_step_time_the_jobs_own_replica_is_timed(simulate, job, tmp_path, text):
    job.write_text(text)
    path = tmp_path / "prediction.json"
    code, out, _ = simulate("--servers", 2, "--rounds", 1, "--quiet", "--json", path)
    record = json.loads(path.read_text())
    assert (code, record["step_is_measured"]) == (0, True)
    assert 0 < record["step_seconds"] < 1
    assert "2 averaging servers" in out
    assert "\n1 round of " in out
    assert "measured here" in out
    assert {"servers' CPU", "servers' links in", "servers' links out"} <= record["in_use"].keys()


def test_settings_of_the_job_and_numbers_of_shards_and_samples(simulate):
    quick = ("--step-time", 0.1, "--rounds", 1, "--quiet")
    assert "67 parameters" in simulate(*quick)[1]
    assert "131 parameters" in simulate("--set", "hidden=16", *quick)[1]
    assert "3 shards (the job has 2)" in simulate("-n", 5, "--shards", 3, *quick)[1]
    assert "4 shards," in simulate("-n", 5, "--set", "shards=4", *quick)[1]
    assert "100 shards" in simulate("-n", 100, "--samples", 1000, *quick)[1]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--bandwidth", "10"], "--bandwidth 10: write it as 400Mbit, 10Gbit or 1.25GB"),
        (["--bandwidth", "0Gbit"], "--bandwidth 0Gbit: write it as"),
        (["--bandwidth", "tenGbit"], "--bandwidth tenGbit: write it as"),
        (["--latency", "50"], "--latency 50: write it as 50us, 2ms or 0.1s"),
        (["--workers", "0"], "0 is not in the range"),
        (["--workers", "61"], "61 shards need as many training samples, there are 60; use --samples N"),
        (["--shards", "61"], "61 shards need as many training samples"),
        (["--servers", "a,b"], "'a,b' is not a valid integer"),
        (["--rounds", "0"], "0 is not in the range"),
        (["--step-time", "0"], "0.0 is not in the range"),
        (["--set", "hiden=3"], "the job has no setting of that name; did you mean 'hidden'?"),
        (["--set", "hidden"], "write it as KEY=VALUE"),
        (["--device", "gpu"], "gpu"),
        (["--json", "/dev/null/prediction.json"], "--json"),
        (["--bandwith", "1Gbit"], "Did you mean '--bandwidth'?"),
    ],
)
def test_bad_input_is_refused_with_what_is_right(simulate, flags, told):
    code, out, err = simulate(*flags)
    assert (code, out) == (2, "")
    assert told in err


def test_a_job_that_is_not_there_is_refused(simulate, tmp_path):
    code, _, err = simulate(target=tmp_path / "none.py")
    assert code == 2
    assert "no such job file" in err


def test_a_job_whose_code_raises_ends_with_1(simulate, job):
    job.write_text("raise ValueError('tripped')")
    code, _, err = simulate()
    assert code == 1
    assert "tripped" in err


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10Gbit", 1.25e9),
        ("400Mbit", 5e7),
        ("8bit", 1.0),
        ("1.25GB", 1.25e9),
        ("2 MB/s", 2e6),
        ("0.5kbit/s", 62.5),
    ],
)
def test_rates(text, rate):
    assert parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("text", "seconds"), [("50us", 5e-5), ("2ms", 2e-3), ("0.1s", 0.1), ("0s", 0.0), ("5ns", 5e-9)]
)
def test_times(text, seconds):
    assert parse_time(text) == pytest.approx(seconds)
