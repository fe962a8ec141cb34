"""What it means that somebody is reached at an address, or is not: rules, in words that say what to do.

    Found      what was seen on the way there; `probing.py` looks
    Finding    one line for a person: the check, how it went, and why

It must not know sockets, names or clocks.
"""

import dataclasses
from collections.abc import Iterator

from ps_common.errors import MasterUnreachable

OK, WARNING, WRONG = "ok", "warning", "wrong"
OPEN, REFUSED, FILTERED = "open", "refused", "filtered"  # how a port is; else, what the system says
GREETING_BYTES = 64  # of ZMTP 3 (RFC 37): signature, version, mechanism, as-server, filler
SHOWN_MAX = 40  # bytes of what somebody else says


@dataclasses.dataclass(frozen=True)
class Finding:
    """exit_code: what a worker ends with because of it; 0: it does not."""

    check: str
    verdict: str  # OK, WARNING or WRONG
    text: str
    exit_code: int = 0


@dataclasses.dataclass(frozen=True)
class Found:
    """What was seen on the way to tcp://host:port; what is empty was not come to.

    addresses: what the name means, the one that is called first. no_name: why it means nothing.
    own: the address that is called from. card: the network card that has it. no_route: why there is no way.
    port_is: OPEN, REFUSED, FILTERED, or an error of the system. said: the first bytes that came. is_closed:
    whether the connection was ended then. patience_s: how long each was waited for.
    """

    host: str
    port: int
    patience_s: float
    addresses: tuple[str, ...] = ()
    no_name: str = ""
    own: str = ""
    card: str = ""
    no_route: str = ""
    port_is: str = ""
    said: bytes = b""
    is_closed: bool = False

    @property
    def where(self) -> str:
        """The port, for a person."""
        there = self.addresses[0] if self.addresses else self.host
        return f"port {self.port} of {self.host}" + (f" ({there})" if there != self.host else "")

    @property
    def mechanism(self) -> str:
        """NULL or CURVE, as ZeroMQ's greeting says; empty: it was none."""
        said = self.said
        if len(said) < GREETING_BYTES or said[0] != 0xFF or not said[9] & 1 or said[10] < 3:
            return ""
        return said[12:32].rstrip(b"\0").decode("ascii", "replace")


def findings(found: Found) -> Iterator[Finding]:
    """Name, route, port and greeting, up to the first that is wrong."""
    for rule in (_name, _route, _port, _greeting):
        finding = rule(found)
        yield finding
        if finding.verdict == WRONG:
            return


def why_unreachable(found: Found) -> str:
    """Why no master answers there, as far as can be seen from here."""
    wrong = next((finding.text for finding in findings(found) if finding.verdict == WRONG), None)
    return wrong or (
        f"{found.where} speaks ZeroMQ, but not as a master: is it the master's port, or an averaging "
        "server's, and is the master of this version?"
    )


def _name(found: Found) -> Finding:
    if found.no_name:
        return _wrong(
            "name",
            f"the name {found.host} means no address here ({found.no_name}): check how it is spelt, and that "
            "the name service of this machine, or container, knows it",
        )
    first, *others = found.addresses
    if first == found.host:
        return Finding("name", OK, f"{first} is an address")
    more = f"; {', '.join(others)} not, for the first one counts" if others else ""
    return Finding("name", OK, f"{found.host} means {first}{more}")


def _route(found: Found) -> Finding:
    if found.no_route:
        return _wrong(
            "route",
            f"there is no way from this machine to {found.addresses[0]} ({found.no_route}): check its "
            "network cards and routes, and that both are on one network",
        )
    return Finding("route", OK, f"called from {found.own}" + (f" ({found.card})" if found.card else ""))


def _port(found: Found) -> Finding:
    if found.port_is == OPEN:
        return Finding("port", OK, f"{found.where} is open")
    if found.port_is == REFUSED:
        return _wrong(
            "port",
            f"nobody listens at {found.where}: is the master started, is this its port, and does it listen "
            "to more than its own machine (--bind tcp://0.0.0.0:PORT)?",
        )
    if found.port_is == FILTERED:
        return _wrong(
            "port",
            f"{found.where} does not answer for {found.patience_s:g} s: a firewall drops what is sent there, "
            "or there is no such machine; have the port opened for TCP, and check the address",
        )
    return _wrong("port", f"{found.where} cannot be reached: {found.port_is}; a firewall may forbid it")


def _greeting(found: Found) -> Finding:
    if found.mechanism:
        keys = {"NULL": "without keys", "CURVE": "with keys"}.get(found.mechanism, f"by {found.mechanism}")
        return Finding("greeting", OK, f"{found.where} speaks ZeroMQ, {keys}")
    if found.said.startswith(b"HTTP/"):
        return _wrong("greeting", f"{found.where} is a web server's (HTTP) and no master's: check the port")
    if found.said and found.said[0] != 0xFF:
        shown = found.said[:SHOWN_MAX].decode("ascii", "replace").strip()
        return _wrong("greeting", f"{found.where} is no master's, what listens there says {shown!r}")
    if found.is_closed:
        return _wrong(
            "greeting",
            f"{found.where} is open, but connections are ended at once: by a proxy or a forwarded port whose "
            "master is not there, or by a master that has too many",
        )
    return _wrong(
        "greeting",
        f"{found.where} is open, but what listens there says nothing for {found.patience_s:g} s: it is no "
        "master, or one that is stopped",
    )


def _wrong(check: str, text: str) -> Finding:
    return Finding(check, WRONG, text, MasterUnreachable.exit_code)
