"""From `JOB` on a command line to a job: a Python file with a variable `job`, or `package.module:name`.

The only place that runs a user's file. A file may declare options of its own:

    settings = paramserver.options(data="mnist-5k", hidden=100)

`--set key=value` then reaches, in this order, the file's options, the plan's fields, `seed`, and with a
dot the fields of the plan's `rule`, and of `model`, `loss`, `optimizer` and `regularizer`
(`optimizer.learning_rate=0.01`), and of what is in such a field those of it
(`optimizer.learning_rate.warmup=100`).
"""

import contextlib
import contextvars
import dataclasses
import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ps_common.errors import JobCodeError, ParamserverError, UsageError
from ps_common.job import Description, Job
from ps_common.plan import Plan, overridden, parsed
from ps_common.spelling import nearest

_PARTS = ("loss", "optimizer", "regularizer", "model")


@dataclasses.dataclass
class _Loading:
    """What `options` needs to know while a job's file runs."""

    given: Mapping[str, str]
    declared: dict[str, Any] = dataclasses.field(default_factory=dict)


_loading: contextvars.ContextVar[_Loading | None] = contextvars.ContextVar("loading", default=None)


def options(**defaults: bool | int | float | str | tuple[str, ...]) -> types.SimpleNamespace:
    """Declare a job file's own options and get their values: the defaults, or what `--set` says.

    A value is parsed as the type of its default. A tuple is a choice of texts: the first is the default, and
    another than these is a `UsageError`. Called outside a command it returns the defaults.

        settings = options(hidden=100, data=("mnist-5k", "mnist"))
    """
    firsts = {
        name: default[0] if isinstance(default, tuple) else default for name, default in defaults.items()
    }
    loading = _loading.get()
    if loading is None:
        return types.SimpleNamespace(**firsts)
    loading.declared.update(firsts)
    values = {
        name: parsed(name, loading.given[name], type(first))
        for name, first in firsts.items()
        if name in loading.given
    }
    for name, value in values.items():
        choices = defaults[name]
        if isinstance(choices, tuple) and value not in choices:
            raise UsageError(f"--set {name}={value}: {name} must be one of {', '.join(choices)}")
    return types.SimpleNamespace(**{**firsts, **values})


@dataclasses.dataclass(frozen=True)
class LoadedJob:
    """A job with what its description needs to know about where it came from."""

    job: Job
    code: str  # SHA-256 of its file
    overrides: dict[str, str]

    def describe(self) -> Description:
        return self.job.describe(self.code, self.overrides)


def load_job(target: str, overrides: Mapping[str, str]) -> LoadedJob:
    """Load `target` with `overrides`. Raises `UsageError`, `JobCodeError` or what the job's parts raise."""
    loading = _Loading(overrides)
    token = _loading.set(loading)
    try:
        module, name = _run(target)
    finally:
        _loading.reset(token)
    job = getattr(module, name, None)
    if not isinstance(job, Job):
        what = "has no such variable" if job is None else f"there is a {type(job).__name__}, not a Job"
        raise UsageError(f"{target}: looked for a Job called {name!r}, {what}; write `{name} = Job(...)`")
    code = _sha256(Path(module.__file__ or target))
    return LoadedJob(_apply(job, overrides, loading.declared), code, dict(overrides))


def file_digest(target: str) -> str:
    """SHA-256 of the file a target names, which is not run. Raises `UsageError` where there is none."""
    path = Path(target)
    if path.is_file():
        return _sha256(path)
    module_name, colon, _ = target.partition(":")
    _look_here()
    with _users_code(f"the job {target}"):
        spec = _find(module_name) if colon else None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise UsageError(f"no such job file: {target}; give a Python file or package.module:name")
    return _sha256(Path(spec.origin))


def _find(module_name: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module is; None where there is none, or no package that it would be in."""
    try:
        return importlib.util.find_spec(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            return None
        raise  # the package is there, and imports something that is not
    except ValueError:  # an empty name
        return None


def _look_here() -> None:
    """Modules are looked for in the working folder too, after everything that is installed."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(target: str) -> tuple[types.ModuleType, str]:
    path = Path(target)
    if path.suffix == ".py" or path.exists():
        if not path.is_file():
            raise UsageError(f"no such job file: {target}; give a Python file or package.module:name")
        return _run_file(path.resolve()), "job"
    module_name, colon, name = target.partition(":")
    if not colon:
        raise UsageError(f"no such job file: {target}; give a Python file or package.module:name")
    _look_here()
    with _users_code(f"the job {target}"):
        if _find(module_name) is None:
            raise UsageError(f"no module {module_name!r} for the job {target}; is its folder on the path?")
        return importlib.import_module(module_name), name


def _run_file(path: Path) -> types.ModuleType:
    """Run a file as a module of its own name, with its folder on the path as `python FILE` would."""
    name = f"ps_job_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file; a job file ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    with _users_code(f"the job file {path}"):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _users_code(what: str) -> Iterator[None]:
    """Whatever a user's file raises, `sys.exit()` too, becomes a `JobCodeError` that says where."""
    try:
        yield
    except ParamserverError:
        raise
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
        last = next((f for f in reversed(frames) if not f.filename.startswith("<frozen")), None)
        where = f" ({last.filename}, line {last.lineno})" if last else ""
        raise JobCodeError(f"{what} raised {type(error).__name__}: {error}{where}") from error


def _fields_of(part: Any) -> Iterator[str]:
    """The fields of a dataclass, and after a dot those of the dataclasses in them."""
    if dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            if field.init:
                yield field.name
                yield from (f"{field.name}.{inner}" for inner in _fields_of(getattr(part, field.name)))


def _apply(job: Job, overrides: Mapping[str, str], declared: Mapping[str, Any]) -> Job:
    """The job with every override applied that its file's own options did not take."""
    plan_fields = {f.name for f in dataclasses.fields(Plan)}
    part_fields = {
        f"{part}.{field}": (part, field) for part in _PARTS for field in _fields_of(getattr(job, part))
    }
    plan: dict[str, str] = {}
    parts: dict[str, dict[str, str]] = {}
    changes: dict[str, Any] = {}
    for key, text in overrides.items():
        if key in declared:
            continue
        if key.partition(".")[0] in plan_fields:
            plan[key] = text
        elif key == "seed":
            changes["seed"] = parsed("seed", text, int)
        elif key in part_fields:
            part, field = part_fields[key]
            parts.setdefault(part, {})[field] = text
        else:
            known = {*declared, *plan_fields, "seed", *part_fields}
            raise UsageError(f"--set {key}: the job has no setting of that name{nearest(key, known)}")
    for part, fields in parts.items():
        changes[part] = overridden(getattr(job, part), fields)
    if plan:
        changes["plan"] = overridden(job.plan, plan)
    return dataclasses.replace(job, **changes) if changes else job
