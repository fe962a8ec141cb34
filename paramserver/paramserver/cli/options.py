"""The options that ps-server and ps-local share, and what they mean."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from ps_common import address
from ps_common.errors import UsageError
from ps_common.messages import SECONDS_MAX

_F = TypeVar("_F", bound=Callable[..., Any])
_PLAN_FLAGS = ("seed", "epochs", "shards")
_Folder = click.Path(file_okay=False, path_type=Path)
_File = click.Path(dir_okay=False, path_type=Path)
SERVERS_MAX = 64  # on one machine
_Positive = click.FloatRange(0.1)

_OPTIONS = [
    click.option(
        "--set",
        "settings",
        envvar="PS_SET",  # click would take the parameter's name, not the flag's
        multiple=True,
        metavar="KEY=VALUE",
        help="Change a setting of the job.",
    ),
    click.option("--seed", metavar="N", help="Same as --set seed=N."),
    click.option("--epochs", metavar="N", help="Same as --set epochs=N."),
    click.option("--shards", metavar="N", help="Same as --set shards=N."),
    click.option("--checkpoint", type=_Folder, metavar="DIR", help="Keep checkpoints in this folder."),
    click.option(
        "--checkpoint-every", default="60s", metavar="TIME", help="How often: 60s, 5m or 100rounds."
    ),
    click.option("--resume", default="auto", metavar="auto|never|PATH", help="Checkpoint to go on from."),
    click.option(
        "--transport", type=click.Choice(["auto", "shm", "tcp"]), default="auto", help="For weights."
    ),
    click.option(
        "--servers",
        default="1",
        metavar="K|URL,URL,...",
        help="Averaging servers: how many to start here (1: none, the master averages), or where they are.",
    ),
    click.option(
        "--keys", type=_Folder, metavar="DIR", help="Let in only who has a key of this folder (ps-keys)."
    ),
    click.option("--out", type=_File, metavar="FILE", help="Write the trained model here (.safetensors)."),
    click.option(
        "--json",
        "json_path",
        envvar="PS_JSON",
        type=_File,
        metavar="PATH",
        help="Write the record of the run here.",
    ),
    click.option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", help="Lines of the log."
    ),
    click.option(
        "--strikes",
        default=3,
        type=click.IntRange(1),
        metavar="N",
        help="Mistakes within an hour that quarantine a worker.",
    ),
    click.option(
        "--reject-outliers",
        is_flag=False,
        flag_value=10.0,
        default=None,
        type=click.FloatRange(1, SECONDS_MAX, min_open=True),
        metavar="[FACTOR]",
        help="Refuse what moves the weights FACTOR times (10) as far as is usual; rounds are held whole.",
    ),
    click.option("--quiet", is_flag=True, help="Say nothing but what needs attention."),
    click.option(
        "--wait-timeout",
        default=300.0,
        type=_Positive,
        metavar="SECONDS",
        help="For too few workers; then 75.",
    ),
    click.option(
        "--stall-timeout",
        default=600.0,
        type=_Positive,
        metavar="SECONDS",
        help="For workers that hang, all of them; then 75.",
    ),
    click.option(
        "--shutdown-timeout", default=30.0, type=_Positive, metavar="SECONDS", help="Nothing ends later."
    ),
]


def common_options(function: _F) -> _F:
    """Decorator: the common options, handed to the command as keyword arguments."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@dataclasses.dataclass(frozen=True)
class CommonOptions:
    """The common options as given, checked."""

    overrides: dict[str, str]
    transport: str
    servers: str
    keys: Path | None
    checkpoint: Path | None
    checkpoint_every: str
    resume: str
    out: Path | None
    json_path: Path | None
    log_format: str
    quiet: bool
    strikes: int
    reject_outliers: float | None
    wait_timeout: float
    stall_timeout: float
    shutdown_timeout: float

    @classmethod
    def of(cls, given: dict[str, Any]) -> "CommonOptions":
        """Check and keep what click collected. Raises `UsageError`."""
        parse_servers(given["servers"])
        overrides = parse_settings(given.pop("settings"))
        for flag in _PLAN_FLAGS:
            value = given.pop(flag)
            if value is not None and (flag not in overrides or not _is_from_environment(flag)):
                overrides[flag] = value  # more definite than --set, unless only the environment says it
        parse_every(given["checkpoint_every"])
        return cls(overrides=overrides, **given)

    def to_flags(self) -> list[str]:
        """The same options as flags for another process, but for keys; what is written at the end, too."""
        flags = [f"--set={key}={value}" for key, value in self.overrides.items()]
        for flag, value in (
            ("--transport", self.transport),
            ("--servers", self.servers),
            ("--checkpoint", self.checkpoint),
            ("--checkpoint-every", self.checkpoint_every),
            ("--resume", self.resume),
            ("--out", self.out),
            ("--json", self.json_path),
            ("--log-format", self.log_format),
            ("--strikes", self.strikes),
            ("--reject-outliers", self.reject_outliers),
            ("--wait-timeout", self.wait_timeout),
            ("--stall-timeout", self.stall_timeout),
            ("--shutdown-timeout", self.shutdown_timeout),
        ):
            if value is not None:
                flags += [flag, str(value)]
        return [*flags, "--quiet"] if self.quiet else flags


def _is_from_environment(flag: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source(flag) is ParameterSource.ENVIRONMENT


def parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE texts as a dict; the last of a key counts."""
    overrides: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {setting}: write it as KEY=VALUE")
        overrides[key.strip()] = value
    return overrides


def parse_every(text: str) -> tuple[int | None, float | None]:
    """Rounds, or seconds, from "100rounds", "60s" or "5m"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|rounds?)", text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"--checkpoint-every {text}: write it as 60s, 5m or 100rounds")
    number, unit = float(match[1]), match[2]
    if unit.startswith("round"):
        return max(1, int(number)), None
    return None, number * {"s": 1, "m": 60, "h": 3600}[unit]


def parse_workers(text: str) -> tuple[int, int | None]:
    """MIN and MAX from "MIN" or "MIN:MAX"."""
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    if match is None:
        raise UsageError(f"--workers {text}: write it as MIN or MIN:MAX, for example 2 or 2:8")
    return int(match[1]), int(match[2]) if match[2] else None


def parse_servers(text: str) -> tuple[int, tuple[str, ...]]:
    """How many averaging servers to start, or the addresses of those that run already."""
    if re.fullmatch(r"\d+", text):
        if not 1 <= int(text) <= SERVERS_MAX:
            raise UsageError(f"--servers {text}: start 1 to {SERVERS_MAX} of them")
        return int(text), ()
    urls = tuple(url.strip() for url in text.split(","))
    for url in urls:
        parts = address.split(url)
        if parts is None or parts[1] == 0:
            raise UsageError(f"--servers {text}: give a number, or addresses like tcp://host:5556,...")
    if len(set(urls)) != len(urls):
        raise UsageError(f"--servers {text}: an address is there twice; each server has one stretch")
    return 1, urls
