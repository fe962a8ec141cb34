"""A PyTorch module in one vector trains as it does alone, and its units are pure."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import paramserver.torch
from ps_common import data
from ps_common.errors import UsageError
from ps_common.job import Job
from ps_common.plan import Plan
from ps_worker.own_replica import OwnReplica
from ps_worker.replica import Watch
from ps_worker.rows import HeldRows
from ps_worker.torch_replica import Replica
from support_jobs import samples

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01),
}


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(5)
    layers = [nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)]
    return nn.Sequential(*layers).to(dtype)


def replica(optimizer: str = "momentum", module: nn.Module | None = None, **settings: Any) -> Replica:
    module = module or network()
    metrics = {"accuracy": lambda output, y: (output.argmax(1) == y).double().mean()}
    return Replica(
        module, OPTIMIZERS[optimizer](module.parameters()), nn.CrossEntropyLoss(), metrics=metrics, **settings
    )


def batches(n: int, dtype: torch.dtype = torch.float32) -> list[tuple[torch.Tensor, torch.Tensor]]:
    x, y = map(torch.from_numpy, samples(8 * n).read(slice(None)))
    return list(zip(x.to(dtype).split(8), y.split(8), strict=True))


def plain_steps(module: nn.Module, optimizer: torch.optim.Optimizer, given: Any) -> None:
    module.train()
    for x, y in given:
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()


# -- one vector -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_in_a_vector_trains_bit_for_bit_as_it_does_alone(optimizer, dtype):
    alone, held = network(dtype), replica(optimizer, network(dtype))
    own = OPTIMIZERS[optimizer](alone.parameters())
    given = batches(6, dtype)
    torch.manual_seed(1)
    plain_steps(alone, own, given)
    torch.manual_seed(1)
    for batch in given:
        held.train(batch)
    for name, value in alone.state_dict().items():
        assert torch.equal(held.module.state_dict()[name], value), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_written_to_the_vector_is_in_module_and_optimizer(optimizer):
    held = replica(optimizer)
    for batch in batches(2):
        held.train(batch)
    held.vector.fill_(0.25)
    assert all((p == 0.25).all() for p in held.module.parameters())
    assert all((b == 0.25).all() for n, b in held.module.named_buffers() if "num_batches" not in n)
    moments = [v for state in held.optimizer.state.values() for n, v in state.items() if n != "step"]
    assert all((moment == 0.25).all() for moment in moments)
    numbers = sum(p.numel() for p in held.module.parameters())
    assert held.vector.numel() == numbers + 2 * 8 + sum(m.numel() for m in moments)
    assert len(moments) == {"sgd": 0, "momentum": 6, "adam": 18, "adamw": 12}[optimizer]


def test_what_was_trained_before_goes_on_in_the_vector():
    alone, other = network().eval(), network().eval()
    own, before = (OPTIMIZERS["adam"](m.parameters()) for m in (alone, other))
    given = batches(6)
    for module, optimizer in ((alone, own), (other, before)):
        torch.manual_seed(1)
        plain_steps(module, optimizer, given[:3])
    held = Replica(other, before, nn.CrossEntropyLoss())
    torch.manual_seed(2)
    plain_steps(alone, own, given[3:])
    torch.manual_seed(2)
    for batch in given[3:]:
        held.train(batch)
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), other.parameters(), strict=True))


def test_frozen_parameters_are_averaged_and_not_trained_and_tables_stay_out():
    module = network()
    module[0].weight.requires_grad_(False)
    module.register_buffer("table", torch.ones(4), persistent=False)
    module.register_buffer("mask", torch.ones(4, dtype=torch.bool))
    module.register_buffer("order", torch.arange(4))
    held = replica(module=module)
    assert "0.weight" not in held.parameters()
    assert set(held.buffers()) == {
        "0.weight", "1.running_mean", "1.running_var", "1.num_batches_tracked",
    }  # fmt: skip
    assert "0.weight.momentum_buffer" not in held.state()


def test_state_that_is_not_averaged_is_not_in_the_vector():
    for state in ("reset", "local"):
        held = replica("adam", optimizer_state=state)
        assert held.state() == {}
        assert held.vector.numel() == sum(p.numel() for p in held.module.parameters()) + 16
        held.train(batches(1)[0])
        held.begin(np.random.default_rng(0))
        assert bool(held.optimizer.state) == (state == "local")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"optimizer_state": "keep"}, "optimizer_state must be one of average, reset, local, not 'keep'"),
        ({"module": nn.ReLU(), "optimizer": "sgd"}, "optimizer got an empty parameter list"),
    ],
)
def test_wrong_settings_are_refused(settings, told):
    with pytest.raises((UsageError, ValueError), match=told):
        replica(**settings)


def test_metrics_without_an_output_are_refused():
    module = network()
    with pytest.raises(UsageError, match="metrics need an output"):
        Replica(module, OPTIMIZERS["sgd"](module.parameters()), metrics={"a": torch.mean})


def test_an_optimizer_that_is_not_known_is_taken_where_its_state_is_not_averaged():
    module = network()
    optimizer = torch.optim.Adagrad(module.parameters())
    with pytest.raises(UsageError, match="what Adagrad remembers is not known"):
        Replica(module, optimizer)
    Replica(module, optimizer, optimizer_state="local")


# -- steps ------------------------------------------------------------------------------------------------


def test_images_of_bytes_become_real_numbers_and_labels_become_whole_ones():
    held = replica()
    x = np.random.default_rng(0).integers(0, 255, (8, 5)).astype(np.uint8)
    figures = held.train((x, np.arange(8, dtype=np.int32) % 3))
    assert {name: (value.shape, value.dtype) for name, value in figures.items()} == {
        "loss": ((), torch.float64), "accuracy": ((), torch.float64),
    }  # fmt: skip
    assert not any(figure.requires_grad for figure in figures.values())
    wide = Replica(
        embedding := nn.Sequential(nn.Embedding(9, 3), nn.Flatten(0), nn.Linear(12, 1)),
        torch.optim.SGD(embedding.parameters(), 0.1), lambda output, y: (output - y).square().mean(),
    )  # fmt: skip
    wide.train((np.array([[1, 2, 3, 8]]), np.zeros(1)))


def test_evaluation_draws_nothing_and_changes_nothing():
    held, batch = replica(), batches(1)[0]
    held.train(batch)
    before = held.vector.clone()
    assert held.evaluate(batch)["loss"] == held.evaluate(batch)["loss"]
    assert torch.equal(held.vector, before)


def test_a_module_may_return_its_loss_itself():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(5, 3)

        def forward(self, x, y):
            return nn.functional.cross_entropy(self.inner(x), y)

    module = Loss()
    held = Replica(module, OPTIMIZERS["sgd"](module.parameters()))
    losses = [float(held.train(batches(1)[0])["loss"]) for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
    assert float(held.evaluate(batches(1)[0])["loss"]) < losses[-1]


# -- as a job ---------------------------------------------------------------------------------------------


class Trainer:
    """A replica of a job with the data at hand."""

    def __init__(self, model: Replica, **plan: Any) -> None:
        x, y = samples(40).read(slice(None))
        settings = {"shards": 2, "batch_size": 4, "local_steps": 3, "epochs": 2, **plan}
        self.job = Job(model=model, train=data.arrays(x, y), plan=Plan(**settings), seed=3)
        self.description = self.job.describe()
        self.replica = OwnReplica(self.description, model, Watch())
        self.layout = self.replica.layout

    def first(self) -> np.ndarray:
        vector = self.replica.initialise().vector
        assert vector is not None
        return vector.copy()

    def train(self, base: np.ndarray, round_: int, shard: int) -> np.ndarray:
        rows = HeldRows(self.job.train.read(self.description.schedule.shards.rows(shard)))
        vector = self.replica.train(base, rows, round_, shard).vector
        assert vector is not None
        return vector.copy()


UNITS = [(0, 0), (0, 1), (1, 1), (1, 0)]
PURE = [("sgd", "average", "average"), ("momentum", "average", "average"), ("adam", "average", "average"),
        ("adam", "average", "reset"), ("adamw", "reset", "average")]  # fmt: skip


@pytest.mark.parametrize(("optimizer", "state", "plans"), PURE)
def test_a_unit_has_the_same_bits_whenever_and_wherever_it_is_computed(optimizer, state, plans):
    one, other = (Trainer(replica(optimizer, optimizer_state=state), optimizer_state=plans) for _ in range(2))
    base = one.train(one.first(), 2, 0)
    base.flags.writeable = False
    in_order = {unit: one.train(base, *unit).tobytes() for unit in UNITS}
    backwards = {unit: other.train(base, *unit).tobytes() for unit in [*reversed(UNITS), *UNITS]}
    assert in_order == backwards
    assert len(set(in_order.values())) == len(UNITS)


def test_local_state_without_average_is_not_pure():
    one, other = (Trainer(replica("adam", optimizer_state="local")) for _ in range(2))
    base = one.first()
    one.train(base, 0, 0)
    assert one.train(base, 0, 1).tobytes() != other.train(base, 0, 1).tobytes()


def test_a_unit_on_all_data_is_training_alone():
    trainer, alone = Trainer(replica("adam"), shards=1, local_steps=10), network()
    views = trainer.layout.views(trainer.train(trainer.first(), 0, 0))
    from ps_common.seeds import Purpose, generator
    from ps_common.shards import shuffled

    x, y = (torch.from_numpy(part[shuffled(3, 0, 0, 40)]) for part in trainer.job.train.read(slice(None)))
    torch.manual_seed(int(generator(3, Purpose.TRAIN, 0, 0).integers(2**63)))
    plain_steps(alone, OPTIMIZERS["adam"](alone.parameters()), zip(x.split(4), y.split(4), strict=True))
    assert {name: views[name].tolist() for name in alone.state_dict()} == {
        name: value.tolist() for name, value in alone.state_dict().items()
    }
    assert views["1.num_batches_tracked"] == 10
    assert views["state.0.weight.step"] == 10


def test_learning_rates_follow_the_steps_of_the_shard_whoever_computes_the_unit():
    def halved(step: int) -> float:
        seen.append(step)
        return 0.5**step

    seen: list[int] = []
    trainer = Trainer(replica("sgd", rate=halved))  # 20 samples a shard: units of 3 steps and 2, in turn
    base = trainer.first()
    in_order = [trainer.train(base, round_, 1).tobytes() for round_ in (0, 1, 2, 3)]
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert trainer.replica._model.optimizer.param_groups[0]["lr"] == 0.1 * 0.5**9
    assert Trainer(replica("sgd", rate=halved)).train(base, 2, 1).tobytes() == in_order[2]
    assert Trainer(replica("sgd")).train(base, 2, 1).tobytes() != in_order[2]


def test_values_go_into_the_module_the_optimizer_and_the_counts_rounded():
    held = replica("adam")
    trainer = Trainer(held)
    base = trainer.first()
    views = trainer.layout.views(base)
    for name, value in (("0.weight", 3.0), ("1.num_batches_tracked", 6.6), ("state.4.bias.step", 2.5)):
        views[name][...] = value
    trainer.replica._arrays.write(views)
    assert (held.module[0].weight == 3.0).all()
    assert held.module[1].num_batches_tracked == 7
    assert held.optimizer.state[held.module[4].bias]["step"] == 2.5


def test_the_public_name_is_the_replicas():
    assert paramserver.torch.Replica is Replica
