"""What a PyTorch module must be to lie in one vector. Each refusal names parameters, and both sides."""

import itertools
from collections.abc import Mapping
from typing import Any

import torch

from ps_common.errors import UsageError

FLOATS = (torch.float32, torch.float64)


def checked_parameters(
    module: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, torch.nn.Parameter]:
    """The module's parameters by name. Raises `UsageError` for those that cannot lie in one vector."""
    for what, given, kind in (
        ("module", module, torch.nn.Module),
        ("optimizer", optimizer, torch.optim.Optimizer),
    ):
        if not isinstance(given, kind):
            raise UsageError(f"the {what} must be a torch {kind.__name__}, not {given!r}")
    named = dict(module.named_parameters(remove_duplicate=False))
    if not any(p.requires_grad for p in named.values()):
        raise UsageError(f"the module {type(module).__name__} has no parameters to train")
    first, like = next(iter(named.items()))
    for name, p in named.items():
        _check_parameter(name, p)
        for what, here, there in (("dtype", p.dtype, like.dtype), ("device", p.device, like.device)):
            if here != there:
                raise UsageError(
                    f"{_said(name, p)} and {_said(first, like)} have two {what}s, {here} and {there}; a "
                    f"replica has one: module.to(...) before the optimizer is made"
                )
    _check_shared(named)
    _check_groups(module, optimizer, named)
    return named


def check_buffers(buffers: Mapping[str, torch.Tensor], like: torch.Tensor) -> None:
    """Raise `UsageError` unless all are of the parameters' dtype and device."""
    for name, buffer in buffers.items():
        if (buffer.dtype, buffer.device) != (like.dtype, like.device):
            raise UsageError(
                f"the buffer {_said(name, buffer)} on {buffer.device} does not go with the parameters, which "
                f"are {_short(like.dtype)} on {like.device}; a replica lies in one vector: module.to(...)"
            )


def _check_parameter(name: str, p: torch.Tensor) -> None:
    if torch.nn.parameter.is_lazy(p):
        raise UsageError(f"{name} has no shape yet; call the lazy module once, before its optimizer is made")
    if p.layout is not torch.strided:
        raise UsageError(f"{_said(name, p)} is sparse ({_short(p.layout)}); keep it dense")
    if p.dtype not in FLOATS:
        raise UsageError(
            f"{_said(name, p)}: parameters must be float32 or float64; for half precision keep them so, with "
            "module.float(), and compute under torch.autocast"
        )
    if p.device.type == "meta":
        raise UsageError(
            f"{_said(name, p)} has no memory yet, on the device meta; make the module real first"
        )


def _check_shared(named: Mapping[str, torch.Tensor]) -> None:
    places = sorted((p.data_ptr(), name) for name, p in named.items() if p.numel())
    for (one_at, one), (other_at, other) in itertools.pairwise(places):
        if other_at < one_at + named[one].numel() * named[one].element_size():
            raise UsageError(
                f"{_said(one, named[one])} and {_said(other, named[other])} are shared: they lie in the same "
                "memory, where one vector has a place for each; make one a copy, or give the module one "
                "alone and compute with it in both places"
            )


def _check_groups(
    module: torch.nn.Module, optimizer: torch.optim.Optimizer, named: Mapping[str, torch.Tensor]
) -> None:
    mine = set(named.values())
    for i, group in enumerate(optimizer.param_groups):
        for p in group["params"]:
            if p not in mine:
                raise UsageError(
                    f"group {i} of the optimizer has a parameter {tuple(p.shape)} that is not of the module "
                    f"{type(module).__name__}; make it with this module's parameters()"
                )


def _said(name: str, tensor: torch.Tensor) -> str:
    return f"{name} {tuple(tensor.shape)} {_short(tensor.dtype)}"


def _short(what: Any) -> str:
    return str(what).removeprefix("torch.")
