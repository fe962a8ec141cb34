"""A trained model from its file."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy

import paramserver
from paramserver.effects import Snapshot
from paramserver.serve import write_model
from ps_common import weights_file
from ps_common.arrays import Device
from ps_common.errors import CheckpointError, DataError, UsageError
from ps_common.job import Job
from ps_worker import nn
from ps_worker.replica import Parts, Replica, Watch
from ps_worker.rows import HeldRows
from support_jobs import job, samples

X, Y = samples(12, seed=8).read(slice(None))


@dataclasses.dataclass(frozen=True)
class Doubled(nn.Dense):
    """A layer of the user's own."""


OWN = nn.Sequential(nn.Dropout(0.5), Doubled(5, 3))


def trained(path, made: Job) -> nn.Network:
    """Train two rounds, write the model, and give the network that was trained."""
    description = made.describe()
    parts = Parts(made.model, made.loss, made.optimizer, made.regularizer, tuple(made.metrics))
    replica = Replica(description, parts, Device(), Watch())
    vector = replica.initialise().vector.copy()
    rows = HeldRows(made.train.read(description.schedule.shards.rows(0)))
    for round_ in range(2):
        vector = replica.train(vector, rows, round_, 0).vector.copy()
    snapshot = Snapshot(
        replica.layout, vector, 2, "run", 1, description.to_plain(), description.digest, 16, {}, [], 0.0
    )
    write_model(path, snapshot, {"accuracy": 0.75})
    return replica._network


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": nn.Adam()}, {"dtype": "float64"}, {"loss": nn.SoftmaxCrossEntropy()}]
)
def test_a_loaded_model_predicts_what_the_trained_one_did(tmp_path, changes):
    network = trained(tmp_path / "m.safetensors", job(**changes))
    model = paramserver.load(tmp_path / "m.safetensors")
    output = model.predict(X)
    assert output.tobytes() == network.predict(X).tobytes()
    assert output.shape == (12, 3)
    assert model.predict(X.tolist()).argmax(axis=1).tolist() == output.argmax(axis=1).tolist()
    assert model.metrics == {"accuracy": 0.75}
    assert model.job == job(**changes).describe()
    assert set(model.weights) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_the_file_holds_the_weights_and_not_the_optimizers_state(tmp_path):
    trained(tmp_path / "m", job(optimizer=nn.Adam()))
    assert set(safetensors.numpy.load_file(tmp_path / "m")) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_a_model_with_own_layers_is_given_them(tmp_path):
    network = trained(tmp_path / "m", job(model=OWN))
    with pytest.raises(CheckpointError, match="holds layers of the user's own; give them"):
        paramserver.load(tmp_path / "m")
    assert paramserver.load(str(tmp_path / "m"), OWN).predict(X).tobytes() == network.predict(X).tobytes()


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (nn.Sequential(nn.Dense(6, 4), nn.Tanh(), nn.Dense(4, 3)), "takes samples of shape"),
        (nn.Sequential(nn.Dense(5, 7), nn.Tanh(), nn.Dense(7, 3)), "do not fit its model"),
        (nn.Sequential(nn.Tanh(), nn.Dense(5, 3)), "lacks the weights ['1.bias', '1.weight']"),
        (nn.SGD(0.1), "the model must be a Layer"),
    ],
)
def test_a_model_of_other_shapes_is_refused(tmp_path, model, told):
    trained(tmp_path / "m", job())
    with pytest.raises(CheckpointError) as caught:
        paramserver.load(tmp_path / "m", model)
    assert told in str(caught.value)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "m"
    trained(path, job())
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:100], whole.replace(b"Tanh", b"ReLU"), whole[:-3] + b"abc"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            paramserver.load(path)
    with pytest.raises(CheckpointError, match="no such file"):
        paramserver.load(tmp_path / "gone")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda meaning: meaning.pop("job"),
        lambda meaning: meaning["job"].pop("seed"),
        lambda meaning: meaning["job"].update(model={"kind": "os.system"}),
        lambda meaning: meaning["job"].update(loss={"kind": "MSE", "more": 1}),
        lambda meaning: meaning["job"]["train"].update(fields=[]),
        lambda meaning: meaning["job"]["plan"].update(dtype="int8"),
    ],
)
def test_a_whole_file_that_describes_no_model_is_refused(tmp_path, spoil):
    path = tmp_path / "m"
    trained(path, job())
    layout, vector, meaning = weights_file.read(path)
    meaning = json.loads(json.dumps(meaning))
    spoil(meaning)
    weights_file.write(path, layout, vector, meaning)
    with pytest.raises(CheckpointError, match="does not describe a model"):
        paramserver.load(path)


def test_a_checkpoint_is_loaded_as_a_model_too(tmp_path):
    trained(tmp_path / "m", job())
    layout, vector, meaning = weights_file.read(tmp_path / "m")
    weights_file.write(tmp_path / "c", layout, vector, {"job": meaning["job"], "version": 2})
    assert paramserver.load(tmp_path / "c").metrics == {}


def test_an_unknown_device_is_refused(tmp_path):
    trained(tmp_path / "m", job())
    with pytest.raises(UsageError, match="device 'tpu' is not known"):
        paramserver.load(tmp_path / "m", device_name="tpu")


def test_a_batch_of_another_shape_is_refused(tmp_path):
    trained(tmp_path / "m", job())
    model = paramserver.load(tmp_path / "m")
    with pytest.raises(DataError, match=r"samples of shape \(5,\), not \(4,\)"):
        model.predict(np.zeros((2, 4)))
