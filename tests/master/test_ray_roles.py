"""What each part of a run on Ray starts, and when."""

import itertools
import os
from pathlib import Path

import pytest

from paramserver.folder_lock import FolderLock
from paramserver.ray.roles import MASTER, Master, Server, Worker

FOLDER, BIND = Path("/own"), "tcp://192.0.2.1:0"
URL = "tcp://192.0.2.9:4000"


def flags_of(command: list[str]) -> dict[str, str]:
    return {one: other for one, other in itertools.pairwise(command) if one.startswith("--")}


def test_a_worker_waits_for_the_master_and_has_its_own_key_alone():
    worker = Worker("worker-3", ("--device", "cuda:0"), {"worker-3.key": b""}, job="job.py")
    assert worker.needs({}) is None
    assert worker.needs({MASTER: URL, "server-0": "tcp://192.0.2.8:1"}) == (URL,)
    command = worker.command((URL,), FOLDER, BIND, True)
    assert command[:2] == ["-m", "ps_worker.cli"]
    assert "--key=/own/keys/worker-3.key" in command
    assert flags_of(command) | {"--master": URL, "--device": "cuda:0"} == flags_of(command)


def test_a_master_waits_for_all_of_its_servers_in_their_order():
    master = Master(MASTER, job="job.py", servers=("server-0", "server-1"))
    assert master.needs({"server-1": "tcp://b:1"}) is None
    assert master.needs({"server-1": "tcp://b:1", "server-0": "tcp://a:1"}) == ("tcp://a:1", "tcp://b:1")
    command = master.command(("tcp://a:1", "tcp://b:1"), FOLDER, BIND, True)
    assert flags_of(command)["--servers"] == "tcp://a:1,tcp://b:1"


def test_only_the_first_master_waits_for_all_workers_and_begins_where_it_was_told_to():
    master = Master(MASTER, ("--resume", "never"), job="job.py", begin_with=4)
    first, later = (flags_of(master.command((), FOLDER, BIND, is_first)) for is_first in (True, False))
    assert (first["--begin-with"], first["--resume"]) == ("4", "never")
    assert ("--begin-with" in later, later["--resume"]) == (False, "auto")


def test_what_ray_decides_comes_after_what_the_user_said_and_wins():
    master = Master(MASTER, ("--bind", "tcp://0.0.0.0:1", "--checkpoint", "here"), checkpoint=Path("/shared"))
    command = flags_of(master.command((), FOLDER, BIND, True))
    assert (command["--bind"], command["--checkpoint"]) == (BIND, "/shared")


@pytest.mark.parametrize(("keys", "is_open"), [({"server.key": b""}, False), ({}, True)])
def test_who_listens_has_keys_or_is_open(keys, is_open):
    for role in (Master(MASTER, (), keys, is_open), Server("server-0", (), keys, is_open)):
        command = role.command((), FOLDER, BIND, True)
        assert ("--insecure" in command) == is_open
        assert ("--keys" in command) == bool(keys)


def test_a_master_waits_for_a_former_one_to_let_go_of_the_checkpoints(tmp_path):
    master = Master(MASTER, checkpoint=tmp_path)
    with FolderLock(tmp_path):
        assert not master.may_start()
    assert master.may_start()
    assert os.listdir(tmp_path) == []
    assert Master(MASTER, checkpoint=tmp_path / "none").may_start()
