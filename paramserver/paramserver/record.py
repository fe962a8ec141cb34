"""The record of a run: what `--json` writes at the end."""

import dataclasses
import time
from typing import Any

from paramserver.effects import Note
from paramserver.machine import Master
from ps_common.signals import PREEMPTED

EVENTS_MAX = 10_000  # a run of months must not fill memory with what happened in it
RECORDED = (
    "join",
    "leave",
    "loss",
    "release",
    "slow",
    "left-out",
    "rejection",
    "quarantine",
    "outlier",
    "refusal",
    "revoked",
    "key",
    "order",
    "failure",
    "waiting",
    "rule",
    "checkpoint",
)


@dataclasses.dataclass
class Traffic:
    """Payload and header bytes through the master's socket."""

    sent: int = 0
    received: int = 0


class Record:
    """Collects what happens, and makes the record of it."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self._began = time.monotonic()
        self._train_began: float | None = None
        self._events: list[dict[str, Any]] = []
        self._events_left_out = 0
        self._failure: dict[str, Any] | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def take(self, note: Note) -> None:
        """Keep a note, if it is one for the record."""
        if note.event == "start":
            self._train_began = time.monotonic()
        if note.event == "failure":
            self._failure = dict(note.fields)
        if note.event not in RECORDED:
            return
        if len(self._events) >= EVENTS_MAX:
            self._events_left_out += 1
            return
        self._events.append(
            {"at": round(self.seconds, 3), "event": note.event, "text": note.text, **note.fields}
        )

    def to_plain(self, master: Master, exit_code: int, reason: str) -> dict[str, Any]:
        """The record, as JSON-able data."""
        progress, snapshot = master.progress, master.snapshot()
        trained = time.monotonic() - self._train_began if self._train_began is not None else 0.0
        finished = exit_code == 0 and reason == "finished"
        return {
            "status": "finished" if finished else "stopped" if exit_code in (0, PREEMPTED) else "failed",
            "reason": reason,
            "exit_code": exit_code,
            "run": master.run,
            "term": master.term,
            "job_digest": master.job.digest,
            "rounds": max(0, progress.version),
            "epochs": len(progress.history),
            "samples": progress.samples,
            "seconds": round(self.seconds, 3),
            "train_seconds": round(trained + master.seconds_before, 3),
            "metrics": progress.metrics(),
            "history": [{k: v for k, v in entry.items() if k != "evaluated"} for entry in progress.history],
            "weights_sha256": snapshot.layout.weights_sha256(snapshot.vector) if snapshot else None,
            "parameters": snapshot.layout.parameters if snapshot else 0,
            "transport": "+".join(sorted({one["transport"] for one in master.members.records()} - {None})),
            "bytes_sent": self.traffic.sent + master.exchange.bytes_sent,
            "bytes_received": self.traffic.received + master.exchange.bytes_received,
            "servers": list(master.exchange.servers),
            "workers": master.members.records(),
            "rejections": master.quarantine.records(),
            "events": self._events,
            "events_left_out": self._events_left_out,
            "failure": self._failure,
        }
