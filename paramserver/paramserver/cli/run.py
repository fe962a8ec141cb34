"""ps-run: this process's part of a run, whatever has started it, and as many of it: torchrun, srun, mpiexec.

Rank 0 is a master and a worker, each a child; every other rank waits for the master's address and becomes a
worker itself, so that a signal to it is one to the worker.
"""

import contextlib
import hashlib
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from paramserver import address_file
from paramserver.cli.driving import drive
from paramserver.cli.launchers import Launched, detect
from paramserver.cli.options import CommonOptions, common_options
from paramserver.cluster import LocalCluster
from ps_common import address, arrays, command
from ps_common.errors import MasterUnreachable, UsageError
from ps_common.key_folder import KeyFolder
from ps_common.saying import say
from ps_common.signals import ASK_TO_SAVE, ASK_TO_STOP, STOP_SIGNALS

POLL_S = 0.1
LINGER_S = 30.0  # at the end, for ranks that have not come yet
TELL_AFTER_S = 1.0  # without an address, a person wants to know
_GIVEN = ("rank", "size", "local_rank", "local_size", "master_host", "port", "run")
_Count, _Number = click.IntRange(1), click.IntRange(0)
_File = click.Path(dir_okay=False, path_type=Path)


@click.command(context_settings={"auto_envvar_prefix": "PS", "show_default": True})
@click.argument("job")
@click.option("--device", default="auto", metavar="auto|cpu|cuda[:i]", help="auto, cuda: by local rank.")
@click.option("--threads", type=click.IntRange(1, 1024), help="BLAS threads of each worker (other bits).")
@click.option(
    "--restarts",
    default=10,
    type=_Number,
    metavar="N",
    help="How often the master and rank 0's worker are started again when they were killed.",
)
@click.option("--workers", default="1", metavar="MIN[:MAX]", help="Go on as long as so many are here.")
@click.option("--begin-with", type=_Count, metavar="N", help="Workers to begin with, instead of all.")
@click.option("--rank", type=_Number, metavar="N", help="Which this is; by default as the launcher says.")
@click.option("--size", type=_Count, metavar="N", help="How many there are.")
@click.option("--local-rank", type=_Number, metavar="N", help="Which this is on its host.")
@click.option("--local-size", type=_Count, metavar="N", help="How many there are on its host.")
@click.option("--master-host", metavar="HOST", help="Where rank 0 is.")
@click.option(
    "--master-port", "port", envvar="PS_MASTER_PORT", type=int, metavar="N", help="Its master's port."
)
@click.option(
    "--address-file",
    type=_File,
    metavar="FILE",
    help="On a file system that all share: tell the master's address there, at any port.",
)
@click.option("--interface", metavar="NAME", help="Network card of rank 0 to tell the others of, there.")
@click.option("--run-id", "run", envvar="PS_RUN_ID", metavar="TEXT", help="Tells this start from others.")
@click.option("--insecure", is_flag=True, help="Allow several hosts without keys.")
@click.option(
    "--master-timeout",
    default=120.0,
    metavar="SECONDS",
    type=click.FloatRange(0.1),
    help="Give up after this silence.",
)
@common_options
def cli(job: str, **given: Any) -> int:
    """Train JOB with all processes that a launcher has started so: one master, and a worker each."""
    launched = detect(os.environ, {name: given.pop(name) for name in _GIVEN}, _given_by())
    part = Part(job, launched, given)
    if not part.options.quiet:
        say(f"ps-run: {part}")
    return part.lead() if launched.rank == 0 else part.follow()


def _given_by() -> str:
    source = click.get_current_context().get_parameter_source("rank")
    return "PS_RANK" if source is click.core.ParameterSource.ENVIRONMENT else "flags"


