"""What whoever started this process says in its environment: which of how many it is, and where the first is.

The innermost launcher is asked first: `mpirun` in a Slurm allocation leaves Slurm's variables there, which
then speak of its own daemons.

    --rank, PS_RANK      flags, or the same from the environment
    torchrun             RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT
    Open MPI             OMPI_COMM_WORLD_RANK _SIZE _LOCAL_RANK _LOCAL_SIZE PMIX_NAMESPACE
    MPICH, Intel MPI     PMI_RANK PMI_SIZE MPI_LOCALRANKID MPI_LOCALNRANKS
    Slurm (srun)         SLURM_PROCID SLURM_STEP_NUM_TASKS SLURM_LOCALID SLURM_STEP_NODELIST ...
    Kubernetes           JOB_COMPLETION_INDEX of an Indexed Job, which does not tell how many there are

It is a function of the environment alone; none of them need be installed.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from paramserver.cli.node_list import hosts
from ps_common.errors import UsageError

PORT = 5555  # as ps-server has it
SLURM_PORTS = 20_000, 10_000  # the first, and how many: below those that Linux gives away by itself
Environment = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Launched:
    """This process among those that were started with it.

    kind: who started them, for people. rank: its number, of `size`. local_rank: its number on this host.
    local_size: how many are on this host; None: not known, or not all.
    master_host: where rank 0 is; None: not known. port: where its master listens, if it is not to choose.
    run: tells this start from others, as far as the launcher does; empty: it does not.
    leaves_with_parent: whether the launcher stays as long as its processes.
    """

    kind: str
    rank: int
    size: int
    local_rank: int = 0
    local_size: int | None = None
    master_host: str | None = None
    port: int = PORT
    run: str = ""
    leaves_with_parent: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise UsageError(f"{self.kind} says that this is process {self.rank} of {self.size}, from 0 on")
        if not 0 < self.port < 2**16:
            raise UsageError(f"{self.kind}: there is no port {self.port}; give one with --master-port")

    @property
    def is_one_host(self) -> bool:
        """Whether all are on this host, as far as is known."""
        return self.local_size == self.size


def detect(environment: Environment, given: Mapping[str, Any], given_by: str = "flags") -> Launched:
    """What the environment says, and what is `given` by name instead (fields of `Launched`; None: is not).

    Raises `UsageError` where nobody says which process this is, or how many there are.
    """
    told = {name: value for name, value in given.items() if value is not None}
    if "rank" in told:
        found: dict[str, Any] = {"kind": given_by, "leaves_with_parent": False}
    else:
        found = next((read(environment) for is_there, read in _LAUNCHERS if is_there(environment)), {})
    if not found:
        raise UsageError(
            "no launcher has said which process this is; start ps-run with torchrun, srun or mpiexec, or say "
            "--rank and --size (PS_RANK, PS_SIZE); for this machine alone there is ps-local"
        )
    common = _master(environment) | found | told
    if "size" not in common:
        raise UsageError(f"{found['kind']} does not say how many processes there are: give --size or PS_SIZE")
    return Launched(**common)


def _master(environment: Environment) -> dict[str, Any]:
    """Where the first process is, from the variables that PyTorch has made usual; not on their own port."""
    found: dict[str, Any] = {}
    if environment.get("MASTER_ADDR"):
        found["master_host"] = environment["MASTER_ADDR"]
    if environment.get("MASTER_PORT", "").isdecimal():  # Kubernetes has a URL there, for a service "master"
        found["port"] = int(environment["MASTER_PORT"]) + 1  # torchrun listens on that itself
    return found


def _torchrun(environment: Environment) -> dict[str, Any]:
    kind = "torchrun"
    names = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")
    return {
        "kind": kind,
        "rank": _number(environment, "RANK", kind),
        "size": _number(environment, "WORLD_SIZE", kind),
        "local_rank": _number(environment, "LOCAL_RANK", kind, 0),
        "local_size": _number(environment, "LOCAL_WORLD_SIZE", kind, None),
        "run": "-".join(["torchrun", *(environment.get(name, "") for name in names)]),
        "leaves_with_parent": "TORCHELASTIC_RUN_ID" in environment,  # others only use the same names
    }


def _open_mpi(environment: Environment) -> dict[str, Any]:
    kind, prefix = "Open MPI", "OMPI_COMM_WORLD"
    job = environment.get("PMIX_NAMESPACE") or environment.get("OMPI_MCA_ess_base_jobid", "")
    return {
        "kind": kind,
        "rank": _number(environment, f"{prefix}_RANK", kind),
        "size": _number(environment, f"{prefix}_SIZE", kind),
        "local_rank": _number(environment, f"{prefix}_LOCAL_RANK", kind, 0),
        "local_size": _number(environment, f"{prefix}_LOCAL_SIZE", kind, None),
        "run": f"open-mpi-{job}" if job else "",
    }


def _mpich(environment: Environment) -> dict[str, Any]:
    kind = "MPICH"
    return {
        "kind": kind,
        "rank": _number(environment, "PMI_RANK", kind),
        "size": _number(environment, "PMI_SIZE", kind),
        "local_rank": _number(environment, "MPI_LOCALRANKID", kind),
        "local_size": _number(environment, "MPI_LOCALNRANKS", kind, None),
    }


def _slurm(environment: Environment) -> dict[str, Any]:
    kind = "Slurm"
    size = _number(environment, "SLURM_STEP_NUM_TASKS", kind, None)
    size = _number(environment, "SLURM_NTASKS", kind) if size is None else size
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    count = _number(environment, "SLURM_STEP_NUM_NODES", kind, None)
    count = _number(environment, "SLURM_NNODES", kind, None) if count is None else count
    job, step = _number(environment, "SLURM_JOB_ID", kind), _number(environment, "SLURM_STEP_ID", kind)
    first, many = SLURM_PORTS
    restarts = _number(environment, "SLURM_RESTART_COUNT", kind, 0)
    found = {
        "kind": kind,
        "rank": _number(environment, "SLURM_PROCID", kind),
        "size": size,
        "local_rank": _number(environment, "SLURM_LOCALID", kind, 0),
        "local_size": size if count == 1 else None,
        "run": f"slurm-{job}.{step}.{restarts}",
    }
    if nodes and not environment.get("MASTER_ADDR"):
        found["master_host"] = next(hosts(nodes))
    if not environment.get("MASTER_PORT", "").isdecimal():
        found["port"] = first + (job + step) % many  # jobs that share a host have ports of their own
    return found


def _kubernetes(environment: Environment) -> dict[str, Any]:
    kind = "a Kubernetes Indexed Job"
    found = {
        "kind": kind,
        "rank": _number(environment, "JOB_COMPLETION_INDEX", kind),
        "leaves_with_parent": False,
    }
    job, dash, index = environment.get("HOSTNAME", "").rpartition("-")
    if dash and index == environment["JOB_COMPLETION_INDEX"]:
        found["master_host"] = f"{job}-0"  # as such a job names its pods
    return found


def _has(*names: str) -> Callable[[Environment], bool]:
    return lambda environment: all(environment.get(name, "") != "" for name in names)


_LAUNCHERS: list[tuple[Callable[[Environment], bool], Callable[[Environment], dict[str, Any]]]] = [
    (_has("RANK", "WORLD_SIZE", "MASTER_ADDR"), _torchrun),
    (_has("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), _open_mpi),
    (_has("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"), _mpich),  # the last is not there under srun --mpi=pmi2
    (_has("SLURM_PROCID", "SLURM_STEP_ID"), _slurm),  # a batch script itself is in no step
    (_has("JOB_COMPLETION_INDEX"), _kubernetes),
]


def _number(environment: Environment, name: str, kind: str, default: Any = ...) -> Any:
    text = environment.get(name, "")
    if not text and default is not ...:
        return default
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"{kind} has started this process, but {name} is {text!r} and not a number")
    return int(text)
