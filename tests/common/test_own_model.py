"""Which classes of a user's own a job takes for its model, and what may not stand beside one."""

import dataclasses

import pytest
import torch

from ps_common.errors import UsageError
from ps_common.job import Job
from ps_common.own_model import plain_own_model, trains_itself
from ps_worker import nn
from support_jobs import samples
from support_own import Straight, own_job


class Untested:
    def parameters(self):
        return {}

    def train(self, batch):
        return 0.0


def test_an_object_with_parameters_and_train_trains_itself_and_a_layer_or_a_class_does_not():
    assert trains_itself(Straight())
    assert trains_itself(Untested())
    assert not any(map(trains_itself, (nn.Dense(5, 3), nn.Sequential(nn.ReLU()), Straight, None, 3)))


def test_a_job_with_such_a_model_needs_nothing_else_and_a_worker_needs_its_file():
    made = own_job().describe()
    assert (made.model, made.loss, made.optimizer) == ({"kind": "own:Straight"}, None, None)
    assert made.needs_code
    assert own_job(Untested(), n_test=None).describe().test is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"loss": nn.MSE()},
            "Straight makes its own steps, in train(batch), so the job's loss would have no eff",
        ),
        ({"optimizer": nn.SGD(1.0)}, "so the job's optimizer would have no effect"),
        ({"regularizer": nn.L2(1.0)}, "so the job's regularizer would have no effect"),
        ({"metrics": [nn.Accuracy()]}, "the job's metrics need an output, and Straight has none to show"),
        ({"model": Untested()}, "the job has test data, and Untested has no evaluate(batch)"),
        ({"model": Straight}, "parameters() and train(batch); write Straight(...)"),
        ({"model": 3}, "the job's model is 3; it must be a layer of paramserver.nn, or an object with"),
        (
            {"model": torch.nn.Linear(5, 3)},
            "Linear is a torch module, whose train(...) takes no batch; wrap it",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_when_the_job_is_made(changes, told):
    with pytest.raises(UsageError) as caught:
        own_job(**changes)
    assert told in str(caught.value)


@pytest.mark.parametrize("missing", ["loss", "optimizer"])
def test_a_model_of_layers_still_needs_loss_and_optimizer(missing):
    parts = {"loss": nn.SoftmaxCrossEntropy(), "optimizer": nn.SGD(1.0)}
    del parts[missing]
    with pytest.raises(UsageError, match=f"the job's {missing} is missing; a model of layers needs one"):
        Job(model=nn.Dense(5, 3), train=samples(9), **parts)


@dataclasses.dataclass
class Sized(Untested):
    width: int = 3
    name: str = "a"
    held: object = None

    def evaluate(self, batch):
        return 0.0


def test_what_a_dataclass_is_made_with_counts_where_it_is_plain():
    assert plain_own_model(Sized(held=len)) == {"kind": "own:Sized", "width": 3, "name": "a"}
    assert own_job(Sized(width=4)).describe().digest != own_job(Sized()).describe().digest
    assert own_job(Sized(held=len)).describe().digest == own_job(Sized(held=[1])).describe().digest


def test_the_files_own_options_count_where_its_text_does():
    made = own_job()
    assert made.describe("ab", {"hidden": "9"}).digest != made.describe("ab").digest
    assert made.describe("ab", {"hidden": "9"}).digest != made.describe("ab", {"hidden": "8"}).digest
    for shown in ("epochs", "seed", "model.width"):
        assert made.describe("ab", {shown: "9"}).digest == made.describe("ab").digest
