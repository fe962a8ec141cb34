"""Where a master listens and what it writes: nothing here changes a result, nor how the machine decides."""

import dataclasses
import functools
from pathlib import Path

from ps_common import address, interfaces
from ps_common.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Serving:
    """Where and how a master serves, beside its machine's settings.

    bind: address to listen on; port 0 takes any. Only this machine may reach it, unless there are keys, or
        `insecure`.
    keys: folder of the keys of those who may come in; None: anyone may.
    advertise: address that workers reach it at, where that is another; port 0: the one that it has taken.
    servers: addresses of averaging servers that run already.
    averagers: how many averaging servers to start on this machine; 1: the master averages itself.
    address_file: holds the address while the master serves.
    checkpoint_folder, model_file: written where given.
    leave_with: the process that started this one, to stop with.
    is_live: whether to draw on a terminal.
    is_preemptible: a signal to stop is not the end of the run, which the next start goes on with; but for
        the one with which our own commands ask.
    stays: when the run has ended well, until a signal comes, so that whoever comes late hears of it.

    Raises `UsageError` for an address that is none, or that others can reach.
    """

    bind: str
    advertise: str | None = None
    insecure: bool = False
    keys: Path | None = None
    servers: tuple[str, ...] = ()
    averagers: int = 1
    address_file: Path | None = None
    checkpoint_folder: Path | None = None
    model_file: Path | None = None
    leave_with: int | None = None
    is_live: bool = False
    is_preemptible: bool = False
    stays: bool = False

    def __post_init__(self) -> None:
        require_own_network(self.bind, self.insecure, self.keys)
        if self.advertise is not None:
            self._check_advertised(self.advertise)

    def address_at(self, bound: str) -> str:
        """What to tell workers, once it is bound."""
        if self.advertise is None:
            return address.reachable(bound)
        _, port = address.split(self.advertise) or ("", 0)
        return self.advertise if port else address.with_port_of(self.advertise, bound)

    def _check_advertised(self, advertise: str) -> None:
        there, here = address.split(advertise), address.split(self.bind)
        if there is None or there[0] in address.WILDCARDS:
            raise UsageError(f"--advertise must look like tcp://127.0.0.1:5555, not {advertise!r}")
        is_mapped = here is not None and there[1] not in (0, here[1])
        if is_mapped and self.averagers > 1 and not address.is_own(there[0]):
            raise UsageError(
                f"--advertise {advertise} has another port than --bind {self.bind}, so something in between "
                f"passes it on, and not the ports of the {self.averagers} averaging servers to be started "
                "here: say --servers 1, or start each with ps-average at a port that is passed on, too, and "
                "give their addresses (--servers tcp://host:6001,...)"
            )

    @functools.cached_property
    def is_open(self) -> bool:
        return is_open(self.bind, self.keys)


def placed(bind: str, advertise: str | None, card: str | None) -> tuple[str, str | None]:
    """What to bind and to advertise where a network card is named.

    It is bound to the card alone, unless `bind` is every interface: then others are only told of the card.
    Raises `UsageError`.
    """
    parts = address.split(bind)
    if card is None or parts is None:
        return bind, advertise
    host, port = parts
    own = interfaces.address_of(card)
    if host in address.WILDCARDS:
        return bind, advertise or address.join(own, port)
    if not address.is_loopback(host) and host != own:
        raise UsageError(f"--bind {bind} is not at the network card {card}, which has {own}: say one of both")
    return address.join(own, port), advertise


def is_open(bind: str, keys: Path | None) -> bool:
    """Whether other machines can reach a server, and anyone there may come in."""
    host, _ = address.split(bind) or ("", 0)
    return keys is None and not address.is_loopback(host)


def insecure_text(bound: str) -> str:
    """The one loud line of a server that is open."""
    return f"INSECURE: {bound} is open to anyone who can reach it; use it only on a network of your own"


def require_own_network(bind: str, insecure: bool, keys: Path | None) -> None:
    """Raise `UsageError` for an address that is none, or that others can reach without keys or `insecure`."""
    parts = address.split(bind)
    if parts is None:
        raise UsageError(f"--bind must look like tcp://127.0.0.1:5555, not {bind!r}")
    if not insecure and is_open(bind, keys):
        raise UsageError(
            f"--bind {bind} can be reached from other machines, and anyone who reaches it can take part in "
            "the run: make keys (ps-keys new worker-1) and say --keys keys, or say --insecure if the network "
            "is yours alone"
        )
