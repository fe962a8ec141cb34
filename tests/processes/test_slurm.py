"""A real Slurm of one node, and the batch script of docs/launchers.md as it stands there.

Its daemons, of Debian's packages, are started as children of this test, with a configuration, ports and a
key of their own, and end with it.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paramserver import checkpoint
from processes import jobs
from processes.world import BIN, World, eventually

DOCS = (Path(__file__).parents[2] / "docs" / "launchers.md").read_text()
SBIN = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1
SlurmdParameters=config_overrides
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Slurm:
    """The daemons, and what people type."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._folder = world, folder
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{BIN}{os.pathsep}{SBIN}",
        }  # fmt: skip

    def start(self) -> None:
        folder, user = self._folder, subprocess.check_output(["/usr/bin/id", "-un"], text=True).strip()
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        host, ports = socket.gethostname().partition(".")[0], free_ports(2)
        text = CONFIGURATION.format(host=host, ports=ports, user=user, folder=folder)
        (folder / "slurm.conf").write_text(text)
        files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid"}
        files |= {"log-file": "munge.log", "seed-file": "munge.seed"}
        self._daemon("munged", "--foreground", "--force", *(f"--{k}={folder / v}" for k, v in files.items()))
        eventually((folder / "munge.socket").exists, "munged does not listen")
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D", "-N", "node1")
        eventually(lambda: "idle" in self.type("sinfo", "-h", "-o", "%T"), "no node is idle", 60.0)

    def _daemon(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.out").open("wb") as out:
            words = [str(shutil.which(name, path=SBIN)), *arguments]
            self._daemons.append(
                subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self._environment
                )
            )

    def type(self, *words: Any) -> str:
        """What a command says, whether it works or not."""
        done = subprocess.run(
            list(map(str, words)),
            capture_output=True,
            text=True,
            cwd=self._world.folder,
            env=self._environment,
            timeout=60,
        )
        return done.stdout + done.stderr

    def close(self) -> None:
        if self._daemons[1:]:
            self.type("scancel", "--user", str(os.getuid()))
            eventually(lambda: not self.type("squeue", "-h").strip(), "a job does not end", 60.0)
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(30.0)


@pytest.fixture
def slurm(world: World) -> Iterator[Slurm]:
    missing = [
        name for name in ("munged", "slurmctld", "slurmd", "srun") if not shutil.which(name, path=SBIN)
    ]
    if missing and "CI" not in os.environ:
        pytest.skip(f"there is no {missing[0]} here: `make launchers` installs it")
    assert not missing, f"there is no {missing[0]}: `make launchers` installs it"
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path must be short
    folder.chmod(0o755)
    slurm = Slurm(world, folder)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.close()
        shutil.rmtree(folder)


def test_the_script_of_the_page_saves_before_its_time_is_over_and_goes_on(
    world: World, slurm: Slurm, undisturbed: Any
) -> None:
    block = re.search(r"```bash\n(#!/bin/bash.*?)```", DOCS, re.DOTALL)
    assert block
    (world.folder / "digits.sbatch").write_text(block[1])
    world.job(jobs.GATED, "digits.py")
    world.hold()
    said = slurm.type("sbatch", "--output=log", "digits.sbatch")
    assert "Submitted batch job" in said
    job, log, kept = said.split()[-1], world.folder / "log", world.folder / "kept"

    def logged(text: str) -> None:
        eventually(lambda: text in log.read_text(), f"the log does not say {text!r}", 60.0)

    eventually(world.held_pids, "no worker came to the gate", 60.0)
    slurm.type("scancel", "--signal=USR1", "--batch", job)  # what --signal=B:USR1@60 does
    logged("asked for a checkpoint: writing round")
    logged("stopping (asked to stop)")
    world.release()
    logged("stopped: asked to stop")
    assert checkpoint.checkpoints(kept)
    assert "finished:" not in log.read_text()

    def goes_on() -> bool:
        """A job that was put back may begin after two minutes, unless it is told to now."""
        if slurm.type("squeue", "-h", "-t", "PD", "-o", "%i").strip() == job:
            slurm.type("scontrol", "update", f"jobid={job}", "StartTime=now")
        return "resuming run" in log.read_text()

    eventually(goes_on, "the job does not begin again", 60.0)
    logged("finished: 12 rounds")
    assert f"weights {undisturbed(jobs.GATED)[:16]}" in log.read_text()
    assert "Slurm: process 0 of 3" in log.read_text()
    assert (world.folder / "digits.safetensors").exists()
