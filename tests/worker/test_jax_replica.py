"""A model in JAX as a job's: its units are pure, whatever the step does with trees and keys."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import paramserver.jax
from ps_common import data
from ps_common.errors import UsageError
from ps_common.job import Job
from ps_common.plan import Plan
from ps_worker.jax_replica import Replica
from ps_worker.own_replica import OwnReplica
from ps_worker.replica import Watch
from ps_worker.rows import HeldRows
from support_jobs import samples


def loss_of(params, batch):
    x, y = batch
    chosen = jnp.take_along_axis(jax.nn.log_softmax(x @ params["w"] + params["b"]), y[:, None], axis=1)
    return -chosen.mean()


@jax.jit
def step(params, state, batch, key):
    x, y = batch
    x = x * jax.random.bernoulli(key, 0.9, x.shape)
    loss, gradient = jax.value_and_grad(loss_of)(params, (x, y))
    velocity = jax.tree.map(lambda v, g: 0.9 * v + g, state["velocity"], gradient)
    params = jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity)
    return params, {"velocity": velocity, "steps": state["steps"] + 1}, loss


@jax.jit
def evaluate(params, batch):
    return {"loss": loss_of(params, batch)}


def replica() -> Replica:
    params = {"w": jnp.full((5, 3), 0.1), "b": jnp.zeros(3)}
    state = {"velocity": jax.tree.map(jnp.zeros_like, params), "steps": jnp.array(0)}
    return Replica(params, step, state=state, evaluate=evaluate)


class Trainer:
    """A replica of a job with the data at hand."""

    def __init__(self, **plan: Any) -> None:
        x, y = samples(40).read(slice(None))
        settings = {"shards": 2, "batch_size": 4, "local_steps": 3, "epochs": 2, **plan}
        self.model, source = replica(), data.arrays(x, y)
        self.job = Job(model=self.model, train=source, test=source, plan=Plan(**settings), seed=3)
        self.description = self.job.describe()
        self.replica = OwnReplica(self.description, self.model, Watch())
        self.layout = self.replica.layout

    def rows(self, shard: int) -> HeldRows:
        return HeldRows(self.job.train.read(self.description.schedule.shards.rows(shard)))

    def first(self) -> np.ndarray:
        vector = self.replica.initialise().vector
        assert vector is not None
        return vector.copy()

    def train(self, base: np.ndarray, round_: int, shard: int) -> np.ndarray:
        vector = self.replica.train(base, self.rows(shard), round_, shard).vector
        assert vector is not None
        return vector.copy()


UNITS = [(0, 0), (0, 1), (1, 1), (1, 0)]


@pytest.mark.parametrize("state", ["average", "reset"])
def test_a_unit_has_the_same_bits_whenever_and_wherever_it_is_computed(state):
    one, other = Trainer(optimizer_state=state), Trainer(optimizer_state=state)
    base = one.train(one.first(), 1, 0)
    in_order = {unit: one.train(base, *unit).tobytes() for unit in UNITS}
    other.replica.evaluate(base, other.rows(0), 0)
    backwards = {unit: other.train(base, *unit).tobytes() for unit in [*reversed(UNITS), *UNITS]}
    assert in_order == backwards
    assert len(set(in_order.values())) == len(UNITS)


def test_it_learns_and_its_state_is_averaged_with_it():
    trainer = Trainer(shards=1, local_steps=10)
    base = trainer.first()
    trained = trainer.train(base, 0, 0)
    before, after = (trainer.replica.evaluate(v, trainer.rows(0), 0).sums["loss"][0] for v in (base, trained))
    assert after < 0.7 * before
    views = trainer.layout.views(trained)
    assert set(views) == {"b", "w", "state.velocity.b", "state.velocity.w", "state.steps"}
    assert views["state.steps"] == 10
    assert np.abs(views["state.velocity.w"]).max() > 0


def test_each_step_of_a_unit_has_a_key_of_its_own_and_each_unit_the_same_ones_again():
    drawn: list[float] = []

    def note(params, state, batch, key):
        drawn.append(float(jax.random.uniform(key)))
        return params, state, 0.0

    held = Replica({"w": jnp.ones(2)}, note)
    for _ in range(2):
        held.begin(np.random.default_rng(5))
        held.train((np.ones(1), np.ones(1)))
        held.train((np.ones(1), np.ones(1)))
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]


def test_a_count_is_rounded_when_it_comes_back():
    held = replica()
    held.load({}, {}, {"steps": np.float64(6.6)})
    assert held.optimizer_state["steps"].tolist() == 7
    assert held.optimizer_state["steps"].dtype == jnp.int32
    assert held.params["w"].tolist() == replica().params["w"].tolist()


def test_without_a_way_to_evaluate_there_is_no_test_data():
    source = data.arrays(*samples(8).read(slice(None)))
    held = Replica(replica().params, step)
    with pytest.raises(UsageError, match=r"the job has test data, and Replica has no evaluate\(batch\)"):
        Job(model=held, train=source, test=source)


@pytest.mark.parametrize(
    ("params", "state", "told"),
    [
        (
            {"w": jnp.ones(2, jnp.float16)},
            (),
            "w (2,) is float16; what is averaged must be float32 or float64",
        ),
        (
            {"w": jnp.ones(2)},
            {"key": jax.random.key(0)},
            "state: key () is key<fry>; what is averaged must be",
        ),
        ({"w": jnp.ones(2)}, {"order": jnp.arange(3)}, "state: order (3,) is int32"),
    ],
)
def test_trees_that_cannot_be_averaged_are_refused_by_name(params, state, told):
    with pytest.raises(UsageError) as caught:
        Replica(params, step, state=state)
    assert told in str(caught.value)


def test_the_public_name_is_the_replicas():
    assert paramserver.jax.Replica is Replica
