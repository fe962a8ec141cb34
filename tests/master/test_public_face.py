"""The names that `paramserver` has, each imported when it is asked for."""

import subprocess
import sys

import pytest

import paramserver

HEAVY = ("numpy", "zmq", "ps_worker.nn", "paramserver.cluster")


def test_every_name_is_there():
    for name in paramserver.__all__:
        assert getattr(paramserver, name).__name__.split(".")[-1] == name
        assert name in dir(paramserver)


def test_what_is_not_there_is_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'Jobs'"):
        paramserver.Jobs  # noqa: B018
    with pytest.raises(ImportError, match="Jobs"):
        from paramserver import Jobs  # noqa: F401


@pytest.mark.parametrize(
    ("line", "absent"),
    [
        ("import paramserver", HEAVY),
        ("from paramserver import Job, Plan, data, nn", ("paramserver.cluster", "ps_worker.client")),
        ("from paramserver import connect", ("paramserver.cluster",)),
        ("import paramserver.cli.server, paramserver.cli.local, ps_worker.cli", ("asyncio",)),
    ],
)
def test_what_is_not_asked_for_is_not_imported(line, absent):
    program = f"{line}\nimport sys\nprint(*[name for name in {absent!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == []
