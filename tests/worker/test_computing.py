"""The computing thread: what it is given it answers, whatever the user's job raises."""

import os
import queue
import sys
import textwrap

import numpy as np
import pytest
import threadpoolctl

from ps_common import data
from ps_common.arrays import Device
from ps_common.job import Description, Job
from ps_common.loader import load_job
from ps_common.messages import Lease
from ps_worker import nn
from ps_worker.computing import Computing
from ps_worker.effects import Compute, Contribution, Failure, Outcome, Prepare, Prepared
from support_jobs import job, samples

OWN = """
    import dataclasses
    import os
    import pathlib
    import sys
    import numpy as np
    from paramserver import Job, data, nn

    @dataclasses.dataclass(frozen=True)
    class Mine(nn.ReLU):
        def forward(self, x, p, context):
            {forward}
            return super().forward(x, p, context)

    x = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    job = Job(
        model=nn.Sequential(nn.Dense(2, 3), Mine(), nn.Dense(3, 2)), loss=nn.SoftmaxCrossEntropy(),
        optimizer=nn.SGD(0.1), train=data.arrays(x, np.arange(8) % 2),
    )
"""


class Side:
    """A computing side, and a loop's view of it: begin something, then wait for the wake-up."""

    def __init__(self, target: str | None = None, threads: int | None = None):
        self.wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.computing = Computing(Device(), target, threads, lambda: self.wakes.put(True))

    def ask(self, task: Prepare | Compute) -> Outcome:
        self.computing.begin(task)
        self.wakes.get(timeout=60)
        (outcome,) = self.computing.take()
        assert self.computing.take() == []
        return outcome

    def prepare(self, made: Job | Description) -> Prepared:
        outcome = self.ask(Prepare(made.describe() if isinstance(made, Job) else made))
        assert isinstance(outcome, Prepared), outcome
        return outcome

    def initialise(self) -> np.ndarray:
        outcome = self.ask(Compute(Lease(1, "initialise", 0, 0, -1, "", 0), None, None))
        assert isinstance(outcome, Contribution), outcome
        assert outcome.vector is not None
        return outcome.vector.copy()

    def train(self, base: np.ndarray, rows=None, shard: int = 0) -> Outcome:
        return self.ask(Compute(Lease(2, "train", 0, shard, 0, "", 0), base, rows))

    def fail(self, task: Prepare | Compute) -> Failure:
        outcome = self.ask(task)
        assert isinstance(outcome, Failure), outcome
        return outcome


