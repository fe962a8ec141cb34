"""Small random jobs and settings: everything that a seed chooses before a run begins."""

import random

import numpy as np

from paramserver.settings import Settings
from paramserver.simulation import case
from paramserver.simulation.computing import Replica
from ps_common import data, rules
from ps_common.arrays import Device
from ps_common.data import Source
from ps_common.job import Description, Job
from ps_common.memory import Memory
from ps_common.plan import Plan
from ps_worker import nn
from ps_worker.replica import Parts, Watch
from ps_worker.replica import Replica as RealReplica
from simulation.counting import CountingReplica, numbered

FEATURES, CLASSES = 4, 3


class Case(case.Case):
    """One of the tests."""

    @property
    def counts(self) -> bool:
        return self.make_replica is CountingReplica


def real_replica(job: Description, memory: Memory | None = None) -> Replica:
    return RealReplica(job, Parts.of(job), Device(), Watch(), memory)


def case_of(plan: Plan, seed: int, samples: int, test_samples: int, optimizer: nn.Optimizer) -> Case:
    """A classifier of random points."""
    rng = np.random.default_rng(seed)

    def source(n: int) -> Source:
        return data.arrays(rng.normal(size=(n, FEATURES)).astype("float32"), rng.integers(0, CLASSES, n))

    model = nn.Sequential(nn.Dense(FEATURES, 5), nn.Tanh(), nn.Dropout(0.2), nn.Dense(5, CLASSES))
    train, test = source(samples), source(test_samples) if test_samples else None
    job = Job(
        model=model, loss=nn.SoftmaxCrossEntropy(), optimizer=optimizer, metrics=[nn.Accuracy()],
        train=train, test=test, plan=plan, seed=seed,
    )  # fmt: skip
    return Case(job.describe(), {"train": train, "test": test}, real_replica)


def counting_case(plan: Plan, seed: int, samples: int, test_samples: int = 0) -> Case:
    """A job whose weights are counts; the model is there for the form's sake."""
    train, test = numbered(samples), numbered(test_samples) if test_samples else None
    job = Job(
        model=nn.Dense(1, 2), loss=nn.SoftmaxCrossEntropy(), optimizer=nn.SGD(0.1),
        train=train, test=test, plan=plan, seed=seed,
    )  # fmt: skip
    return Case(job.describe(), {"train": train, "test": test}, CountingReplica)


def random_case(rng: random.Random, quorum: float = 1.0) -> Case:
    """Half of the seeds count samples, half train a real model."""
    shards = rng.randint(1, 6)
    batch, steps, epochs = rng.randint(1, 4), rng.randint(1, 3), rng.randint(1, 3)
    rounds = rng.randint(1, 4)  # about so many an epoch
    sizes = [rng.randint(1, rounds * batch * steps) for _ in range(shards)]
    plan = Plan(
        shards=tuple(sizes) if rng.random() < 0.7 else shards,
        batch_size=batch,
        local_steps=steps,
        epochs=epochs,
        optimizer_state=rng.choice(["average", "average", "reset"]),
        dtype=rng.choice(["float32", "float64"]),
        evaluate_every=rng.randint(1, 2),
        quorum=quorum,
    )
    test_samples = rng.choice([0, 0, rng.randint(1, 12)])
    seed = rng.randrange(2**31)
    if rng.random() < 0.5:
        return counting_case(plan, seed, sum(sizes), test_samples)
    optimizer = rng.choice([nn.SGD(0.1), nn.Momentum(0.05), nn.Adam(0.01)])
    return case_of(plan, seed, sum(sizes), test_samples, optimizer)


RULES = [
    rules.Median(), rules.TrimmedMean(1), rules.TrimmedMean(2), rules.Krum(1), rules.MultiKrum(1, 2),
    rules.ClippedMean(), rules.ClippedMean(0.05),
]  # fmt: skip


def random_robust_case(rng: random.Random) -> Case:
    """As many shards as the rule takes, or a few more, all of one size."""
    rule = rng.choice(RULES)
    shards, batch, steps = rule.least + rng.randint(0, 2), rng.randint(1, 3), rng.randint(1, 2)
    plan = Plan(
        shards=shards,
        batch_size=batch,
        local_steps=steps,
        epochs=rng.randint(1, 2),
        optimizer_state=rng.choice(["average", "reset"]),
        dtype=rng.choice(["float32", "float64"]),
        rule=rule,
    )
    samples, seed = shards * batch * steps * rng.randint(1, 3), rng.randrange(2**31)
    if rng.random() < 0.3:
        return counting_case(plan, seed, samples)
    return case_of(plan, seed, samples, 0, rng.choice([nn.SGD(0.1), nn.Momentum(0.05), nn.Adam(0.01)]))


def random_settings(rng: random.Random) -> Settings:
    """Small chunks and budgets, so that a small model has many chunks and they wait for each other."""
    by_time = rng.random() < 0.3
    return Settings(
        workers_min=rng.randint(1, 2),
        wait_timeout_s=1e4,
        lease_timeout_s=rng.uniform(3.0, 20.0),
        race_after_s=rng.choice([0.005, 0.5, 1e3]),
        retry_s=rng.choice([0.2, 0.5, 1.0]),
        chunk_bytes=64 * rng.randint(1, 8),
        window=rng.randint(1, 4),
        held_bytes=rng.choice([64, 512, 4096, 2**20]),
        keeps_ledger=True,
        checkpoint_every_rounds=None if by_time else rng.randint(1, 3),
        checkpoint_every_s=rng.uniform(0.5, 2.0) if by_time else None,
    )
