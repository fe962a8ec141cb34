"""How a run is, as plain data: what `Seen` carries, made by the master and checked by whoever asked.

It is of bounded size, however many workers there are, and says nothing that the run's record does not.
"""

import itertools
from typing import Any

from paramserver.leases import Lease
from paramserver.members import Member
from paramserver.servers.fleet import Fleet
from ps_common.errors import PeerError

WORKERS_MAX = 100  # that are listed; of ten thousand all would be a megabyte an answer
SERVERS_MAX = 64  # likewise
QUARANTINED_MAX = 20  # the last of them
WHY_MAX = 200  # characters
STATES = ("waiting", "training", "evaluating", "stopping", "over")

_FIELDS: dict[str, type] = {
    "run": str,
    "term": int,
    "state": str,  # one of STATES
    "reason": str,  # why it is over
    "exit_code": int,
    "version": int,  # rounds averaged; -1: there are no weights yet
    "rounds": int,
    "epoch": int,  # in progress
    "epochs": int,
    "samples": int,
    "seconds": float,  # trained, with terms before
    "metrics": dict,  # of the last evaluation
    "units_open": int,  # of the stage in progress
    "units_in_hand": int,
    "members": int,
    "members_wanted": int,
    "workers": list,
    "workers_unlisted": int,
    "quarantined": list,  # the last of them
    "servers": list,
}
_WORKER_FIELDS: dict[str, type] = {
    "name": str,
    "host": str,
    "pid": int,
    "device": str,
    "doing": str,
    "step": int,
    "silent_s": float,
    "units": int,
    "units_outrun": int,
    "samples": int,
    "rejections": int,
    "strikes": int,
}
_QUARANTINED_FIELDS: dict[str, type] = {"name": str, "why": str}


def status_of(run: Fleet, wanted: int, seconds: float, now: float) -> dict[str, Any]:
    """The status of a run that wants so many workers and has trained for so long."""
    progress, schedule, stage = run.progress, run.job.schedule, run.leasing.stage
    listed = [_worker(run, member, now) for member in itertools.islice(run.members, WORKERS_MAX)]
    return {
        "run": run.run,
        "term": run.term,
        "state": _state(run),
        "reason": "",
        "exit_code": 0,
        "version": progress.version,
        "rounds": schedule.rounds,
        "epoch": min(len(progress.history) + 1, schedule.epochs),
        "epochs": schedule.epochs,
        "samples": progress.samples,
        "seconds": round(seconds, 3),
        "metrics": progress.metrics(),
        "units_open": stage.open_count if stage is not None else 0,
        "units_in_hand": run.leasing.units_in_hand,
        "members": len(run.members),
        "members_wanted": wanted,
        "workers": listed,
        "workers_unlisted": len(run.members) - len(listed),
        "quarantined": _quarantined(run),
        "servers": list(run.exchange.servers[:SERVERS_MAX]),
    }


def _state(run: Fleet) -> str:
    stage = run.leasing.stage
    if run.is_ending or run.is_over:
        return "stopping"
    if stage is None or (run.is_waiting and not stage.leased):
        return "waiting"
    return "evaluating" if stage.kind == "evaluate" else "training"


def _worker(run: Fleet, member: Member, now: float) -> dict[str, Any]:
    lease = run.leasing.of(member)
    return {
        "name": member.name,
        "host": member.join.host,
        "pid": member.join.pid,
        "device": member.join.device,
        "doing": doing_of(member, lease),
        "step": lease.step if lease is not None else 0,
        "silent_s": round(now - member.seen_at, 3),
        "units": member.units,
        "units_outrun": member.outrun,
        "samples": member.samples,
        "rejections": member.rejections,
        "strikes": run.quarantine.strikes(member.peer, now),
    }


def _quarantined(run: Fleet) -> list[dict[str, Any]]:
    """Without keys it is a connection that is out, and has no name."""
    out = run.quarantine.last_out(QUARANTINED_MAX)
    return [
        {"name": peer if isinstance(peer, str) else "a worker without a key", "why": why[:WHY_MAX]}
        for peer, why in out
    ]


def doing_of(member: Member, lease: Lease | None) -> str:
    """What a worker is at: the unit in its hand, or that it has none."""
    return str(lease.unit) if lease is not None else "idle" if member.is_ready else "getting ready"


def checked(status: Any) -> dict[str, Any]:
    """The status that came in a `Seen`, if it is one. Raises `PeerError`."""
    _check(status, _FIELDS, "a status")
    if status["state"] not in STATES:
        raise PeerError(f"the state of a run is one of {', '.join(STATES)}")
    for worker in status["workers"]:
        _check(worker, _WORKER_FIELDS, "the status of a worker")
    for one in status["quarantined"]:
        _check(one, _QUARANTINED_FIELDS, "who is quarantined")
    if not all(type(server) is str for server in status["servers"]):
        raise PeerError("the servers of a status are addresses")
    if not all(type(k) is str and type(v) is float for k, v in status["metrics"].items()):
        raise PeerError("the metrics of a status are numbers by name")
    found: dict[str, Any] = status
    return found


def _check(found: Any, fields: dict[str, type], what: str) -> None:
    if not isinstance(found, dict) or found.keys() != fields.keys():
        raise PeerError(f"{what} has the fields {', '.join(fields)}")
    for name, kind in fields.items():
        if type(found[name]) is not kind:
            raise PeerError(f"{name} of {what} is {kind.__name__}, not {type(found[name]).__name__}")
