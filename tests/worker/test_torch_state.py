"""What PyTorch's optimizers remember: made ahead, it is what their first step would make."""

import pytest
import torch

from ps_common.errors import UsageError
from ps_worker.torch_state import slots_of


def one(kind, **settings):
    p = torch.nn.Parameter(torch.ones(3))
    return p, kind([p], lr=0.1, **settings)


@pytest.mark.parametrize(
    ("kind", "settings", "slots"),
    [
        (torch.optim.SGD, {}, ()),
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, ("momentum_buffer",)),
        (torch.optim.Adam, {}, ("step", "exp_avg", "exp_avg_sq")),
        (torch.optim.Adam, {"amsgrad": True}, ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")),
        (torch.optim.AdamW, {}, ("step", "exp_avg", "exp_avg_sq")),
    ],
)
def test_the_slots_are_those_that_a_step_makes(kind, settings, slots):
    p, optimizer = one(kind, **settings)
    assert slots_of(optimizer) == {p: slots}
    p.grad = torch.ones(3)
    optimizer.step()
    made = {name for name, value in optimizer.state[p].items() if value is not None}
    assert made == set(slots)


def test_what_is_not_trained_has_none():
    p, optimizer = one(torch.optim.Adam)
    p.requires_grad_(False)
    assert slots_of(optimizer) == {}


class Mine(torch.optim.Adam):
    pass


@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    [
        (
            torch.optim.Adagrad,
            {},
            "what Adagrad remembers is not known here, so it cannot be averaged; known are",
        ),
        (Mine, {}, "what Mine remembers is not known here"),
        (
            torch.optim.SGD,
            {"momentum": 0.9, "dampening": 0.1},
            "SGD with dampening=0.1 begins otherwise than it",
        ),
        (torch.optim.Adam, {"capturable": True}, "Adam with capturable=True keeps its count of steps on the"),
        (torch.optim.AdamW, {"fused": True}, "AdamW with fused=True keeps its count of steps on the device"),
    ],
)
def test_what_cannot_be_averaged_is_refused_and_the_way_out_named(kind, settings, told):
    _, optimizer = one(kind, **settings)
    with pytest.raises(UsageError) as caught:
        slots_of(optimizer)
    assert told in str(caught.value)
    assert 'Replica(..., optimizer_state="reset")' in str(caught.value)
