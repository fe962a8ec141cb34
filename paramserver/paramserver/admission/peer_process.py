"""Which process of this machine is at the other end of a connection, as the kernel says.

A worker says its process id when it joins, and that id opens memory (`segments.py`) and is watched
(`watched.py`). So it is proven first: the process owns the socket that the connection ends in. See proc(5)
and proc_pid_net(5).
"""

import contextlib
import ipaddress
import os
import socket
import sys

FILES_MAX = 4096  # of the process, looked through; a worker has some dozens
ESTABLISHED = "01"

Place = tuple[str, int]


def is_end_of(descriptor: int, pid: int) -> bool:
    """Whether process `pid` owns the other end of the connection `descriptor`.

    False where that is not to be seen: another machine or user, a network in between that changes addresses,
    another process that passes the connection on.
    """
    with contextlib.suppress(OSError, ValueError), socket.socket(fileno=os.dup(descriptor)) as connection:
        there, here = connection.getpeername()[:2], connection.getsockname()[:2]
        folder = f"/proc/{pid}"
        if os.stat(folder).st_uid != os.getuid() or not _sees(folder, there):
            return False
        inode = _socket_of(folder, there, here)
        return inode is not None and has_socket(folder, inode)
    return False


def _sees(folder: str, there: Place) -> bool:
    """Whether an address means the same to that process: each network namespace has a loopback of its own."""
    if not plain(there[0]).is_loopback:
        return True
    return os.readlink(f"{folder}/ns/net") == os.readlink("/proc/self/ns/net")


def _socket_of(folder: str, local: Place, remote: Place) -> str | None:
    """The inode of the socket with these ends in the process's network namespace."""
    wanted = (plain(local[0]), local[1], plain(remote[0]), remote[1])
    ends = (f":{local[1]:04X}", f":{remote[1]:04X}")  # looked for first: addresses take longer to read
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), open(f"{folder}/net/{name}") as table:
            next(table)  # the head
            for line in table:
                fields = line.split(None, 10)
                if not (fields[1].endswith(ends[0]) and fields[2].endswith(ends[1])):
                    continue
                found = (*end(fields[1]), *end(fields[2]))
                if found == wanted and fields[3] == ESTABLISHED:
                    return fields[9]
    return None


def has_socket(folder: str, inode: str) -> bool:
    """Whether the process has a socket open."""
    wanted = f"socket:[{inode}]"
    with os.scandir(f"{folder}/fd") as entries:
        for count, entry in enumerate(entries):
            if count >= FILES_MAX:
                return False
            with contextlib.suppress(OSError):  # closed meanwhile
                if os.readlink(entry.path) == wanted:
                    return True
    return False


def end(text: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    """An end as the kernel prints it: words of the address in this machine's order of bytes, and the port."""
    address, port = text.split(":")
    words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    return plain(ipaddress.ip_address(packed)), int(port, 16)


def plain(
    address: str | ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address; that of IPv4 which is written as one of IPv6 is one of IPv4. Its interface is left out."""
    if isinstance(address, str):
        address = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address
