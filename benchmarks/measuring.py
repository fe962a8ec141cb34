"""What every part of the benchmark uses: a part's shape, summaries, facts about the machine, and /proc."""

import collections
import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import zmq

HERE = Path(__file__).parent
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
POLL_S = 0.05
LEAVE_S = 5.0
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


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
        "import importlib.metadata as m, json\nfound = {}\n"
        "for n in ('torch', 'ray', 'mpi4py', 'numpy'):\n"
        "  try: found['peers: ' + n] = m.version(n)\n"
        "  except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
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


def foreign_cpu_seconds() -> float:
    """CPU seconds since start that neither this process nor its ended descendants spent.

    A measurement during which this grows was disturbed. Daemons that outlive their parent count as foreign:
    some of Ray's do.
    """
    user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    own = os.times()
    return TICK_S * (user + nice + system) - sum(own[:4])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_all(commands: Sequence[Sequence[str]], timeout_s: float) -> list[list[dict[str, Any]]]:
    """Run processes beside one another; the JSON objects each one printed, a line each.

    Raises `MissingError` with what the first one to fail said last. Nothing is left running.
    """
    running: list[subprocess.Popen[bytes]] = []
    deadline = time.monotonic() + timeout_s
    with contextlib.ExitStack() as stack:
        files = [[stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)] for _ in commands]
        stack.callback(end, running)
        try:
            for command, (out, err) in zip(commands, files, strict=True):
                running.append(subprocess.Popen(command, stdout=out, stderr=err, env=os.environ | ONE_THREAD))
        except FileNotFoundError as error:
            raise MissingError(f"{error.filename} is not installed") from error
        while any(process.poll() is None for process in running):
            if any(process.returncode for process in running):
                break  # the others would wait for it
            if time.monotonic() > deadline:
                raise MissingError(f"not done within {timeout_s:g} s")
            time.sleep(POLL_S)
        outputs = []
        for process, (out, err) in zip(running, files, strict=True):
            if process.returncode:
                raise MissingError(last_line(_text(err)) or f"exit code {process.returncode}")
            outputs.append([json.loads(line) for line in _text(out).splitlines() if line.startswith("{")])
    return outputs


def end(processes: Sequence[subprocess.Popen[Any]]) -> None:
    """Ask what still runs of these processes to leave, and kill what does not."""
    left = [process for process in processes if process.poll() is None]
    for process in left:
        process.terminate()  # mpirun and Ray end their own children so
    deadline = time.monotonic() + LEAVE_S
    for process in left:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def last_line(text: str) -> str:
    """The line that says what is wrong: the last one that names an error, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or [""])[-1][:200]


def memory(pid: int) -> dict[str, int]:
    """What a process has resident, in bytes; empty once it is gone.

    VmHWM (peak), VmRSS, RssAnon, RssShmem; and `own`: what is there because of it, so without segments that
    others made and it only sees.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    wanted = ("VmHWM", "VmRSS", "RssAnon", "RssShmem")
    fields = (line.split() for line in lines)
    found = {f[0][:-1]: int(f[1]) * 1024 for f in fields if len(f) == 3 and f[0][:-1] in wanted}
    if found:
        found["own"] = found["VmRSS"] - found["RssShmem"] + _own_segments(pid)
    return found


def _own_segments(pid: int) -> int:
    """Bytes of the segments that a process made.

    Python's mmap keeps a descriptor of its own for each; who made one has a second, to offer it by.
    """
    seen: list[os.stat_result] = []
    for path in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            if os.readlink(path).startswith("/memfd:paramserver"):
                seen.append(path.stat())
    descriptors = collections.Counter(one.st_ino for one in seen)
    return sum({one.st_ino: one.st_size for one in seen if descriptors[one.st_ino] > 1}.values())


def cpu_seconds(pid: int) -> float | None:
    """CPU seconds of all threads of a process, in clock ticks of 10 ms; None once it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return TICK_S * (int(fields[11]) + int(fields[12]))
