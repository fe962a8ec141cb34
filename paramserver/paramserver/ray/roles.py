"""What each part of a run on Ray starts as its process: the very commands that other launchers start.

A role travels to its actor with all that the part needs, its keys too. It must not know Ray.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from paramserver.folder_lock import FolderLock
from ps_common.errors import UsageError

MASTER = "master"


@dataclasses.dataclass(frozen=True)
class Role:
    """name: of the part. flags: further ones of its command.

    keys: files to be written to a folder of the part's own, by their name there; none: the run has no keys.
    is_open: whether it may be reached without keys.
    """

    name: str
    flags: tuple[str, ...] = ()
    keys: dict[str, bytes] = dataclasses.field(default_factory=dict, repr=False)
    is_open: bool = False

    listens = True  # and so has an address
    ends_the_run = False  # asked to stop, it is the one that ends the others
    leave_s = 1.0  # time that it may take when it is asked to leave

    def needs(self, addresses: Mapping[str, str]) -> tuple[str, ...] | None:
        """The addresses that its process is to be given; None as long as one is not known."""
        return ()

    def command(self, needs: tuple[str, ...], folder: Path, bind: str, is_first: bool) -> list[str]:
        """Arguments of Python for its process.

        folder: its own, for files. bind: where to listen. is_first: the part has never listened before.
        """
        raise NotImplementedError

    def may_start(self) -> bool:
        """Whether nothing that is left of a former process is in the way."""
        return True

    def _listening(self, folder: Path, bind: str) -> list[str]:
        flags = ["--bind", bind, "--address-file", str(folder / "address")]
        flags += ["--keys", str(folder / "keys")] if self.keys else []
        return [*flags, "--insecure"] if self.is_open else flags


@dataclasses.dataclass(frozen=True)
class Master(Role):
    """job: a file's path, or package.module:name. servers: names of the averaging servers' parts.

    begin_with: workers to begin the run with. checkpoint: on a file system that all nodes share.
    wants_model: whether to bring the trained model.
    """

    job: str = ""
    servers: tuple[str, ...] = ()
    begin_with: int = 1
    checkpoint: Path | None = None
    wants_model: bool = False

    ends_the_run = True
    leave_s = 30.0  # it writes a checkpoint

    def needs(self, addresses: Mapping[str, str]) -> tuple[str, ...] | None:
        return _all_of(self.servers, addresses)

    def command(self, needs: tuple[str, ...], folder: Path, bind: str, is_first: bool) -> list[str]:
        flags = [*self.flags, *self._listening(folder, bind), "--preemptible", "--trust-workers"]
        flags += ["--json", str(folder / "record.json")]
        flags += ["--out", str(folder / "model.safetensors")] if self.wants_model else []
        flags += ["--servers", ",".join(needs)] if needs else []
        flags += [] if self.checkpoint is None else ["--checkpoint", str(self.checkpoint)]
        # Of those who were there for the first master some may have gone: a later one begins with anybody.
        # Nor does it begin where the first was told to: it goes on.
        flags += ["--begin-with", str(self.begin_with)] if is_first else ["--resume", "auto"]
        return ["-m", "paramserver.cli.server", self.job, *flags]

    def may_start(self) -> bool:
        """A master that was cut off with its node may be about to end, and has the folder until then."""
        if self.checkpoint is None or not self.checkpoint.is_dir():
            return True
        with contextlib.suppress(UsageError), FolderLock(self.checkpoint):
            return True
        return False


@dataclasses.dataclass(frozen=True)
class Server(Role):
    """An averaging server."""

    def command(self, needs: tuple[str, ...], folder: Path, bind: str, is_first: bool) -> list[str]:
        return ["-m", "paramserver.cli.average", *self.flags, *self._listening(folder, bind)]


@dataclasses.dataclass(frozen=True)
class Worker(Role):
    job: str = ""

    listens = False

    def needs(self, addresses: Mapping[str, str]) -> tuple[str, ...] | None:
        return _all_of((MASTER,), addresses)

    def command(self, needs: tuple[str, ...], folder: Path, bind: str, is_first: bool) -> list[str]:
        flags = [*self.flags, "--master", *needs, "--job", self.job, "--name", self.name]
        flags += [f"--key={folder / 'keys' / name}" for name in self.keys]
        return ["-m", "ps_worker.cli", *flags]


def _all_of(names: tuple[str, ...], addresses: Mapping[str, str]) -> tuple[str, ...] | None:
    return tuple(addresses[name] for name in names) if addresses.keys() >= set(names) else None