@pytest.fixture
def start(monkeypatch):
    """Starts computing sides, and ends them."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    sides = []

    def start(*args, **kwargs):
        sides.append(Side(*args, **kwargs))
        return sides[-1]

    yield start
    for side in sides:
        assert side.computing.close(60)


@pytest.fixture
def own_file(tmp_path):
    def own_file(forward="pass", name="own_job.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(OWN).format(forward=forward))
        return str(path)

    return own_file


def shard_rows(made: Job, shard: int = 0):
    return made.train.read(made.describe().schedule.shards.rows(shard))


def test_units_are_computed_one_after_another(start):
    made, side = job(n_test=None), start()
    prepared = side.prepare(made)
    assert prepared.job_digest == made.describe().digest
    base = side.initialise()
    assert len(base) == prepared.layout.nbytes
    outcome = side.train(base, shard_rows(made))
    assert isinstance(outcome, Contribution)
    assert outcome.samples == 8
    assert outcome.compute_s > 0
    evaluated = side.ask(Compute(Lease(3, "evaluate", 1, 0, 1, "", 0), base, None))
    assert isinstance(evaluated, Failure)  # there is no test data
    assert "no data called 'test'" in evaluated.error


def test_another_job_takes_the_place_of_the_first(start):
    side = start()
    side.prepare(job())
    other = job(model=nn.Dense(5, 3))
    prepared = side.prepare(other)
    assert prepared.layout.parameters == 18
    assert isinstance(side.train(side.initialise(), shard_rows(other)), Contribution)


def test_a_label_out_of_range_is_found_before_the_first_step(start):
    x, y = samples(40).read(slice(None))
    y[2] = 7
    made, side = job(train=data.arrays(x, y)), start()
    side.prepare(made)
    base = side.initialise()
    for _ in range(2):  # it is not taken for checked
        failure = side.train(base, shard_rows(made))
        assert isinstance(failure, Failure)
        assert failure.exit_code == 65
        assert "train data, shard 0" in failure.error
    assert side.computing.watch.step == 0


def test_a_job_that_raises_is_a_failure_with_its_traceback_and_the_thread_goes_on(start, own_file):
    path = own_file('raise RuntimeError("boom")')
    made, side = load_job(path, {}), start(path)
    side.prepare(made.describe())
    base = side.initialise()
    for _ in range(2):
        failure = side.train(base, shard_rows(made.job))
        assert isinstance(failure, Failure)
        assert (failure.error, failure.exit_code) == ("RuntimeError: boom", 1)
        assert "in forward" in failure.traceback
        assert failure.traceback.rstrip().endswith("RuntimeError: boom")


@pytest.mark.parametrize(
    ("forward", "error"),
    [
        ("sys.exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt: "),
        ('raise RuntimeError(os.fsdecode(b"\\xff"))', "RuntimeError: \\udcff"),
        ("self.forward(x, p, context)", "RecursionError: "),
        (
            'raise type("Odd", (Exception,), {"__str__": lambda self: 1 / 0})',
            "Odd, which cannot say what it is",
        ),
    ],
)
def test_whatever_a_job_raises_is_a_failure_that_can_be_sent(start, own_file, forward, error):
    path = own_file(forward)
    made, side = load_job(path, {}), start(path)
    side.prepare(made.describe())
    failure = side.train(side.initialise(), shard_rows(made.job))
    assert isinstance(failure, Failure)
    assert failure.error.startswith(error)
    assert failure.exit_code == 1
    assert (failure.error + failure.traceback).encode()


def test_a_job_of_the_users_own_code_needs_the_same_file(start, own_file):
    path = own_file()
    made = load_job(path, {"epochs": "3"})
    task = Prepare(made.describe())
    failure = start(None).fail(task)
    assert failure.exit_code == 2
    assert "--job FILE" in failure.error
    assert isinstance(start(path).ask(task), Prepared)
    failure = start(own_file("x = x + 1", "other.py")).fail(task)
    assert failure.exit_code == 76
    assert failure.error.startswith("JobMismatch: ")
    assert "is not the master's job" in failure.error
    failure = start(path + ".gone").fail(task)
    assert failure.exit_code == 2


def test_a_job_from_the_vocabulary_needs_no_file_and_does_not_run_the_one_given(start, tmp_path):
    assert isinstance(start(str(tmp_path / "gone.py")).ask(Prepare(job().describe())), Prepared)


def in_file(path, n=40, seed=7):
    x, y = samples(n, seed=seed).read(slice(None))
    np.savez(path, x=x, y=y)
    return data.npz(path)


def test_shared_data_gives_the_bits_of_data_that_was_sent(start, tmp_path):
    made, side = job(train=in_file(tmp_path / "d.npz"), test=None, data="shared"), start()
    side.prepare(made)
    base = side.initialise()
    sent = side.train(base, shard_rows(made, 1), shard=1).vector.copy()
    assert side.train(base, None, shard=1).vector.tobytes() == sent.tobytes()


def test_shared_data_that_is_not_the_masters_is_refused(start, tmp_path):
    made = job(train=in_file(tmp_path / "d.npz"), test=None, data="shared").describe()
    in_file(tmp_path / "d.npz", seed=8)
    side = start()
    side.prepare(made)
    failure = side.train(side.initialise())
    assert isinstance(failure, Failure)
    assert failure.exit_code == 65
    assert "the train data here is not the master's" in failure.error
    assert made.train.fingerprint[:12] in failure.error
    os.unlink(tmp_path / "d.npz")
    assert side.train(side.initialise()).exit_code == 65


def test_a_cancelled_unit_comes_back_after_the_step_in_hand_and_the_next_one_is_whole(
    start, own_file, tmp_path
):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    path = own_file(f"pathlib.Path({str(gate)!r}).read_bytes()")  # waits until a writer has come and gone
    made, side = load_job(path, {"batch_size": "2", "local_steps": "4"}), start(path)
    side.prepare(made.describe())
    base = side.initialise()
    side.computing.begin(Compute(Lease(2, "train", 0, 0, 0, "", 0), base, shard_rows(made.job)))
    with gate.open("wb"):  # waits until the unit is in its first step
        side.computing.cancel()
        gate.unlink()
        gate.touch()
    side.wakes.get(timeout=60)
    assert isinstance(side.computing.take()[0], Contribution)
    assert side.computing.watch.step == 1
    assert isinstance(side.train(base, shard_rows(made.job)), Contribution)
    assert side.computing.watch.step == 4


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


def test_the_jobs_number_of_threads_is_set_for_every_job_unless_the_worker_has_its_own(start):
    before = blas_threads()
    for last in (1, 2):
        side = start()
        for threads in (1, 2, last):
            side.prepare(job(threads=threads))
            assert blas_threads() == {threads}
        assert side.computing.close(60)
        assert blas_threads() == before
    own = start(threads=2)
    own.prepare(job(threads=1))
    assert blas_threads() == {2}


def test_a_unit_before_a_job_is_a_failure_and_not_the_end(start):
    side = start()
    assert (
        "a unit came before the job"
        in side.fail(Compute(Lease(1, "initialise", 0, 0, -1, "", 0), None, None)).error
    )
    side.prepare(job())


OWN_TORCH = """
    import numpy as np
    import torch
    from paramserver import Job, Plan, data

    class Counting:
        def __init__(self):
            self.w = np.zeros(1)

        def parameters(self):
            return [self.w]

        def train(self, batch):
            return {"loss": 0.0, "threads": torch.get_num_threads()}

    job = Job(model=Counting(), train=data.arrays(np.zeros(8), np.zeros(8)), plan=Plan(threads=THREADS))
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_class_that_trains_itself_is_used_and_the_number_of_threads_is_that_of_pytorch_too(
    start, tmp_path, threads
):
    path = tmp_path / "own.py"
    path.write_text(textwrap.dedent(OWN_TORCH).replace("THREADS", str(threads)))
    made, side = load_job(str(path), {}), start(str(path))
    side.prepare(made.describe())
    done = side.train(side.initialise(), shard_rows(made.job))
    assert isinstance(done, Contribution), done
    assert done.sums == {"loss": [0.0, 8.0], "threads": [8.0 * threads, 8.0]}
