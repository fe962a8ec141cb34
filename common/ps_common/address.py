"""Addresses of the form tcp://host:port, and which internet protocol reaches a host."""

import contextlib
import ipaddress
import re
import socket
import urllib.parse

WILDCARDS = ("*", "0.0.0.0", "::")  # noqa: S104 - to be recognised, not bound
# For documentation, RFC 5737 and 3849: the routes to them are those to anywhere.
_ELSEWHERE = ((socket.AF_INET, "203.0.113.1"), (socket.AF_INET6, "2001:db8::1"))
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


def with_port_of(url: str, other: str) -> str:
    """`url` at the port of `other`; as it is, where either is no address."""
    here, there = split(url), split(other)
    return join(here[0], there[1]) if here and there else url


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
    """The address to tell others: where `url` is bound to every interface, by this machine's name.

    Some systems give the name to their loopback alone, or to nothing: then by the address of its routes.
    """
    parts = split(url)
    if parts is None or parts[0] not in WILDCARDS:
        return url
    name = socket.gethostname()
    is_known = not all(is_loopback(found) for found in _means(name))
    return join(name if is_known else _by_route() or name, parts[1])


def is_own(host: str) -> bool:
    """Whether a host is this machine: it has the address."""
    for found in _means(host):
        family = socket.AF_INET6 if ":" in found else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as trying:
            trying.bind((found, 0))
            return True
    return False


def _by_route() -> str:
    """The address of this machine that its routes to others begin with; empty: there are none."""
    for family, there in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((there, 9))  # of UDP: nothing is sent
            return str(asking.getsockname()[0])
    return ""


def _has(host: str, family: socket.AddressFamily) -> bool:
    return bool(_means(host, family))


def _means(host: str, family: int = socket.AF_UNSPEC) -> list[str]:
    """The addresses of a name; none where it is not known."""
    try:
        answers = socket.getaddrinfo(host, None, family)
    except (OSError, UnicodeError):  # a label that is too long for a name
        return []
    return [str(place[0]) for *_, place in answers]
