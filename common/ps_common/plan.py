"""The plan of a job: how the work is cut up and averaged. Every setting with its unit, bounds and default."""

import dataclasses
from typing import Any, get_args, get_type_hints

from ps_common.errors import UsageError
from ps_common.rules import MEAN, Rule
from ps_common.spelling import nearest
from ps_common.vocabulary import word

STATES = ("average", "reset", "local")
DTYPES = ("float32", "float64")  # what a network computes in
PRECISIONS = (None, "float16", "bfloat16")
DATA_WAYS = ("stream", "shared")


@word
@dataclasses.dataclass(frozen=True)
class Plan:
    """How a job is cut into units of work.

    shards: number of shards, or the size of each in samples (then cut in file order). Together with
        `batch_size` it fixes the global batch; the number of workers never changes a result.
    batch_size: samples a step of one replica.
    local_steps: optimizer steps of a replica between two averagings.
    epochs: passes over the training data.
    optimizer_state: what happens to an optimizer's slots between rounds. "average" (default): averaged
        like the weights, as Deeplearning4j does; "reset": every unit starts at zero; "local": kept by
        whoever trained the shard last. With "local" a unit is no pure function any more: results depend on
        which worker ran what, and the promise of equal weights after a failure is given up.
    dtype: of the parameters and of the arithmetic.
    precision: "float16" or "bfloat16": layers compute in that, while weights, optimizer, loss and what is
        sent stay in float32 (mixed precision). It is fast on a GPU, and slow on a CPU.
    threads: BLAS threads of each worker. Part of the job, because another number gives other bits.
    data: "stream": the master sends each worker its shards; "shared": each worker opens the files itself.
    quorum: the share of a round's units that must be in before it is closed without those that take much
        longer than the others did. They are trained later in the epoch, so that every sample still counts
        once. Below 1 the result depends on times: the promise of equal weights is given up.
    evaluate_every: epochs between evaluations on the test data; the last epoch is always evaluated.
    rule: how a round is averaged, of `paramserver.rules`. Others than the mean withstand faulty workers.
    """

    shards: int | tuple[int, ...] = 1
    batch_size: int = 32
    local_steps: int = 1
    epochs: int = 1
    optimizer_state: str = "average"
    dtype: str = "float32"
    precision: str | None = None
    threads: int = 1
    data: str = "stream"
    quorum: float = 1.0
    evaluate_every: int = 1
    rule: Rule = MEAN

    def __post_init__(self) -> None:
        if isinstance(self.shards, list | tuple):
            object.__setattr__(self, "shards", tuple(self.shards))
        sizes = self.shards if isinstance(self.shards, tuple) else (self.shards,)
        _require(
            bool(sizes) and all(_is_count(n, 1, 2**31) for n in sizes), "shards", "1 or more", self.shards
        )
        for name, most in (
            ("batch_size", 2**31),
            ("local_steps", 2**31),
            ("epochs", 2**31),
            ("threads", 1024),
        ):
            _require(_is_count(getattr(self, name), 1, most), name, f"1 to {most}", getattr(self, name))
        _require(_is_count(self.evaluate_every, 1, 2**31), "evaluate_every", "1 or more", self.evaluate_every)
        _require(
            type(self.quorum) in (int, float) and 0 < self.quorum <= 1,
            "quorum", "more than 0 and at most 1", self.quorum,
        )  # fmt: skip
        object.__setattr__(self, "quorum", float(self.quorum))
        for name, allowed in (
            ("optimizer_state", STATES), ("dtype", DTYPES), ("precision", PRECISIONS), ("data", DATA_WAYS),
        ):  # fmt: skip
            one_of = f"one of {', '.join(map(str, allowed))}"
            _require(getattr(self, name) in allowed, name, one_of, getattr(self, name))
        if self.precision is not None and self.dtype != "float32":
            raise UsageError(
                f"the plan's precision {self.precision} goes with the dtype float32, not {self.dtype}"
            )
        self._check_rule(len(sizes) if isinstance(self.shards, tuple) else self.shards)

    def _check_rule(self, shards: int) -> None:
        _require(isinstance(self.rule, Rule), "rule", "one of paramserver.rules", self.rule)
        self.rule.check(shards)
        if self.rule.faulty and self.quorum < 1:
            raise UsageError(
                f"the plan's rule {self.rule.name} goes with a quorum of 1, not {self.quorum:g}: it "
                "withstands so many of all contributions, and a round that goes without some has fewer"
            )


def _is_count(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _require(holds: bool, name: str, allowed: str, value: Any) -> None:
    if not holds:
        raise UsageError(f"the plan's {name} must be {allowed}, not {value!r}")


def overridden(obj: Any, changes: dict[str, str]) -> Any:
    """A frozen dataclass with fields replaced from text, each parsed as the type of its field.

    changes: by name of the field; `a.b` is the field b of the dataclass in the field a. Raises `UsageError`
    where the text is not of that type, or the object does not take the value.
    """
    hints = get_type_hints(type(obj))
    values: dict[str, Any] = {}
    within: dict[str, dict[str, str]] = {}
    for name, text in changes.items():
        field, _, rest = name.partition(".")
        if field not in hints:
            known = [one.name for one in dataclasses.fields(obj)]
            raise UsageError(
                f"--set {name}={text}: {type(obj).__name__} has no {field}{nearest(field, known)}"
            )
        if rest:
            within.setdefault(field, {})[rest] = text
        else:
            values[field] = parsed(field, text, hints[field])
    for field, inner in within.items():
        part = values.get(field, getattr(obj, field))
        if not dataclasses.is_dataclass(part):
            given = f"{field}={changes[field]}" if field in changes else field
            raise UsageError(f"--set {given} leaves no {field}.{next(iter(inner))} to set")
        values[field] = overridden(part, inner)
    try:
        return dataclasses.replace(obj, **values)
    except (TypeError, ValueError) as error:  # of a class of the user's own
        given = ", ".join(f"{k}={text}" for k, text in changes.items())
        raise UsageError(f"--set {given}: {type(obj).__name__} does not take it: {error}") from error


def parsed(name: str, text: str, kind: Any) -> Any:
    """`text` as a value of type `kind`: int, float, bool, str, a union of them and tuples of int; a rule."""
    kinds = get_args(kind) or (kind,)
    if isinstance(kind, type) and issubclass(kind, Rule):
        return kind.from_text(text)
    for parse in (int, float):
        if parse in kinds:
            try:
                return parse(text)
            except ValueError:
                continue
    if bool in kinds and text.lower() in ("true", "false", "1", "0", "yes", "no"):
        return text.lower() in ("true", "1", "yes")
    if any(get_args(k) for k in kinds):  # tuple[int, ...]
        try:
            return tuple(int(part) for part in text.split(","))
        except ValueError:
            pass
    if str in kinds:
        return text
    names = " or ".join(getattr(k, "__name__", str(k)) for k in kinds)
    raise UsageError(f"--set {name}={text}: {name} must be {names}")
