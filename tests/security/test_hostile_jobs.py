"""A job travels as data in a closed vocabulary: one that was made to hurt is refused, and runs nothing."""

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pytest

from ps_common import vocabulary
from ps_common.errors import PeerError
from ps_common.job import Description
from ps_worker.replica import Parts
from security.audit import Audit
from simulation.test_worker import State, Told
from support_jobs import description

PLAIN = description().to_plain()
Change = Callable[[dict[str, Any]], Any]
NUMBERS = (0, -1, 2**31, 2**62, 10**400, 1.5, float("nan"), float("inf"), -0.0, True)
NAMES = (
    "__class__", "__init__", "__subclasses__", "__globals__", "__import__", "__reduce__", "__dict__", "mro",
    "eval", "exec", "open", "os.system", "subprocess.Popen", "builtins.eval", "own:Layer", "Layer", "object",
    "type", "Field.__init__", "dense", "Dense ", "", "\0", "../Dense",
)  # fmt: skip


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    plain: Any = {"kind": "Dense", "inputs": 5, "outputs": 3}
    for _ in range(depth):
        plain = wrap(plain)
    return plain


WRAPS: dict[str, Callable[[Any], Any]] = {
    "lists": lambda inner: [inner],
    "dicts": lambda inner: {"a": inner},
    "layers": lambda inner: {"kind": "Sequential", "layers": [inner]},
    "residuals": lambda inner: {"kind": "Residual", "inner": inner},
}
DEEP: dict[str, Change] = {
    f"{depth} {name} deep in {part}": lambda plain, part=part, wrap=wrap, depth=depth: plain.update(
        {part: nested(depth, wrap)}
    )
    for name, wrap in WRAPS.items()
    for depth in (65, 250, 2000)
    for part in ("model", "optimizer", "metrics")
}
NAMED: dict[str, Change] = {
    f"{part} is {name!r}": lambda plain, part=part, name=name: plain.update({part: {"kind": name}})
    for part in ("model", "loss", "optimizer", "plan")
    for name in NAMES
}
FIELDS: dict[str, Change] = {
    f"{part} with a field {name!r}": lambda plain, part=part, name=name: plain[part].update({name: 1})
    for part in ("model", "loss", "optimizer", "plan", "train")
    for name in NAMES
}
SIZED: dict[str, Change] = {
    f"{name} is {value!r:.20}": lambda plain, name=name, value=value: plain["plan"].update({name: value})
    for name in ("shards", "batch_size", "local_steps", "epochs", "threads")
    for value in NUMBERS
    if value not in (1, 2**31)
}
OTHERS: dict[str, Change] = {
    "a hundred thousand layers that are none": lambda plain: plain["model"].update(layers=[{}] * 100_000),
    "fields without end": lambda plain: plain["train"]["fields"][0].update(shape=[2**39] * 32),
    "samples without end": lambda plain: plain["train"].update(samples=2**62),
    "shards of nothing": lambda plain: plain["plan"].update(shards=[0] * 10),
    "another kind of everything": lambda plain: plain.update(dict.fromkeys(plain, 3)),
    "nothing": lambda plain: plain.clear(),
}


def refused(change: Change) -> None:
    """It is refused with a typed error, wherever that is found out, and nothing was run."""
    plain = copy.deepcopy(PLAIN)
    change(plain)
    with Audit() as audit, contextlib.suppress(PeerError):
        Parts.of(Description.from_plain(plain))
        audit.ran.append("it was taken for a job")
    assert audit.ran == []


Parts.of(Description.from_plain(PLAIN))  # so that whatever it imports is imported


@pytest.mark.parametrize("change", (DEEP | OTHERS).values(), ids=(DEEP | OTHERS).keys())
def test_a_job_that_is_too_deep_or_too_large_is_refused(change: Change) -> None:
    refused(change)


def test_a_name_that_is_no_word_is_refused_wherever_it_stands() -> None:
    for change in (NAMED | FIELDS).values():
        refused(change)


def test_numbers_that_no_plan_has_are_refused() -> None:
    for change in SIZED.values():
        refused(change)


def test_what_is_no_job_ends_a_worker_with_76_and_is_not_tried_again() -> None:
    told = Told()
    told.welcome(job=PLAIN | {"plan": {"kind": "eval"}})
    assert told.worker.state is State.LEFT
    assert told.exit.exit_code == 76
    assert "the master's job cannot be read" in told.exit.reason


def test_the_vocabulary_is_closed_to_whoever_sends() -> None:
    """All words are dataclasses of ours, and none of them makes anything of a name."""
    for name, cls in vocabulary._words.items():
        assert cls.__module__.split(".")[0] in ("ps_common", "ps_worker"), name


# -- broken -----------------------------------------------------------------------------------------------


def test_a_vocabulary_that_takes_any_name_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = vocabulary._build

    def build(plain: Any, depth: int) -> Any:
        is_word = not isinstance(plain, dict) or plain.get("kind") in vocabulary._words
        return closed(plain, depth) if is_word else eval(plain["kind"])

    monkeypatch.setattr(vocabulary, "_build", build)
    with pytest.raises((AssertionError, SyntaxError, NameError)):
        test_a_name_that_is_no_word_is_refused_wherever_it_stands()


def test_a_depth_that_nobody_looks_at_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "DEPTH_MAX", 10**9)
    with pytest.raises((AssertionError, RecursionError)):
        refused(DEEP["65 layers deep in model"])
