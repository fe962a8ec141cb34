"""The options that ps-status and ps-admin share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from paramserver.asking import Asking
from ps_common import address
from ps_common.errors import NotAuthorised, UsageError
from ps_common.keys import ROLES, read_bundle

_F = TypeVar("_F", bound=Callable[..., Any])
_OPTIONS = [
    click.option(
        "--master",
        envvar="PS_MASTER",
        default="tcp://127.0.0.1:5555",
        metavar="URL",
        help="Address of the master.",
    ),
    click.option(
        "--key",
        envvar="PS_KEY",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A key that may, where the run has keys: ps-keys new NAME --role ROLE.",
    ),
    click.option(
        "--timeout",
        "timeout_s",
        default=10.0,
        type=click.FloatRange(0.1, 3600.0),
        metavar="SECONDS",
        help="For an answer; then 69.",
    ),
]


def asking_options(function: _F) -> _F:
    """Decorator: where to ask, handed to the command as keyword arguments."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def asking(master: str, key: Path | None) -> Asking:
    """Raises `UsageError` for an address or a key that is none, `NotAuthorised` for the key of servers."""
    parts = address.split(master)
    if parts is None or parts[1] == 0:
        raise UsageError(f"--master must look like tcp://host:5555, not {master!r}")
    bundle = None if key is None else read_bundle(key)
    if bundle is not None and bundle.role not in ROLES:
        raise NotAuthorised(f"{key} is the key of the run's own servers: use one made with ps-keys new NAME")
    return Asking(master, bundle)
