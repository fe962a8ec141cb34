"""Shared memory between processes of one user on one machine: sealed memory files without a name.

A segment is a memfd. It has no name in any folder, so nothing is left when its processes are gone,
whatever killed them, and the size of /dev/shm does not matter. It is offered as (pid, descriptor) and
opened through /proc, which the kernel allows for processes of the same user in the same PID namespace only.
Its size is sealed: whoever offers it cannot cut it short under the one who has mapped it.

See memfd_create(2), fcntl(2) "File Sealing", proc_pid_fd(5).
"""

import contextlib
import dataclasses
import fcntl
import mmap
import os
import stat
from pathlib import Path

import numpy as np

from ps_common.arrays import HostArray
from ps_common.errors import PeerError

NAME = "paramserver"
SIZE_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_CONTROL_GROUP = Path("/sys/fs/cgroup")  # as a container sees its own
_LINK = f"/memfd:{NAME} (deleted)"


class SegmentsUnavailable(Exception):
    """There is no shared memory to be had here; the reason, for a person."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """A mapped segment. `vector` is all of it, 1-d uint8; it stays mapped while a view of it lives."""

    vector: HostArray
    descriptor: int  # of the process that made it; -1 where it was attached

    @property
    def offer(self) -> tuple[int, int]:
        """What another process needs to attach: (pid, descriptor)."""
        return os.getpid(), self.descriptor

    def close(self) -> None:
        """Nobody can attach any more; who has attached keeps the memory."""
        if self.descriptor >= 0:
            os.close(self.descriptor)


def here() -> str:
    """Names the machine, PID namespace and user: processes with the same answer can share memory."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}:{os.getuid()}"
    except OSError:
        return ""


def create(nbytes: int) -> Segment:
    """A new zeroed segment. Raises `SegmentsUnavailable`."""
    if not hasattr(os, "memfd_create"):
        raise SegmentsUnavailable("this system has no memfd_create")
    if nbytes > room():  # asked first: the system would hand out pages until it has to kill a process
        raise SegmentsUnavailable(f"no segment of {nbytes} bytes can be made: {room()} bytes are free")
    try:
        descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise SegmentsUnavailable(f"no segment can be made here: {error}") from error
    try:
        os.posix_fallocate(descriptor, 0, max(1, nbytes))  # fails now rather than with SIGBUS later
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SIZE_SEALS)
        return Segment(_map(descriptor, nbytes), descriptor)
    except OSError as error:
        os.close(descriptor)
        raise SegmentsUnavailable(f"no segment of {nbytes} bytes can be made here: {error}") from error


def attach(pid: int, descriptor: int, nbytes: int) -> Segment:
    """Map the segment another process offers.

    Raises `PeerError` where the offer is not a sealed segment of this user of exactly that size, and
    `SegmentsUnavailable` where the system does not let one process see the other's.
    """
    path = f"/proc/{pid}/fd/{descriptor}"
    try:
        if os.readlink(path) != _LINK:  # looked at before it is opened: opening may have effects of its own
            raise PeerError(f"descriptor {descriptor} of process {pid} is no segment of this project")
        own = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise SegmentsUnavailable(f"the segment of process {pid} cannot be opened: {error}") from error
    try:
        status = os.fstat(own)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid():
            raise PeerError(f"the segment of process {pid} belongs to user {status.st_uid}, not to this one")
        if status.st_size != max(1, nbytes):
            raise PeerError(f"the segment of process {pid} has {status.st_size} bytes, not {nbytes}")
        if fcntl.fcntl(own, fcntl.F_GET_SEALS) & SIZE_SEALS != SIZE_SEALS:
            raise PeerError(f"the segment of process {pid} is not sealed against being cut short")
        return Segment(_map(own, nbytes), -1)
    except OSError as error:
        raise SegmentsUnavailable(f"the segment of process {pid} cannot be mapped: {error}") from error
    finally:
        os.close(own)


def room() -> int:
    """Bytes this process may still take: the machine's, or its control group's where that is less."""
    with open("/proc/meminfo") as file:
        fields = dict(line.split(":", 1) for line in file)
    free = int(fields["MemAvailable"].split()[0]) * 1024
    with contextlib.suppress(OSError, ValueError):  # no control group of version 2, or one without a limit
        most, used = (int((_CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        parts = dict(line.split() for line in (_CONTROL_GROUP / "memory.stat").read_text().splitlines())
        free = min(free, most - used + int(parts.get("inactive_file", 0)))  # files read: dropped on demand
    return free


def _map(descriptor: int, nbytes: int) -> HostArray:
    memory = mmap.mmap(descriptor, max(1, nbytes), mmap.MAP_SHARED | mmap.MAP_POPULATE)
    return np.frombuffer(memory, np.uint8)[:nbytes]
