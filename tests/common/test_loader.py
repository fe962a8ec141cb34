"""From a job's file to a job, and its settings from text."""

import hashlib
import sys
import textwrap
from pathlib import Path

import pytest

from ps_common.errors import JobCodeError, UsageError
from ps_common.loader import file_digest, load_job, options
from ps_common.plan import Plan
from ps_worker import nn

FILE = """
    import numpy as np
    import paramserver
    from paramserver import Job, Plan, data, nn

    settings = paramserver.options(hidden=4, scale=1.0, name="x", flip=False)
    x = np.arange(20, dtype=np.float32).reshape(10, 2) * settings.scale
    job = Job(
        model=nn.Sequential(nn.Dense(2, settings.hidden), nn.Dense(settings.hidden, 3)),
        loss=nn.SoftmaxCrossEntropy(), optimizer=nn.SGD(0.1), regularizer=nn.L2(0.5),
        train=data.arrays(x, np.arange(10) % 3), plan=Plan(shards=2),
    )
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file into a folder that is on the path for this test alone."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)

    def write(text, name="job.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return str(path)

    yield write
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def test_a_files_job_is_loaded_with_the_files_digest(write):
    path = write(FILE)
    loaded = load_job(path, {})
    assert loaded.job.plan == Plan(shards=2)
    assert loaded.code == hashlib.sha256(Path(path).read_bytes()).hexdigest() == file_digest(path)
    assert loaded.describe().code == loaded.code


def test_a_module_and_name_is_a_job_too(write, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    path = write(FILE.replace("job = Job", "mine = Job"), "loadable/jobs.py")
    write("", "loadable/__init__.py")
    assert load_job("loadable.jobs:mine", {"epochs": "3"}).job.plan.epochs == 3
    assert file_digest("loadable.jobs:mine") == file_digest(path)


def test_every_override_reaches_what_it_names(write):
    overrides = {
        "hidden": "7",
        "scale": "2",
        "flip": "yes",
        "name": "y",
        "epochs": "3",
        "shards": "4,6",
        "seed": "5",
        "optimizer.learning_rate": "0.25",
        "regularizer.strength": "2",
    }
    loaded = load_job(write(FILE), overrides)
    job = loaded.job
    assert job.model.layers[0] == nn.Dense(2, 7)
    assert job.train.read(slice(0, 2))[0].tolist() == [[0, 2], [4, 6]]
    assert (job.plan, job.seed) == (Plan(epochs=3, shards=(4, 6)), 5)
    assert (job.optimizer, job.regularizer) == (nn.SGD(0.25), nn.L2(2.0))
    assert loaded.overrides == loaded.describe().overrides == overrides


def test_a_files_option_comes_before_a_plans_field_of_that_name(write):
    text = FILE.replace("hidden=4", "hidden=4, epochs=2").replace("shards=2", "shards=settings.epochs")
    plan = load_job(write(text), {"epochs": "5"}).job.plan
    assert (plan.shards, plan.epochs) == (5, 1)


NESTED = FILE.replace("nn.SGD(0.1)", "nn.ClipByNorm(nn.Adam(nn.Cosine(0.1, steps=50)), 1.0)")


@pytest.mark.parametrize(
    ("overrides", "optimizer"),
    [
        ({"optimizer.limit": "0.5"}, nn.ClipByNorm(nn.Adam(nn.Cosine(0.1, 50)), 0.5)),
        ({"optimizer.optimizer.learning_rate": "0.3"}, nn.ClipByNorm(nn.Adam(0.3), 1.0)),
        (
            {
                "optimizer.optimizer.learning_rate.warmup": "60",
                "optimizer.optimizer.learning_rate.steps": "90",
                "optimizer.optimizer.beta1": "0.5",
                "optimizer.limit": "2",
            },
            nn.ClipByNorm(nn.Adam(nn.Cosine(0.1, 90, 60), 0.5), 2.0),
        ),
    ],
)
def test_what_is_in_a_part_is_set_after_another_dot(write, overrides, optimizer):
    assert load_job(write(NESTED), overrides).job.optimizer == optimizer


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            {"optimizer.optimizer.learning_rate.warmpu": "1"},
            "did you mean 'optimizer.optimizer.learning_rate.warmup'",
        ),
        (
            {"optimizer.optimizer.learning_rate.warmup": "2", "optimizer.optimizer.learning_rate": "1"},
            "--set learning_rate=1 leaves no learning_rate.warmup to set",
        ),
        ({"optimizer.optimizer.learning_rate.warmup": "x"}, "--set warmup=x: warmup must be int"),
        ({"optimizer.optimizer.learning_rate.warmup": "50"}, "got warmup 50 of 50 steps"),
        ({"optimizer.optimizer": "Adam"}, "optimizer must be Optimizer"),
    ],
)
def test_what_is_in_a_part_is_checked_like_the_part(write, overrides, told):
    with pytest.raises(UsageError) as caught:
        load_job(write(NESTED), overrides)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("hiden", "hidden"),
        ("epoch", "epochs"),
        ("sed", "seed"),
        ("optimizer.lerning_rate", "optimizer.learning_rate"),
        ("learning_rate", "optimizer.learning_rate"),
    ],
)
def test_a_misspelt_setting_is_answered_with_the_nearest(write, key, near):
    with pytest.raises(UsageError, match=f"--set {key}: the job has no setting.*did you mean '{near}'"):
        load_job(write(FILE), {key: "1"})


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"hidden": "many"}, "--set hidden=many: hidden must be int"),
        ({"scale": "x"}, "scale must be float"),
        ({"flip": "2"}, "flip must be bool"),
        ({"seed": "1.5"}, "seed must be int"),
        ({"seed": "-1"}, "seed must be an integer from 0"),
        ({"optimizer.learning_rate": "-1"}, "learning_rate must be a number"),
        ({"batch_size": "0"}, "batch_size must be"),
    ],
)
def test_a_setting_of_another_type_or_out_of_bounds_is_refused(write, overrides, told):
    with pytest.raises(UsageError) as caught:
        load_job(write(FILE), overrides)
    assert told in str(caught.value)


def test_a_users_own_classes_are_loaded_and_set_though_their_annotations_are_text(write):
    text = textwrap.dedent(FILE).replace("nn.SGD(0.1)", "Mine(0.1)")
    own = """
        from __future__ import annotations
        import dataclasses
        from paramserver import nn

        @dataclasses.dataclass(frozen=True)
        class Mine(nn.Optimizer):
            rate: float

            def step(self, weights, gradient, slots, scratch):
                weights -= self.rate * gradient
    """
    loaded = load_job(write(textwrap.dedent(own) + text), {"optimizer.rate": "0.5"})
    assert loaded.job.optimizer.rate == 0.5
    assert loaded.describe().needs_code


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import numpy\n\n1 / 0\n", "raised ZeroDivisionError: division by zero"),
        ("def f(:\n", "raised SyntaxError"),
        ("import not_there_at_all\n", "raised ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", "raised SystemExit: 3"),
    ],
)
def test_a_file_that_raises_is_the_users_code_failing(write, text, told):
    with pytest.raises(JobCodeError) as caught:
        load_job(write(text), {})
    assert told in str(caught.value)
    assert caught.value.exit_code == 1


def test_the_line_that_raised_is_named(write):
    path = write("import numpy\n\n1 / 0\n")
    with pytest.raises(JobCodeError, match=r"job\.py, line 3\)$"):
        load_job(path, {})


def test_our_own_errors_pass_through_a_users_file(write):
    with pytest.raises(UsageError, match="the plan's epochs"):
        load_job(write(FILE.replace("shards=2", "epochs=0")), {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\n", "looked for a Job called 'job', has no such variable"),
        ("job = 3\n", "there is a int, not a Job"),
    ],
)
def test_a_file_without_a_job_is_refused_with_advice(write, text, told):
    with pytest.raises(UsageError) as caught:
        load_job(write(text), {})
    assert told in str(caught.value)
    assert "write `job = Job(...)`" in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "gone.py",
        "gone/job.py",
        "gone",
        "gone:job",
        "gone.module:job",
        ":job",
        "",
        ".",
        "json.gone:job",
        "sys:path",
    ],
)
def test_a_target_that_is_not_there_is_refused(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        load_job(target, {})
    with pytest.raises(UsageError, match="no such job file"):
        file_digest(target)


def test_a_package_that_cannot_be_imported_is_the_users_code_failing(write, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    write("import not_there_at_all\n", "broken_package/__init__.py")
    write(FILE, "broken_package/jobs.py")
    for load in (
        lambda: load_job("broken_package.jobs:job", {}),
        lambda: file_digest("broken_package.jobs:job"),
    ):
        with pytest.raises(JobCodeError, match="not_there_at_all"):
            load()


def test_a_file_that_is_no_python_is_refused(write):
    with pytest.raises(UsageError, match="is no Python file"):
        load_job(write("job = 1\n", "job.txt"), {})


def test_an_option_that_is_a_choice_takes_one_of_its_texts_and_the_first_by_default(write):
    path = write(
        FILE.replace('name="x"', 'name=("x", "y")').replace("shards=2", "shards=2 + (settings.name == 'y')")
    )
    assert load_job(path, {}).job.plan.shards == 2
    assert load_job(path, {"name": "y"}).job.plan.shards == 3
    with pytest.raises(UsageError, match="--set name=z: name must be one of x, y"):
        load_job(path, {"name": "z"})
    assert options(name=("x", "y")).name == "x"


def test_options_outside_a_command_are_their_defaults():
    assert vars(options(hidden=4, name="x")) == {"hidden": 4, "name": "x"}


def test_loading_one_file_leaves_nothing_for_the_next(write):
    load_job(write(FILE), {"hidden": "9"})
    assert options(hidden=4).hidden == 4
    assert load_job(write(FILE), {}).job.model.layers[0] == nn.Dense(2, 4)
