"""Checks of the settings of layers, optimizers and regularizers, made where they are constructed.

Messages name the word, the field, the bound and what came.
"""

import math

from ps_common.errors import UsageError


def check_number(
    owner: object,
    field: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
) -> None:
    """Raise `UsageError` unless the field of `owner` is a finite number within the bounds given."""
    value = getattr(owner, field)
    bounds = ((">", above), (">=", at_least), ("<", below))
    wanted = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None) or "at all"
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if (
        not number
        or (above is not None and not value > above)
        or (at_least is not None and not value >= at_least)
        or (below is not None and not value < below)
    ):
        raise UsageError(f"{type(owner).__name__}: {field} must be a number {wanted}, got {value!r}")


def check_count(owner: object, field: str, at_least: int = 1) -> None:
    """Raise `UsageError` unless the field of `owner` is a whole number of at least so many."""
    value = getattr(owner, field)
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        name = type(owner).__name__
        raise UsageError(f"{name}: {field} must be a whole number >= {at_least}, got {value!r}")
