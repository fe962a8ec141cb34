"""Where a master listens and what it writes: nothing here changes a result, nor how the machine decides."""

import dataclasses
from pathlib import Path

from ps_common import address
from ps_common.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Serving:
    """Where and how a master serves, beside its machine's settings.

    bind: address to listen on; port 0 takes any. Only this machine may reach it, unless `insecure`.
    advertise: address that workers reach it at, where that is another.
    servers: addresses of averaging servers that run already.
    averagers: how many averaging servers to start on this machine; 1: the master averages itself.
    address_file: holds the address while the master serves.
    checkpoint_folder, model_file: written where given.
    leave_with: the process that started this one, to stop with.
    is_live: whether to draw on a terminal.

    Raises `UsageError` for an address that is none, or that others can reach.
    """

    bind: str
    advertise: str | None = None
    insecure: bool = False
    servers: tuple[str, ...] = ()
    averagers: int = 1
    address_file: Path | None = None
    checkpoint_folder: Path | None = None
    model_file: Path | None = None
    leave_with: int | None = None
    is_live: bool = False

    def __post_init__(self) -> None:
        if self.advertise is not None and address.split(self.advertise) is None:
            raise UsageError(f"--advertise must look like tcp://127.0.0.1:5555, not {self.advertise!r}")
        require_own_network(self.bind, self.insecure)

    @property
    def host(self) -> str:
        parts = address.split(self.bind)
        return parts[0] if parts else ""

    @property
    def is_open(self) -> bool:
        """Whether other machines can reach it."""
        return not address.is_loopback(self.host)


def require_own_network(bind: str, insecure: bool) -> None:
    """Raise `UsageError` for an address that is none, or that others can reach, unless `insecure`."""
    parts = address.split(bind)
    if parts is None:
        raise UsageError(f"--bind must look like tcp://127.0.0.1:5555, not {bind!r}")
    if not insecure and not address.is_loopback(parts[0]):
        raise UsageError(
            f"--bind {bind} can be reached from other machines, and anyone who reaches it can take part in "
            "the run; bind tcp://127.0.0.1:PORT, or say --insecure if the network is yours alone"
        )
