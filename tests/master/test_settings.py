"""The master's settings are checked together, and are always such that a worker understands them."""

import dataclasses
import math

import pytest

from paramserver.settings import Settings
from ps_common import messages as m
from ps_common.errors import UsageError
from ps_common.wire import decode, encode

NUMBERS = [f.name for f in dataclasses.fields(Settings)]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_a_setting_that_is_not_positive_is_refused(name, value):
    with pytest.raises(UsageError, match="must be"):
        Settings(**{name: value})


@pytest.mark.parametrize("name", [name for name in NUMBERS if name.endswith("_s")])
def test_seconds_are_kept_as_the_protocol_has_them_and_are_bounded(name):
    assert (
        type(getattr(Settings(**{"heartbeat_interval_s": 0.5, "liveness_timeout_s": 9, name: 1}), name))
        is float
    )
    with pytest.raises(UsageError, match=f"{name} must be positive and at most 1e\\+09, not inf"):
        Settings(**{name: math.inf})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"workers_min": 3, "workers_max": 2}, "MIN or MIN:MAX with 1 <= MIN <= MAX, not 3:2"),
        ({"chunk_bytes": 100}, "chunk_bytes must be a multiple of 64"),
        ({"chunk_bytes": m.CHUNK_BYTES_MAX + 64}, f"up to {m.CHUNK_BYTES_MAX}"),
        ({"window": 1025}, "window must be 1 to 1024"),
        (
            {"liveness_timeout_s": 0.5},
            "liveness_timeout_s (0.5) must be longer than heartbeat_interval_s (0.5)",
        ),
        ({"heartbeat_interval_s": 3}, "must be longer than heartbeat_interval_s (3)"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, told):
    with pytest.raises(UsageError) as caught:
        Settings(**changes)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"retry_s": 1, "heartbeat_interval_s": 1},
        {"window": 1024, "chunk_bytes": m.CHUNK_BYTES_MAX},
        {"chunk_bytes": 64},
    ],
)
def test_a_worker_understands_any_settings(changes):
    settings = Settings(**changes)
    said = m.Welcome(
        "w",
        "run",
        1,
        None,
        settings.heartbeat_interval_s,
        settings.retry_s,
        settings.chunk_bytes,
        settings.window,
        settings.pull_window,
    )
    assert decode([encode(said)]) == said


def test_no_checkpoints_and_any_number_of_workers_are_the_defaults():
    settings = Settings()
    assert (settings.workers_max, settings.checkpoint_every_rounds, settings.checkpoint_every_s) == (
        None,
    ) * 3
    assert Settings(checkpoint_every_s=5).checkpoint_every_s == 5.0
