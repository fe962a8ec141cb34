"""Two hosts with a link of 1 Gbit/s each, as network namespaces of this machine; one worker a host.

    host 1 (worker) ==== veth, tbf both ways ==== master's host ==== veth, tbf both ways ==== host 2 (worker)

Each end of each link sends through a token bucket of 1 Gbit/s (`tc tbf`), so a link carries that much in both
directions at once. Needs root, iproute2 and a kernel with veth and tbf. Everything is removed afterwards.

A round's weights cross a link once each way, so with both ways in use at once a round cannot be shorter than
bytes / bandwidth, and without overlap not shorter than twice that.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ours
from measuring import HERE, MissingError, Setting, end, last_line, run_all, summary

PARAMETERS, QUICK = 10_000_000, 1_000_000
ROUNDS = 12
BITS_A_SECOND = 1_000_000_000
TBF = ["tbf", "rate", f"{BITS_A_SECOND}bit", "burst", "256kb", "latency", "50ms"]
WORKERS = 2
PORT = 5555
LIMIT_S = 120.0


def measure(setting: Setting) -> dict[str, Any]:
    parameters = QUICK if setting.quick else PARAMETERS
    nbytes = 4 * parameters
    figures: dict[str, Any] = {"parameters": parameters, "bits_a_second": BITS_A_SECOND, "missing": {}}
    figures["one_way_s"] = 8 * nbytes / BITS_A_SECOND
    with hosts() as (master, workers):
        setting.say("namespaces: plain TCP")
        figures["stream_seconds"] = stream(setting, master, workers[0], nbytes)
        setting.say(f"namespaces: ours, {parameters:,} parameters")
        figures["ours_seconds"] = summary(round_seconds(master, workers, parameters))
        setting.say("namespaces: gloo")
        try:
            figures["gloo_seconds"] = gloo(setting, workers, parameters)
        except MissingError as error:
            figures["missing"]["gloo"] = str(error)
    return figures


@contextlib.contextmanager
def hosts() -> Iterator[tuple[str, list[str]]]:
    """The namespaces of the master and of two workers' hosts; host i reaches the master at 10.77.i.1."""
    if os.geteuid() != 0:
        raise MissingError("network namespaces need root")
    if not (shutil.which("ip") and shutil.which("tc")):
        raise MissingError("iproute2 (ip and tc) is not installed")
    master, workers = f"ps{os.getpid()}m", [f"ps{os.getpid()}h{i + 1}" for i in range(WORKERS)]
    remove_leftovers()
    with contextlib.ExitStack() as stack:
        for name in (master, *workers):
            call("ip", "netns", "add", name)
            stack.callback(remove, name)  # its end of the link goes with it, and with that the other end
            call(*inside(name), "ip", "link", "set", "lo", "up")
        for i, name in enumerate(workers, 1):
            call(
                "ip",
                "link",
                "add",
                f"to{i}",
                "netns",
                master,
                "type",
                "veth",
                "peer",
                "name",
                "up0",
                "netns",
                name,
            )
            for where, link, end in ((master, f"to{i}", 1), (name, "up0", 2)):
                call(*inside(where), "ip", "address", "add", f"10.77.{i}.{end}/24", "dev", link)
                call(*inside(where), "ip", "link", "set", link, "up")
                call(*inside(where), "tc", "qdisc", "add", "dev", link, "root", *TBF)
            call(*inside(name), "ip", "route", "add", "default", "via", f"10.77.{i}.1")
        # hosts reach one another through the master's, for peers without a master
        call(*inside(master), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        yield master, workers


def inside(namespace: str) -> list[str]:
    return ["ip", "netns", "exec", namespace]


def call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise MissingError(f"{' '.join(command)}: {done.stderr.strip()}")


def remove(namespace: str) -> None:
    subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)


def remove_leftovers() -> None:
    """Remove the namespaces of a run that was killed."""
    named = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.splitlines()
    for line in named:
        match = re.match(r"ps(\d+)(m|h\d+)\b", line)
        if match and not Path(f"/proc/{match[1]}").exists():
            remove(line.split()[0])


def round_seconds(master: str, workers: list[str], parameters: int) -> list[float]:
    """A round of ours: a worker in each host, the master in its own."""
    running: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="namespaces-") as folder, contextlib.ExitStack() as stack:
        stack.callback(end, running)
        path = Path(folder)
        log = stack.enter_context((path / "log").open("wb"))
        flags = [*ours.job_flags(parameters, WORKERS, ROUNDS, path / "notes"), "--transport", "tcp"]
        serving = ["--bind", f"tcp://0.0.0.0:{PORT}", "--insecure", "--workers", str(WORKERS)]
        server = ours.python("paramserver.cli.server", str(ours.JOB), *serving, *flags)
        running.append(subprocess.Popen([*inside(master), *server], stderr=log))
        for i, name in enumerate(workers, 1):
            url = f"tcp://10.77.{i}.1:{PORT}"
            worker = ours.python("ps_worker.cli", "--master", url, "--job", str(ours.JOB))
            running.append(subprocess.Popen([*inside(name), *worker], stderr=log))
        deadline = time.monotonic() + LIMIT_S
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired as error:
                raise MissingError(f"ours was not done within {LIMIT_S:g} s") from error
        if any(process.returncode for process in running):
            raise MissingError(last_line((path / "log").read_text()))
        return ours.worst_gaps(ours.read_notes(path), WORKERS)


def stream(setting: Setting, master: str, worker: str, nbytes: int) -> dict[str, Any]:
    """Seconds for the bytes both ways at once over one plain connection."""
    script = [sys.executable, str(HERE / "peers" / "stream.py")]
    arguments = ["10.77.1.1", "5556", str(nbytes), "6"]
    roles = ((master, "listen"), (worker, "connect"))
    outputs = run_all([[*inside(where), *script, role, *arguments] for where, role in roles], LIMIT_S)
    return summary(outputs[1][0]["seconds"][1:])


def gloo(setting: Setting, workers: list[str], parameters: int) -> dict[str, Any]:
    """The same by gloo's all_reduce between the two hosts."""
    plan = json.dumps([[parameters, ROUNDS]])
    script = [setting.peers, str(HERE / "peers" / "gloo.py")]
    commands = [
        [
            *inside(name),
            "env",
            "GLOO_SOCKET_IFNAME=up0",
            *script,
            str(rank),
            str(WORKERS),
            "10.77.1.2",
            "5557",
            plan,
        ]
        for rank, name in enumerate(workers)
    ]
    outputs = run_all(commands, LIMIT_S)
    return summary(outputs[0][0]["seconds"])
