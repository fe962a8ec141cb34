"""Addresses of the form tcp://host:port, and which internet protocol reaches a host."""

import contextlib
import ipaddress
import re
import socket
import urllib.parse

WILDCARDS = ("*", "0.0.0.0", "::")  # noqa: S104 - to be recognised, not bound
_HOST = re.compile(r"[A-Za-z0-9._:%*-]+")  # others ZeroMQ does not take


def split(url: str) -> tuple[str, int] | None:
    """Host and port of tcp://host:port; None for anything else."""
    parts = urllib.parse.urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        return None
    host, is_bare = parts.hostname or "", not (parts.path or parts.query or parts.fragment or parts.username)
    if parts.scheme != "tcp" or port is None or not is_bare or not _HOST.fullmatch(host):
        return None
    return host, port


def join(host: str, port: int) -> str:
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return (mapped or address).is_loopback
    return host == "localhost"


def needs_ipv6(host: str) -> bool:
    """Whether the host is an IPv6 address, or a name that has no other.

    ZeroMQ asked for IPv6 takes `localhost` as ::1 alone, where nobody listens who bound 127.0.0.1; so it is
    asked for only where there is no choice. A name that is not known yet may turn up: IPv4 then.
    """
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).version == 6
    return not _has(host, socket.AF_INET) and _has(host, socket.AF_INET6)


def reachable(url: str) -> str:
    """The address to tell others: where `url` is bound to every interface, by this machine's name."""
    parts = split(url)
    if parts is None or parts[0] not in WILDCARDS:
        return url
    return join(socket.gethostname(), parts[1])


def _has(host: str, family: socket.AddressFamily) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None, family))
    except OSError:
        return False
