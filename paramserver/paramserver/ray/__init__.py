"""Ray: a run on a Ray cluster, whose master, averaging servers and workers are actors in a placement group.

    result = paramserver.ray.run("digits.py", workers=16, gpus_per_worker=1, out="digits.safetensors")
    print(result.metrics, result.weights_sha256)

Needs the extra: pip install 'paramserver[ray]', on every node.
"""

import contextlib
import dataclasses
import math
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray

from paramserver.cluster import ClusterError
from paramserver.ray.driver import Interrupted, Placing, RayRun
from paramserver.ray.part import Outcome
from paramserver.ray.roles import MASTER, Master, Role, Server, Worker
from paramserver.serve import require_writable, write_json
from ps_common.errors import MasterUnreachable, UsageError
from ps_common.files import write_whole
from ps_common.key_folder import KeyFolder
from ps_common.saying import say

__all__ = ["Interrupted", "RayRun", "Result", "run"]

KNOCK_S = 5.0
STRATEGIES = ("SPREAD", "PACK", "STRICT_SPREAD", "STRICT_PACK")


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run has come to.

    status: "finished" or "stopped". metrics: of the last evaluation. weights_sha256: of the final weights;
    None: there are none. model_file: for `paramserver.load`, where one was wanted. record: what `--json` has.
    """

    status: str
    metrics: dict[str, float]
    weights_sha256: str | None
    model_file: Path | None
    record: dict[str, Any] = dataclasses.field(repr=False)


def run(
    job: str | Path,
    workers: int = 2,
    *,
    servers: int = 1,
    cpus_per_worker: float = 1,
    gpus_per_worker: float = 0,
    address: str = "auto",
    working_dir: Path | None = None,
    strategy: str = "SPREAD",
    checkpoint: Path | None = None,
    out: Path | None = None,
    json_file: Path | None = None,
    keys: Path | None = None,
    insecure: bool = False,
    server_flags: Sequence[str] = (),
    worker_flags: Sequence[str] = (),
    restarts: int = 10,
    placement_timeout_s: float = 300.0,
    master_timeout_s: float = 120.0,
    on_begin: Callable[[RayRun], None] | None = None,
) -> Result:
    """Train `job` on a Ray cluster and wait for the end.

    job: a Python file with a variable `job`, or `package.module:name`, on every node: on a file system that
        all share, or in `working_dir`, which Ray then copies to them.
    servers: averaging servers; 1: the master averages.
    address: of the cluster: "auto" finds it, "local" starts one of this machine. Where `ray.init` was called
        before, it is that one.
    strategy: of the placement group, which has a bundle for each part.
    checkpoint: folder on a file system that all nodes share; without one a master that was lost with its node
        begins anew.
    out, json_file: where to write the trained model and the record, on the driver's machine.
    keys: folder of keys, made where there are none; by default the run has keys of its own. insecure: none.
    server_flags, worker_flags: further flags of `ps-server` and `ps-worker`.
    restarts: how often each part is started again.
    placement_timeout_s: for room in the cluster. master_timeout_s: for a lost master to be back.
    on_begin: called with what can `stop()` the run, `save()`, or `cut()` it short.

    Raises `UsageError`, `TimedOut` without room in the cluster, `ClusterError` where the run has failed.
    """
    _check(strategy, out, json_file)
    names = [f"worker-{index}" for index in range(workers)]
    server_names = tuple(f"server-{index}" for index in range(servers)) if servers > 1 else ()
    needed = {name: {"CPU": 1.0} for name in (MASTER, *server_names)}
    needed |= {name: _bundle(cpus_per_worker, gpus_per_worker) for name in names}
    placing = Placing(needed, strategy, restarts, placement_timeout_s, master_timeout_s)
    flags = ["--master-timeout", str(master_timeout_s), *worker_flags]
    if "--device" not in flags:
        flags += ["--device", "cuda:0" if gpus_per_worker else "cpu"]  # as Ray shows them to each
    if checkpoint is None:
        say("ps-ray: without --checkpoint, a master that is lost with its node begins anew")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_connected(address, working_dir, placing.total("CPU")))
        where = _where(job)
        for_servers, for_worker = _keys(None if insecure else keys or _temporary(stack), names)
        roles: list[Role] = [
            Master(
                MASTER, tuple(server_flags), for_servers, insecure, where, server_names, workers,
                None if checkpoint is None else checkpoint.absolute(), out is not None,
            )
        ]  # fmt: skip
        roles += [Server(name, (), for_servers, insecure) for name in server_names]
        roles += [Worker(name, tuple(flags), for_worker[name], insecure, where) for name in names]
        running = stack.enter_context(RayRun(roles, placing))
        if on_begin is not None:
            on_begin(running)
        outcome = running.run()
    return _result(outcome, out, json_file)


def _check(strategy: str, out: Path | None, json_file: Path | None) -> None:
    """Raise `UsageError` for what cannot be, before anything starts."""
    if strategy not in STRATEGIES:
        raise UsageError(f"a placement group is one of {', '.join(STRATEGIES)}, not {strategy!r}")
    for flag, path in (("--out", out), ("--json", json_file)):
        if path is not None:
            require_writable(flag, path)


def _bundle(cpus: float, gpus: float) -> dict[str, float]:
    """What a worker needs; a bundle of nothing is none."""
    return {what: float(number) for what, number in (("CPU", cpus), ("GPU", gpus)) if number} or {"CPU": 0.01}


def _result(outcome: Outcome | None, out: Path | None, json_file: Path | None) -> Result:
    """Write what was brought, and say how it ended. Raises `ClusterError`."""
    if outcome is None:
        return Result("stopped", {}, None, None, {})
    record = outcome.record or {}
    if json_file is not None and record:
        write_json(json_file, record)
    if outcome.exit_code != 0:
        raise ClusterError(
            f"the run has failed; last heard of the master:\n{outcome.tail}", outcome.exit_code
        )
    if out is not None and outcome.model is not None:
        write_whole(out, outcome.model)
    model_file = out if outcome.model is not None else None
    return Result(record["status"], record["metrics"], record["weights_sha256"], model_file, record)


# -- the cluster --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _connected(address: str, working_dir: Path | None, cpus: float) -> Iterator[None]:
    """Within it, this process is a driver of the cluster; one of its own has at least so many CPUs."""
    if address.startswith("ray://"):
        raise UsageError(_NO_CLIENT)
    if ray.is_initialized():
        if working_dir is not None:
            raise UsageError("ray.init was called already: give it the working_dir, as its runtime_env")
        _refuse_client()
        yield
        return
    _knock(address)
    given: dict[str, Any] = {"logging_level": "warning"}
    if working_dir is not None:
        given["runtime_env"] = {"working_dir": str(working_dir)}
    if address == "local":
        given |= {"include_dashboard": False, "num_cpus": max(os.cpu_count() or 1, math.ceil(cpus))}
    try:
        ray.init(address, **given)
    except (ConnectionError, RuntimeError) as error:
        raise MasterUnreachable(_NOBODY.format(address, error)) from error
    try:
        _refuse_client()
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Ray waits for a minute where nobody listens."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()
        except (OSError, OverflowError) as error:
            raise MasterUnreachable(_NOBODY.format(address, error)) from error


_NOBODY = (
    "there is no Ray cluster at {0!r} that this process could join: {1}; start one with `ray start --head`, "
    "or say --address local"
)
_NO_CLIENT = (
    "Ray Client (ray://) does not bring what parts say, nor keeps a run whose driver is elsewhere: start it "
    "within the cluster, for example by `ray job submit --address http://HEAD:8265 -- ps-ray JOB`"
)


def _refuse_client() -> None:
    client: Any = ray.util.client.ray
    if client.is_connected():
        raise UsageError(_NO_CLIENT)


def _where(job: str | Path) -> str:
    """The job as the parts find it: in Ray's copy of the working folder, or else at the same path."""
    if ray.get_runtime_context().runtime_env.get("working_dir"):
        return str(job)
    path = Path(job)
    if path.suffix == ".py" or path.exists():
        if not path.is_file():
            raise UsageError(f"no such job file: {job}; give a Python file or package.module:name")
        return str(path.absolute())
    return str(job)


# -- keys ---------------------------------------------------------------------------------------------


def _temporary(stack: contextlib.ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paramserver-"))) / "keys"


def _keys(path: Path | None, names: Sequence[str]) -> tuple[dict[str, bytes], dict[str, dict[str, bytes]]]:
    """The files for master and servers, and for each worker its own alone."""
    if path is None:
        return {}, {name: {} for name in names}
    folder = KeyFolder(path)
    bundles = {name: folder.bundle_for(name) for name in names}
    public = folder.authorised_path.glob("*.pub")
    for_servers = {f"{folder.authorised_path.name}/{one.name}": one.read_bytes() for one in public}
    for_servers["server.key"] = (path / "server.key").read_bytes()
    return for_servers, {name: {bundle.name: bundle.read_bytes()} for name, bundle in bundles.items()}
