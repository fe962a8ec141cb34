"""What every part of the benchmark uses: a part's shape, summaries, facts about the machine, and /proc."""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import socket
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zmq

HERE = Path(__file__).parent
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the command line asks for. peers: the Python that has PyTorch, Ray and mpi4py."""

    peers: str
    quick: bool
    say: Callable[[str], None]


class MissingError(Exception):
    """Something cannot be measured here; the text says why, and goes into the table."""


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, tenth and ninetieth percentile."""
    if len(values) < 2:
        return {"median": values[0], "p10": values[0], "p90": values[0], "count": len(values)}
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return {"median": statistics.median(values), "p10": tenths[0], "p90": tenths[-1], "count": len(values)}


def machine(peers: str) -> dict[str, Any]:
    """The machine, the day and the versions that a figure belongs to."""
    text = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "versions": {
            "python": platform.python_version(),
            "libzmq": zmq.zmq_version(),
            **{name: importlib.metadata.version(name) for name in ("paramserver", "numpy", "pyzmq")},
            **_peer_versions(peers),
        },
    }


def _peer_versions(peers: str) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json\nfound = {}\nfor n in ('torch', 'ray', 'mpi4py', 'numpy'):\n"
        "  try: found['peers: ' + n] = m.version(n)\n  except m.PackageNotFoundError: pass\nprint(json.dumps(found))"
    )
    try:
        versions: dict[str, str] = json.loads(subprocess.check_output([peers, "-c", code]))
    except (OSError, subprocess.CalledProcessError):
        versions = {}
    try:
        words = subprocess.check_output(["mpirun", "--version"], text=True).splitlines()[0].split()
        versions["Open MPI"] = words[-1]
    except (OSError, subprocess.CalledProcessError):
        pass
    return versions


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_all(commands: Sequence[Sequence[str]], timeout_s: float) -> list[list[dict[str, Any]]]:
    """Run processes beside one another; the JSON objects each one printed, a line each.

    Raises `MissingError` with the end of the first failure's standard error. Nothing is left running.
    """
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    running: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            running.append(
                subprocess.Popen(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=os.environ | threads,
                )
            )
        outputs = [process.communicate(timeout=timeout_s) for process in running]
    except FileNotFoundError as error:
        raise MissingError(f"{error.filename} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"not done within {timeout_s:g} s") from error
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    for process, (_, stderr) in zip(running, outputs, strict=True):
        if process.returncode:
            raise MissingError(_last_line(stderr) or f"exit code {process.returncode}")
    return [
        [json.loads(line) for line in stdout.splitlines() if line.startswith("{")] for stdout, _ in outputs
    ]


def _last_line(text: str) -> str:
    """The line that says what is wrong: the last one that names an error, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or [""])[-1][:200]


def memory(pid: int) -> dict[str, int]:
    """VmHWM (peak), VmRSS, RssAnon and RssShmem of a process in bytes; empty once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    wanted = ("VmHWM", "VmRSS", "RssAnon", "RssShmem")
    fields = (line.split() for line in lines)
    return {f[0][:-1]: int(f[1]) * 1024 for f in fields if len(f) == 3 and f[0][:-1] in wanted}


def cpu_seconds(pid: int) -> float | None:
    """CPU seconds of all threads of a process, in clock ticks of 10 ms; None once it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return TICK_S * (int(fields[11]) + int(fields[12]))
