"""What a worker here would meet, as lines for a person: rules over what `examining.py` has seen.

    Answer     how the master has answered, or why not
    Machine    what a worker would compute with

The way to the master is judged in `ps_common.reaching`. It must not know sockets, files or libraries.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from ps_common.errors import MasterUnreachable
from ps_common.reaching import OK, WARNING, WRONG, Finding, Found, findings, why_unreachable

LITTLE_BYTES = 200 * 2**20  # Python, NumPy and a small model
MIB, GIB = 2**20, 2**30


@dataclasses.dataclass(frozen=True)
class Key:
    """The key that was given."""

    name: str
    role: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came of asking the master how the run is.

    is_let_in: it has said something. status: of the run, where it told that. error: why not. exit_code: of
    that error. is_other_job: it is about the job file.
    """

    is_let_in: bool
    status: dict[str, Any] | None = None
    error: str = ""
    exit_code: int = 0
    is_other_job: bool = False


@dataclasses.dataclass(frozen=True)
class Machine:
    """What there is here.

    master_pid: of the process that listens at the master's address, where this process sees into it; 0: it
    does not. is_own: the address is one of this machine. why_no_segments: why memory cannot be shared.
    shm_bytes: size of /dev/shm. memory_bytes: free, for this process. cores: that it may run on. quota: how
    many of them it may use up; 0: all. blas: NumPy's libraries, with versions and threads. gpus: what CuPy
    finds. cupy: what it says about itself, or why there are none. has_driver: NVIDIA's is loaded.
    """

    master_pid: int = 0
    is_own: bool = False
    why_no_segments: str = ""
    shm_bytes: int = 0
    memory_bytes: int = 0
    cores: int = 1
    quota: float = 0.0
    blas: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    cupy: str = ""
    has_driver: bool = False


def diagnosis(
    found: Found, answer: Answer | None, machine: Machine, key: Key | None, has_job: bool
) -> list[Finding]:
    """All that is to be said, in the order of the way there. answer: None where the way ends before."""
    told = list(findings(found))
    if answer is not None:
        told.extend(_of_master(found, answer, key, has_job))
    return [*told, _memory(machine, answer), *_of_machine(machine)]


def exit_code(told: list[Finding]) -> int:
    """What a worker would end with: because of the first that is wrong."""
    return next((finding.exit_code for finding in told if finding.verdict == WRONG), 0)


# -- the master ---------------------------------------------------------------------------------------


def _of_master(found: Found, answer: Answer, key: Key | None, has_job: bool) -> Iterator[Finding]:
    if not answer.is_let_in:
        if answer.exit_code == MasterUnreachable.exit_code:
            yield Finding("master", WRONG, why_unreachable(found), answer.exit_code)
        else:
            yield Finding("keys", WRONG, answer.error, answer.exit_code)
        return
    yield _keys(key)
    if answer.exit_code == 76 and not answer.is_other_job:
        yield Finding("version", WRONG, answer.error, answer.exit_code)
        return
    yield Finding("version", OK, "the master speaks the same protocol")
    if answer.is_other_job:
        yield Finding("job", WRONG, answer.error, answer.exit_code)
        return
    yield Finding("job", OK, "the file is the master's" if has_job else "not compared: no --job was given")
    yield _run(answer, key)


def _keys(key: Key | None) -> Finding:
    if key is None:
        return Finding("keys", OK, "the master wants none")
    if key.role != "worker":
        text = f"the key {key.name} is let in, but its role is {key.role}: a worker with it is not"
        return Finding("keys", WARNING, text)
    return Finding("keys", OK, f"the key {key.name} is let in, and the master has the run's server key")


def _run(answer: Answer, key: Key | None) -> Finding:
    status = answer.status
    if status is None:
        if key is not None and key.role == "worker":
            return Finding("run", OK, "it is there; how it is, a worker's key may not ask")
        return Finding("run", WARNING, answer.error)
    here = f"{status['members']} of {status['members_wanted']} workers here"
    if status["state"] == "over":
        return Finding("run", WARNING, f"run {status['run']} is over: {status['reason']}")
    at = f"round {max(0, status['version'])} of {status['rounds']}"
    return Finding("run", OK, f"run {status['run']}: {status['state']}, {at}, {here}")


# -- this machine -------------------------------------------------------------------------------------


def _memory(machine: Machine, answer: Answer | None) -> Finding:
    """Whether weights lie in memory that master and worker share."""
    shm = f"its /dev/shm ({_size(machine.shm_bytes)}) is not used"
    if machine.why_no_segments:
        return Finding("sharing", WARNING, f"no memory can be shared here: {machine.why_no_segments}")
    if answer is None:
        return Finding("sharing", OK, f"memory can be shared (memfd); {shm}")
    if machine.master_pid:
        text = f"the master is process {machine.master_pid} here: weights lie in shared memory (memfd); {shm}"
        return Finding("sharing", OK, text)
    if machine.is_own:
        text = (
            "the master's address is this machine's, but it is another user's, another container's, or "
            f"behind a forwarded port: weights go over TCP; {shm}"
        )
        return Finding("sharing", OK, text)
    return Finding("sharing", OK, f"the master is on another machine: weights go over TCP; {shm}")


def _of_machine(machine: Machine) -> Iterator[Finding]:
    free = f"{_size(machine.memory_bytes)} free"
    if machine.memory_bytes < LITTLE_BYTES:
        yield Finding("memory", WARNING, f"{free}: little for a worker; give the machine or container more")
    else:
        yield Finding("memory", OK, free)
    cores = f"{machine.cores} to run on"
    if 0 < machine.quota < machine.cores:
        text = f"{cores}, but only {machine.quota:g} of them may be used up: say --threads, or more CPUs"
        yield Finding("cores", WARNING, text)
    else:
        yield Finding("cores", OK, cores)
    if machine.blas:
        yield Finding("BLAS", OK, f"{'; '.join(machine.blas)}; the job says how many compute")
    else:
        yield Finding("BLAS", WARNING, "NumPy has none that is known here: products of matrices may be slow")
    if machine.gpus:
        yield Finding("GPU", OK, f"{', '.join(machine.gpus)}; {machine.cupy}")
    elif machine.has_driver:
        advice = "pip install paramserver[cuda12] or [cuda13], and let the container see the GPU"
        yield Finding("GPU", WARNING, f"NVIDIA's driver is here, but {machine.cupy}: {advice}")
    else:
        yield Finding("GPU", OK, f"none ({machine.cupy}): computing on the CPU")
    yield Finding("clock", OK, "not compared: nothing depends on the time of two machines")


def _size(nbytes: int) -> str:
    return f"{nbytes / GIB:.1f} GiB" if nbytes >= GIB else f"{nbytes / MIB:.0f} MiB"
