"""Which PyTorch modules cannot lie in one vector, and what is said of them."""

import pytest
import torch
from torch import nn

from ps_common.errors import UsageError
from ps_worker.torch_checks import check_buffers, checked_parameters


def sgd(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1)


def tied() -> nn.Module:
    module = nn.ModuleDict({"embed": nn.Embedding(7, 4), "head": nn.Linear(4, 7, bias=False)})
    module["head"].weight = module["embed"].weight
    return module


def overlapping() -> nn.Module:
    module, memory = nn.Linear(3, 2), torch.zeros(8)
    module.weight.data, module.bias.data = memory[:6].view(2, 3), memory[5:7]
    return module


def sparse() -> nn.Module:
    module = nn.Module()
    module.table = nn.Parameter(torch.eye(3).to_sparse())
    return module


def on_two_devices() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2, device="meta"))


def of_two_dtypes() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4).double())


def frozen() -> nn.Module:
    return nn.Linear(3, 2).requires_grad_(False)


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (nn.ReLU(), "the module ReLU has no parameters to train"),
        (frozen(), "the module Linear has no parameters to train"),
        (tied(), "embed.weight (7, 4) float32 and head.weight (7, 4) float32 are shared"),
        (overlapping(), "weight (2, 3) float32 and bias (2,) float32 are shared"),
        (
            nn.Linear(3, 2).half(),
            "weight (2, 3) float16: parameters must be float32 or float64; for half prec",
        ),
        (nn.Linear(3, 2).bfloat16(), "weight (2, 3) bfloat16: parameters must be float32 or float64"),
        (sparse(), "table (3, 3) float32 is sparse (sparse_coo)"),
        (
            of_two_dtypes(),
            "1.weight (4, 2) float64 and 0.weight (2, 3) float32 have two dtypes, torch.float64 and",
        ),
        (on_two_devices(), "1.weight (2, 2) float32 has no memory yet, on the device meta"),
        (
            nn.Sequential(nn.Linear(3, 2), nn.LazyLinear(4)),
            "1.weight has no shape yet; call the lazy module once",
        ),
        (len, "the module must be a torch Module, not <built-in function len>"),
    ],
)
def test_a_module_that_does_not_fit_one_vector_is_refused_by_name(module, told):
    with pytest.raises(UsageError) as caught:
        checked_parameters(module, sgd(nn.Linear(1, 1)))
    assert told in str(caught.value)


def test_an_optimizer_of_other_parameters_is_refused():
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    with pytest.raises(UsageError, match=r"group 0 of the optimizer has a parameter \(2, 3\) that is not of"):
        checked_parameters(one, sgd(other))
    with pytest.raises(UsageError, match="the optimizer must be a torch Optimizer, not"):
        checked_parameters(one, torch.optim.SGD)


def test_parameters_that_lie_side_by_side_in_one_memory_are_not_shared():
    module, memory = nn.Linear(3, 2), torch.zeros(8)
    module.weight.data, module.bias.data = memory[:6].view(2, 3), memory[6:]
    assert list(checked_parameters(module, sgd(module))) == ["weight", "bias"]


def test_a_buffer_of_another_dtype_is_refused():
    with pytest.raises(UsageError) as caught:
        check_buffers({"mean": torch.zeros(3, dtype=torch.float64)}, torch.zeros(2))
    assert "the buffer mean (3,) float64 on cpu does not go with the parameters, which are float32" in str(
        caught.value
    )