class Part:
    """What one rank does. given: the options, but for those that `launched` is made of."""

    def __init__(self, job: str, launched: Launched, given: dict[str, Any]) -> None:
        self._job, self._launched = job, launched
        self._threads, self._restarts = given.pop("threads"), given.pop("restarts")
        self._is_open: bool = given.pop("insecure")
        self._timeout_s: float = given.pop("master_timeout")
        self._file: Path | None = given.pop("address_file")
        self._card: str | None = given.pop("interface")
        if self._card is not None and self._file is None:
            raise UsageError(
                "--interface is told to the others by --address-file FILE; without one, say the card's "
                "address or name as --master-host"
            )
        self._owner = None if self._file else os.getuid()
        self._members = ["--workers", given.pop("workers")]
        self._members += ["--begin-with", str(given.pop("begin_with") or launched.size)]
        self._device = device_of(given.pop("device"), launched.local_rank)
        self.options = CommonOptions.of(given)
        self._keys = None if self.options.keys is None else KeyFolder(self.options.keys)
        self._run = launched.run
        if self._file is None and launched.is_one_host:
            self._file = self._file_of_this_host()
        self._host = self._host_of_master()
        self._url: str | None = None  # of the master, as its file says

    def __str__(self) -> str:
        launched = self._launched
        where = f"at {self._address}" if self._file is None else f"told in {self._file}"
        who = f"{launched.kind}: process {launched.rank} of {launched.size}"
        return f"{who}, on {socket.gethostname()}; the master is {'here' if launched.rank == 0 else where}"

    def _file_of_this_host(self) -> Path:
        """Where processes of one host meet without a port to choose."""
        if not self._run:  # MPICH does not tell its runs apart
            self._run = f"{self._launched.kind} {launcher_pid()}"
        name = hashlib.sha256(self._run.encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"paramserver-{os.getuid()}-{name}"

    def _host_of_master(self) -> str:
        """What the master binds, if it is this host's own, and where others find it."""
        launched = self._launched
        if launched.is_one_host:
            return "127.0.0.1"
        host = launched.master_host
        if host is None and self._file is None:
            raise UsageError(
                f"{launched.kind} does not say where rank 0 is: give --master-host (PS_MASTER_HOST), or "
                "--address-file FILE on a file system that all hosts share"
            )
        return host or socket.gethostname()

    @property
    def _port(self) -> int:
        return 0 if self._file is not None else self._launched.port

    @property
    def _address(self) -> str:
        return address.join(self._host, self._launched.port)

    # -- rank 0 ---------------------------------------------------------------------------------------

    def lead(self) -> int:
        """Be the master, and a worker."""
        flags = [*self._members, "--linger", str(LINGER_S), *self.options.to_flags()]
        if self._keys is not None:
            for rank in range(self._launched.size):
                self._keys.bundle_for(f"rank-{rank}")
            flags += ["--keys", str(self._keys.path)]
        if address.is_loopback(self._host):
            bind = address.join(self._host, self._port)
        else:
            bind = address.join("::" if address.needs_ipv6(self._host) else "0.0.0.0", self._port)  # noqa: S104
            flags += ["--insecure"] if self._is_open else []
            if self._card is not None:
                flags += ["--interface", self._card]
            elif self._launched.master_host is not None:
                flags += ["--advertise", address.join(self._host, self._port)]
        cluster = LocalCluster(
            self._job,
            1,
            server_flags=flags,
            worker_flags=self._worker_flags,
            devices=[self._device],
            show=True,
            restarts=self._restarts,
            bind=bind,
            expects_others=self._launched.size > 1,
            leave_with=os.getppid() if self._launched.leaves_with_parent else None,
        )
        return drive(cluster, "ps-run", self._telling(cluster))

    @contextlib.contextmanager
    def _telling(self, cluster: LocalCluster) -> Iterator[None]:
        """Within it, the master's address stands where the others look for it."""
        if self._file is None:
            yield
            return
        url = cluster.address
        address_file.publish(self._file, url, self._run)
        try:
            yield
        finally:
            address_file.withdraw(self._file, url, self._run)

    @property
    def _key(self) -> Path | None:
        """Of this rank; rank 0 makes it."""
        return None if self._keys is None else self._keys.path / f"rank-{self._launched.rank}.key"

    @property
    def _worker_flags(self) -> list[str]:
        flags = ["--name", f"rank-{self._launched.rank}", "--master-timeout", str(self._timeout_s)]
        flags += ["--shutdown-timeout", str(self.options.shutdown_timeout)]
        flags += ["--threads", str(self._threads)] if self._threads else []
        flags += [] if self._key is None else ["--key", str(self._key)]
        return [*flags, "--quiet"] if self.options.quiet else flags

    # -- the others -----------------------------------------------------------------------------------

    def follow(self) -> int:
        """Become a worker, once the master is known; returns only where it is asked to leave before."""
        signal.signal(ASK_TO_SAVE, signal.SIG_IGN)  # the master's affair, but Slurm sends it to all
        for number in (*STOP_SIGNALS, ASK_TO_STOP):
            signal.signal(number, _leave)
        try:
            self._become_worker(self._wait())
        except _Asked:
            return 0

    def _become_worker(self, master: str) -> NoReturn:
        flags = ["--master", master, "--job", self._job, "--device", self._device, *self._worker_flags]
        if self._launched.leaves_with_parent:
            flags += ["--leave-with", str(os.getppid())]
        sys.stderr.flush()
        # What comes before the worker has its handlers waits for them: its loop lets it in.
        signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, ASK_TO_STOP))
        os.execv(sys.executable, [sys.executable, "-P", "-m", "ps_worker.cli", *flags])  # noqa: S606

    def _wait(self) -> str:
        """Wait for what rank 0 makes: the master's address, and the key to it."""
        began, has_told, parent = time.monotonic(), False, os.getppid()
        while (missing := self._missing()) is not None:
            waited_s = time.monotonic() - began
            if waited_s > self._timeout_s:
                raise MasterUnreachable(
                    f"there is no {missing} after {self._timeout_s:g} s; is rank 0 started, and is it on a "
                    "file system that both share?"
                )
            if self._launched.leaves_with_parent and os.getppid() != parent:
                raise _Asked
            if waited_s > TELL_AFTER_S and not has_told and not self.options.quiet:
                has_told = True
                say(f"ps-run: rank {self._launched.rank} waits for the {missing}")
            time.sleep(POLL_S)
        return self._address if self._url is None else self._url

    def _missing(self) -> str | None:
        """What is not there yet, of what rank 0 makes."""
        if self._key is not None and not self._key.exists():
            return f"key of its own, {self._key}"
        if self._file is None:
            return None
        self._url = address_file.find(self._file, self._run, self._owner)
        return f"address of the master in {self._file}" if self._url is None else None


class _Asked(BaseException):
    """Raised by a signal, or because the launcher is gone: nothing has begun here yet."""


def _leave(number: int, frame: FrameType | None) -> None:
    raise _Asked


def device_of(name: str, local_rank: int) -> str:
    """Where one of the processes of a host computes: all of its devices, in turn."""
    places = arrays.devices(name)
    return str(places[local_rank % len(places)])


def launcher_pid() -> int:
    """The process that started this one's session: the same for all processes that it started here."""
    status = Path(f"/proc/{os.getsid(0)}/stat").read_text()
    return int(status.rpartition(")")[2].split()[1])


def main() -> None:
    sys.exit(command.run(cli, "ps-run"))


if __name__ == "__main__":
    main()
