"""What a PyTorch optimizer remembers of each parameter, so that it can be averaged like weights.

PyTorch makes this state in the first step. Here it is made before, as that step would find it: zeros. That
is so for the optimizers of the table below, of which it is known what each name means; a count of steps is
kept apart, for it is no number per weight.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ps_common.errors import UsageError

STEP = "step"  # a tensor of one number on the host, whatever the device


def _sgd(group: Mapping[str, Any], name: str) -> tuple[str, ...]:
    if group["momentum"] == 0:
        return ()
    if group["dampening"] != 0:  # the first step is not dampened: it must be known which one that is
        raise UsageError(
            f"{name} with dampening={group['dampening']} begins otherwise than it goes on, so its momentum "
            'cannot be averaged; use dampening=0, or Replica(..., optimizer_state="reset")'
        )
    return ("momentum_buffer",)


def _adam(group: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return (STEP, "exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if group["amsgrad"] else ()))


KNOWN: dict[type, Callable[[Mapping[str, Any], str], tuple[str, ...]]] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adam,
}


def slots_of(optimizer: torch.optim.Optimizer) -> dict[torch.Tensor, tuple[str, ...]]:
    """By parameter, what the optimizer remembers of it. Raises `UsageError` for one that is not known."""
    name = type(optimizer).__name__
    known = KNOWN.get(type(optimizer))
    if known is None:
        raise UsageError(
            f"what {name} remembers is not known here, so it cannot be averaged; known are "
            f"{', '.join(kind.__name__ for kind in KNOWN)}; or forget it between units: "
            'Replica(..., optimizer_state="reset")'
        )
    for group in optimizer.param_groups:
        for flag in ("capturable", "fused"):
            if group.get(flag) and STEP in known(group, name):
                raise UsageError(
                    f"{name} with {flag}=True keeps its count of steps on the device; make it without, or "
                    'use Replica(..., optimizer_state="reset")'
                )
    return {
        p: known(group, name) for group in optimizer.param_groups for p in group["params"] if p.requires_grad
    }
