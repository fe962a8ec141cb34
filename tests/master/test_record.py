"""The record of a run."""

import json

import pytest

from paramserver.effects import Note
from paramserver.machine import Master
from paramserver.record import EVENTS_MAX, Record
from paramserver.settings import Settings
from support_jobs import description

NOTE = Note("join", "w joined", {"worker": "w"})


@pytest.mark.parametrize(
    ("exit_code", "reason", "status"),
    [(0, "finished", "finished"), (0, "asked to stop", "stopped"), (75, "x", "failed")],
)
def test_the_record_of_a_run_that_never_began_is_json_all_the_same(exit_code, reason, status):
    master = Master(description(), Settings(), "run", 0.0)
    record = Record()
    record.take(NOTE)
    record.take(Note("start", "here"))
    record.take(Note("failure", "it failed", {"traceback": "..."}))
    plain = json.loads(json.dumps(record.to_plain(master, exit_code, reason)))
    assert (plain["status"], plain["exit_code"], plain["reason"]) == (status, exit_code, reason)
    assert [event["event"] for event in plain["events"]] == ["join", "failure"]
    assert plain["failure"] == {"traceback": "..."}
    assert (plain["rounds"], plain["epochs"], plain["samples"], plain["weights_sha256"]) == (0, 0, 0, None)
    assert (plain["workers"], plain["history"], plain["metrics"]) == ([], [], {})


def test_a_run_of_months_does_not_fill_memory_with_its_events():
    record = Record()
    for _ in range(EVENTS_MAX + 3):
        record.take(NOTE)
    plain = record.to_plain(Master(description(), Settings(), "run", 0.0), 0, "finished")
    assert (len(plain["events"]), plain["events_left_out"]) == (EVENTS_MAX, 3)
