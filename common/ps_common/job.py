"""A job: what a user writes in one file, and its description, which is what travels.

`Job` holds the user's objects. `Description` is the same as plain data; from it and the data alone a
worker rebuilds everything that ships with the project. Its digest names the job: two processes work
together, and a checkpoint fits, exactly if their digests are equal.
"""

import dataclasses
import functools
import hashlib
import math
from typing import Any, Protocol

import msgpack
import numpy as np
import numpy.typing as npt

from ps_common.arrays import HostArray
from ps_common.errors import DataError, PeerError, UsageError
from ps_common.fields import Field
from ps_common.figures import FIGURES, figures_of
from ps_common.layout import DIMENSIONS_MAX
from ps_common.own_loop import OwnLoop
from ps_common.own_model import check_own_model, plain_own_model, trains_itself
from ps_common.plan import Plan
from ps_common.rules import Mean
from ps_common.schedule import Schedule
from ps_common.shards import Shards
from ps_common.vocabulary import Plain, from_plain, has_own_code, to_plain


class DataSource(Protocol):
    """What a job asks of its data; the sources of `paramserver.data` are such."""

    @property
    def samples(self) -> int: ...
    @property
    def fields(self) -> tuple[Field, ...]: ...
    def read(self, rows: slice | npt.NDArray[np.int64]) -> tuple[HostArray, ...]: ...
    def plain(self) -> dict[str, Any]: ...
    def fingerprint(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class DataDescription:
    """A data set as plain data: how to open it, how much there is, what a sample looks like."""

    source: dict[str, Any]
    samples: int
    fields: tuple[Field, ...]
    fingerprint: str

    @classmethod
    def of(cls, source: DataSource) -> "DataDescription":
        return cls(source.plain(), source.samples, source.fields, source.fingerprint())

    @property
    def sample_bytes(self) -> int:
        return sum(field.sample_bytes for field in self.fields)

    def column(self, field: int, at: int) -> str | int | None:
        """What the source calls a number of a sample's field; None where it is no table of numbers."""
        if self.source.get("kind") not in ("csv", "parquet"):
            return None
        x_or_y = self.source.get("xy"[field])
        columns = x_or_y if isinstance(x_or_y, list) else [x_or_y]
        return columns[at] if len(columns) == math.prod(self.fields[field].shape) else None

    def block_rows(self, chunk_bytes: int) -> int:
        """Rows of a block: as many as fit `chunk_bytes`, at least one. Both sides cut shards so."""
        return max(1, chunk_bytes // max(1, self.sample_bytes))


@dataclasses.dataclass(frozen=True)
class Description:
    """A job as plain data, and what follows from it by arithmetic."""

    model: Plain
    loss: Plain
    optimizer: Plain
    regularizer: Plain
    metrics: Plain
    figures: dict[str, str]  # by a metric's name, what its sums are made into; what is not named is a ratio
    plan: Plan
    seed: int
    train: DataDescription
    test: DataDescription | None
    code: str  # SHA-256 of the job's file; empty where there is none
    overrides: dict[str, str]  # what was set on the command line; a worker with the job's file sets it too

    @functools.cached_property
    def own_loop(self) -> OwnLoop | None:
        """What is known of workers that bring a loop of their own; None: they train this job's model."""
        is_own = isinstance(self.model, dict) and self.model.get("kind") == OwnLoop.__name__
        return from_plain(self.model) if is_own else None

    @property
    def has_open_samples(self) -> bool:
        """Whether only a contribution itself says of how many samples it is."""
        return self.own_loop is not None and self.own_loop.rounds is not None

    @functools.cached_property
    def schedule(self) -> Schedule:
        own = self.own_loop
        if own is not None and own.rounds is not None:  # each unit has one sample, in name
            return Schedule(
                Shards.of(self.train.samples, self.train.samples // own.rounds), 1, 1, self.plan.epochs
            )
        shards = Shards.of(self.train.samples, self.plan.shards)
        return Schedule(shards, self.plan.batch_size, self.plan.local_steps, self.plan.epochs)

    @functools.cached_property
    def test_shards(self) -> Shards | None:
        """The test data is cut into as many shards as the training data, or one a sample if it is smaller."""
        if self.test is None:
            return None
        return Shards.of(self.test.samples, min(self.schedule.shards.count, self.test.samples), "test")

    def split(self, name: str) -> tuple[DataDescription, Shards]:
        """The data and shards called "train" or "test"."""
        if name == "train":
            return self.train, self.schedule.shards
        if name == "test" and self.test is not None and self.test_shards is not None:
            return self.test, self.test_shards
        raise PeerError(f"the job has no data called {name!r}")

    @functools.cached_property
    def needs_code(self) -> bool:
        """Whether a worker needs the job's file, because it holds classes of the user's own."""
        return has_own_code([getattr(self, name) for name in PARTS])

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over all that decides what a unit computes.

        Not over the number of epochs (a run may be resumed for longer), when it is evaluated, how and from
        where the data comes (its content counts), nor the text of the file where everything in it
        travels as data. Where not, what was set of the file's own options counts as the file does.
        """
        plain = self.to_plain()
        if not self.needs_code:
            del plain["code"]
        elif options := {key: text for key, text in self.overrides.items() if _is_option(key)}:
            plain["options"] = options
        for name in ("epochs", "data", "evaluate_every"):
            del plain["plan"][name]
        del plain["overrides"]
        for split in ("train", "test"):
            if plain[split]:
                del plain[split]["source"]
        return hashlib.sha256(msgpack.packb(_ordered(plain))).hexdigest()

    def to_plain(self) -> dict[str, Any]:
        plain = {
            f.name: to_plain(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name not in _DATA
        }
        if isinstance(self.plan.rule, Mean):  # as before there were others: the same bytes, the same digest
            del plain["plan"]["rule"]
        return plain | {name: _plain_data(getattr(self, name)) for name in _DATA}

    @classmethod
    def from_plain(cls, plain: Any) -> "Description":
        """The job a master or a checkpoint describes. Raises `PeerError` where it describes none."""
        names = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(plain, dict) or plain.keys() != names:
            raise PeerError(f"a job's description has the fields {sorted(names)}; use one version everywhere")
        model = plain["model"]
        is_own = isinstance(model, dict) and model.get("kind") == OwnLoop.__name__
        data = {name: _data_from_plain(plain[name], name, () if is_own else ("x", "y")) for name in _DATA}
        job = cls(**{**plain, **data, "plan": from_plain(plain["plan"])})
        _require(isinstance(job.plan, Plan), "plan", "a Plan")
        _require(type(job.seed) is int and 0 <= job.seed < 2**63, "seed", "an integer from 0 to 2^63-1")
        _require(isinstance(job.code, str), "code", "a string")
        known = _is_texts(job.figures) and all(one in FIGURES for one in job.figures.values())
        _require(known, "figures", f"a dict of some of {', '.join(FIGURES)}")
        _require(_is_texts(job.overrides), "overrides", "a dict of strings")
        _require(job.train is not None, "train", "there")
        _require(not is_own or job.test is None, "test", "absent where loops bring their own")
        try:
            _ = job.schedule, job.test_shards, job.digest
        except (DataError, UsageError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise PeerError(f"a job's description does not go together: {error}") from error
        return job


_NUMBERS = {np.dtype(code).name for code in np.typecodes["All"] if np.dtype(code).kind in "biufc"}
PARTS = ("model", "loss", "optimizer", "regularizer", "metrics")
_DATA = ("train", "test")
_SETTINGS = {field.name for field in dataclasses.fields(Plan)} | {"seed"}


def _is_option(key: str) -> bool:
    """Whether what was set is the job's file's own affair: the plan, seed and parts show what they are."""
    return key not in _SETTINGS and "." not in key


def _plain_data(data: DataDescription | None) -> Plain:
    if data is None:
        return None
    return {
        "source": data.source,
        "samples": data.samples,
        "fields": to_plain(data.fields),
        "fingerprint": data.fingerprint,
    }


def _data_from_plain(plain: Plain, name: str, wanted: tuple[str, ...]) -> DataDescription | None:
    if plain is None:
        return None
    names = {f.name for f in dataclasses.fields(DataDescription)}
    _require(isinstance(plain, dict) and plain.keys() == names, name, f"a dict of {sorted(names)}")
    data = DataDescription(**{**plain, "fields": from_plain(plain["fields"])})
    _require(isinstance(data.source, dict), f"{name}.source", "a dict")
    _require(type(data.samples) is int and 1 <= data.samples < 2**62, f"{name}.samples", "1 or more")
    _require(isinstance(data.fingerprint, str), f"{name}.fingerprint", "a string")
    fields = data.fields if isinstance(data.fields, tuple) else ()
    _require(
        all(map(_is_field, fields)) and tuple(field.name for field in fields) == wanted,
        f"{name}.fields",
        f"the fields {' and '.join(wanted)}, of numbers" if wanted else "none",
    )
    return data


def _is_field(field: Any) -> bool:
    return (
        isinstance(field, Field)
        and isinstance(field.dtype, str)
        and field.dtype in _NUMBERS
        and isinstance(field.shape, tuple)
        and len(field.shape) <= DIMENSIONS_MAX
        and all(type(n) is int and n > 0 for n in field.shape)
        and math.prod(field.shape) < 2**40
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)


def _require(holds: bool, name: str, wanted: str) -> None:
    if not holds:
        raise PeerError(f"a job's description is damaged: {name} must be {wanted}")


def _ordered(plain: Plain) -> Plain:
    """Dicts with their keys in order, so that equal descriptions pack to equal bytes."""
    if isinstance(plain, dict):
        return {key: _ordered(plain[key]) for key in sorted(plain)}
    return [_ordered(item) for item in plain] if isinstance(plain, list) else plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """Everything about a training run, in one object.

    model: an `nn` layer, most often `nn.Sequential`; or an object of a class of your own with
        `parameters()` and `train(batch)`, see `ps_worker.own_replica`. Loss, optimizer, regularizer and
        metrics are its own affair then, and left out here.
    loss: e.g. `nn.SoftmaxCrossEntropy()`.
    optimizer: e.g. `nn.SGD(0.1)`.
    train, test: data sources with fields x and y (see `paramserver.data`, `paramserver.datasets`).
    metrics: computed on the test data (on the training data where there is no test data).
    regularizer: e.g. `nn.L2(0.01)`.
    plan: shards, batch size, local steps, epochs, averaging.
    seed: of everything random in the job.

    Raises `UsageError` and `ShapeMismatch` at once where its parts do not fit each other.
    """

    model: Any
    loss: Any = None
    optimizer: Any = None
    train: DataSource
    test: DataSource | None = None
    metrics: tuple[Any, ...] | list[Any] = ()
    regularizer: Any = None
    plan: Plan = dataclasses.field(default_factory=Plan)
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", tuple(self.metrics))
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise UsageError(f"the job's seed must be an integer from 0 to 2^63-1, not {self.seed!r}")
        if not isinstance(self.plan, Plan):
            raise UsageError(f"the job's plan is a {type(self.plan).__name__}; write Plan(...)")
        for name in ("train", "test"):
            source = getattr(self, name)
            if source is not None and not hasattr(source, "fields"):
                raise UsageError(
                    f"the job's {name} data is a {type(source).__name__}; wrap it: data.items(samples) where "
                    "it has len() and [], data.arrays(x, y), data.npz(path), data.csv(path) or "
                    "datasets.load(name)"
                )
        if self.test is not None and self.test.fields != self.train.fields:
            raise UsageError(
                f"train and test data must have the same fields; train has {_names(self.train)}, "
                f"test has {_names(self.test)}"
            )
        x, y = _x_and_y(self.train)
        for field in (x, y):
            if np.dtype(field.dtype).kind == "c":
                raise DataError(f"{field.name} of the data is {field.dtype}; a model takes real numbers")
        figures_of(self.metrics)
        self._check_parts(x, y)

    def _check_parts(self, x: Field, y: Field) -> None:
        if trains_itself(self.model):
            beside = {"loss": self.loss, "optimizer": self.optimizer, "regularizer": self.regularizer}
            check_own_model(self.model, beside, bool(self.metrics), self.test is not None)
            return
        if not hasattr(self.model, "output_shape"):
            hint = f"; write {self.model.__name__}(...)" if isinstance(self.model, type) else ""
            raise UsageError(
                f"the job's model is {self.model!r}; it must be a layer of paramserver.nn, or an object with "
                f"parameters() and train(batch){hint}"
            )
        for name in ("loss", "optimizer"):
            if getattr(self, name) is None:
                raise UsageError(f"the job's {name} is missing; a model of layers needs one: {name}=nn...")
        output = self.model.output_shape(x.shape)
        self.loss.check(output, y)
        for metric in self.metrics:
            metric.check(output, y)

    def describe(self, code: str = "", overrides: dict[str, str] | None = None) -> Description:
        """This job as plain data. `code`: SHA-256 of its file."""
        parts = {name: to_plain(getattr(self, name)) for name in PARTS if name != "model"}
        own = trains_itself(self.model)
        return Description(
            model=plain_own_model(self.model) if own else to_plain(self.model),
            **parts,
            figures=figures_of(self.metrics),
            plan=self.plan,
            seed=self.seed,
            train=DataDescription.of(self.train),
            test=None if self.test is None else DataDescription.of(self.test),
            code=code,
            overrides=dict(overrides or {}),
        )


def _names(source: DataSource) -> str:
    return ", ".join(map(str, source.fields))


def _x_and_y(source: DataSource) -> tuple[Field, Field]:
    if [field.name for field in source.fields] != ["x", "y"]:
        raise UsageError(f"a job's data has the fields x and y, not {_names(source)}")
    return source.fields[0], source.fields[1]
