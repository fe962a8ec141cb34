"""Which process listens at an address of this machine, if this user may share memory with it.

See proc(5) and proc_pid_net(5).
"""

import contextlib
import ipaddress
import os
from collections.abc import Iterator

from paramserver.admission.peer_process import end, has_socket, plain

LISTENS = "0A"


def listener(address: str, port: int) -> int:
    """Its process id; 0 where it is another user's, in a container of its own, elsewhere, or none."""
    inodes = set(_sockets_at(plain(address), port))
    for name in os.listdir("/proc") if inodes else ():
        folder = f"/proc/{name}"
        with contextlib.suppress(OSError):  # it is another's, or has ended
            if name.isdecimal() and _may_share(folder) and any(has_socket(folder, i) for i in inodes):
                return int(name)
    return 0


def _may_share(folder: str) -> bool:
    is_own = os.stat(folder).st_uid == os.getuid()
    return is_own and os.readlink(f"{folder}/ns/pid") == os.readlink("/proc/self/ns/pid")


def _sockets_at(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> Iterator[str]:
    """The inodes of the sockets that listen there, in this network namespace."""
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/self/net/{name}") as table:
            next(table)  # the head
            for line in table:
                fields = line.split(None, 10)
                if fields[3] != LISTENS:
                    continue
                there, its_port = end(fields[1])
                if its_port == port and (there == address or there.is_unspecified):
                    yield fields[9]
