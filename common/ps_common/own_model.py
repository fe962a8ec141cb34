"""What a job takes for a model, beside the layers that ship: a class of the user's own that trains itself.

Such a class has its arrays and makes its own steps; loss and optimizer are its own affair. This file
says what it must have and which jobs it fits; how units are computed with it the worker knows.
"""

import dataclasses
from typing import Any

from ps_common.errors import UsageError
from ps_common.vocabulary import Plain

MUST_HAVE = ("parameters", "train")
BESIDE = ("loss", "optimizer", "regularizer")  # what a layer needs beside it, and such a class does not


def trains_itself(model: object) -> bool:
    """Whether a job's model is such a class, as opposed to a layer."""
    return not isinstance(model, type) and all(callable(getattr(model, name, None)) for name in MUST_HAVE)


def check_own_model(model: object, beside: dict[str, Any], has_metrics: bool, has_test: bool) -> None:
    """Raise `UsageError` where a job with such a model says what the model must say itself.

    beside: the job's loss, optimizer and regularizer.
    """
    name = type(model).__name__
    if any(f"{cls.__module__}.{cls.__qualname__}".startswith("torch.nn.") for cls in type(model).__mro__):
        raise UsageError(
            f"the job's model {name} is a torch module, whose train(...) takes no batch; wrap it: "
            "paramserver.torch.Replica(module, optimizer, loss)"
        )
    given = [part for part in BESIDE if beside[part] is not None]
    if given:
        raise UsageError(
            f"the job's model {name} makes its own steps, in train(batch), so the job's {given[0]} would "
            f"have no effect; leave it out, or use a layer of paramserver.nn"
        )
    if has_metrics:
        raise UsageError(
            f"the job's metrics need an output, and {name} has none to show; let train and evaluate return "
            'them: {"loss": ..., "accuracy": ...}'
        )
    if has_test and not callable(getattr(model, "evaluate", None)):
        raise UsageError(
            f"the job has test data, and {name} has no evaluate(batch); add it or leave out test="
        )


def plain_own_model(model: object) -> Plain:
    """Its name, and of a dataclass what fields are plain: all else is in the job's file."""
    fields = (
        dataclasses.fields(model) if dataclasses.is_dataclass(model) and not isinstance(model, type) else ()
    )
    values = {field.name: getattr(model, field.name) for field in fields}
    plain = {k: v for k, v in values.items() if v is None or isinstance(v, bool | int | float | str)}
    return {"kind": f"own:{type(model).__name__}", **plain}
