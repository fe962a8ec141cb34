"""Sees what a worker on this machine would meet: on the way to the master, at the master, and here.

What it means, `diagnosis.py` says. It takes no part in the run, and only asks the master how that is.
"""

import contextlib
import dataclasses
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy
import threadpoolctl

from paramserver.asking import Asking
from paramserver.diagnosis import Answer, Machine
from paramserver.listening import listener
from ps_common import address, arrays, segments
from ps_common.errors import JobMismatch, MasterUnreachable, ParamserverError
from ps_common.keys import Bundle
from ps_common.reaching import Found

ANSWER_S = 8.0
_CORES = Path("/sys/fs/cgroup/cpu.max")  # of a control group, as a container sees its own
_DRIVER = Path("/proc/driver/nvidia/version")
_SHM = "/dev/shm"  # noqa: S108 - to be looked at, not written to


def ask(url: str, key: Bundle | None, job_code: str, timeout_s: float = ANSWER_S) -> Answer:
    """What the master answers to somebody with this key and this job file (its SHA-256)."""
    answer = _ask(url, key, job_code, timeout_s)
    if not job_code or answer.exit_code != JobMismatch.exit_code:
        return answer
    # By the same code it may be the version.
    other = _ask(url, key, "", timeout_s)
    return other if other.exit_code == answer.exit_code else dataclasses.replace(answer, is_other_job=True)


def _ask(url: str, key: Bundle | None, job_code: str, timeout_s: float) -> Answer:
    with Asking(url, key) as asking:
        try:
            return Answer(True, asking.look(timeout_s, job_code))
        except ParamserverError as error:
            is_let_in = asking.is_let_in and not isinstance(error, MasterUnreachable)
            return Answer(is_let_in, None, str(error), error.exit_code)


def examine(found: Found) -> Machine:
    """This machine, for a worker of the master that was looked for so."""
    there = found.addresses[0] if found.addresses else ""
    gpus, cupy = _gpus()
    return Machine(
        master_pid=listener(there, found.port) if there else 0,
        is_own=bool(there) and address.is_own(there),
        why_no_segments=_why_no_segments(),
        shm_bytes=_shm_bytes(),
        memory_bytes=segments.room(),
        cores=len(os.sched_getaffinity(0)),
        quota=_quota(),
        blas=_blas(),
        gpus=gpus,
        cupy=cupy,
        has_driver=_DRIVER.exists(),
    )


def _why_no_segments() -> str:
    if not segments.here():
        return "/proc cannot be read"
    try:
        segments.create(1).close()
    except segments.SegmentsUnavailable as error:
        return str(error)
    return ""


def _shm_bytes() -> int:
    with contextlib.suppress(OSError):
        found = os.statvfs(_SHM)
        return found.f_frsize * found.f_blocks
    return 0


def _quota() -> float:
    """How many cores the control group may use up; 0: all."""
    with contextlib.suppress(OSError, ValueError):  # none of version 2, or "max"
        most_us, period_us = map(int, _CORES.read_text().split())
        return most_us / period_us
    return 0.0


def _blas() -> tuple[str, ...]:
    """What multiplies NumPy's matrices."""
    return tuple(
        f"NumPy {numpy.__version__} with {library['internal_api']} {library['version'] or ''}, "
        f"{library['num_threads']} threads"
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
    )


def _gpus() -> tuple[tuple[str, ...], str]:
    """The devices, and what CuPy says of itself, or why it finds none."""
    if importlib.util.find_spec("cupy") is None:
        return (), "CuPy is not installed"
    module: Any = arrays.cupy()
    if module is None:
        return (), "CuPy finds no device"
    runtime = module.cuda.runtime
    devices = arrays.devices("cuda")
    driver, cuda = _dotted(runtime.driverGetVersion()), _dotted(runtime.runtimeGetVersion())
    names = tuple(f"{device} ({device.model})" for device in devices)
    return names, f"CuPy {module.__version__}, CUDA {cuda}, driver for {driver}"


def _dotted(version: int) -> str:
    """12040 is 12.4."""
    return f"{version // 1000}.{version % 1000 // 10}"
