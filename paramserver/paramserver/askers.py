"""Who may ask how a run is and who may give orders: rules, by the role of the key that a message came with.

A worker's key may do neither: what is on whose machine is nobody's business who only computes. Without keys
anybody who reaches the port may look, and order only where no other machine reaches it.
"""

from typing import NamedTuple

from ps_common import messages as m
from ps_common.errors import NotAuthorised

MAY_LOOK: tuple[str, ...] = ("status", "admin")
MAY_ORDER: tuple[str, ...] = ("admin",)


class Asker(NamedTuple):
    """Who asks.

    name: as a log may say it. role: of its key, or what somebody without one is taken for. key: its key's
    name; empty: it has none.
    """

    name: str
    role: str
    key: str = ""


STRANGER = Asker("somebody unknown", "none")
WITHOUT_A_KEY = Asker("somebody without a key", "status")
ON_THIS_MACHINE = Asker("somebody on this machine", "admin")


def asker_of(peer: tuple[str, str] | None, is_open: bool, has_keys: bool) -> Asker:
    """Whoever sent a message.

    peer: name and role of its key. is_open: whether other machines reach the port without keys. has_keys:
    whether nobody comes in without one.
    """
    if peer is not None:
        name, role = peer
        return Asker(f"the {role} key {name}", role, name)
    if has_keys:
        return STRANGER
    return WITHOUT_A_KEY if is_open else ON_THIS_MACHINE


def require_allowed(by: Asker, message: m.Look | m.Order) -> None:
    """Raise `NotAuthorised` where a message is not the asker's to send."""
    if isinstance(message, m.Look):
        needed, what = MAY_LOOK, "ask how the run is"
    else:
        needed, what = MAY_ORDER, "give orders"
    if by.role not in needed:
        keys = " or ".join(f"--role {role}" for role in needed)
        raise NotAuthorised(f"{by.name} may not {what}; use a key made with ps-keys new NAME {keys}")
