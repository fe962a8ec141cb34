"""ps-doctor at real masters: what it says, and that it ends with the code that a worker ends with."""

import json
import socket
from collections.abc import Iterator

import pytest

from processes import jobs
from processes.world import World, events
from ps_common.key_folder import KeyFolder

HERE = ("--bind", "tcp://127.0.0.1:0")
LISTENING = "listening: start workers with --master "


Checks = dict[str, tuple[str, str]]


def doctors(world: World, *given: tuple[object, ...]) -> Iterator[tuple[int, Checks]]:
    """One with each of these words: its exit code, and of each check how it went and what was said."""
    started = [world.start("ps-doctor", "--json", *words) for words in given]
    for command in started:
        code = command.wait()
        told = json.loads(command.said)
        assert told["exit_code"] == code
        yield code, {one["check"]: (one["verdict"], one["text"]) for one in told["checks"]}


def wrong(checks: Checks) -> list[str]:
    return [name for name, (verdict, _) in checks.items() if verdict == "wrong"]


def test_a_master_without_keys_is_well_and_knows_its_job_from_others(world: World) -> None:
    other = world.job(jobs.PLAIN + "# changed", "other.py")
    with world.cluster(workers=0) as cluster:
        code, said = world.run("ps-doctor", cluster.address, "--job", cluster.job)
        assert code == 0, said
        assert cluster.master is not None
        pid = cluster.master.process.pid
        for line in (
            "ok      port      port ",
            "ok      keys      the master wants none",
            "ok      job       the file is the master's",
            f"ok      sharing   the master is process {pid} here: weights lie in shared memory",
            ": waiting, round 0 of 12, 0 of 1 workers here",
        ):
            assert line in said
        key = KeyFolder(world.folder / "keys").bundle_for("w")
        job, keys = doctors(world, (cluster.address, "--job", other), (cluster.address, "--key", key))
    assert [(code, wrong(checks)) for code, checks in (job, keys)] == [(76, ["job"]), (77, ["keys"])]
    assert "has no keys, so it cannot prove who it is" in keys[1]["keys"][1]


def test_a_master_with_keys_knows_whose_are_right(world: World) -> None:
    keys = KeyFolder(world.folder / "keys")
    gone = keys.new("gone", "worker", world.folder / "gone.key")
    right, foreign = keys.bundle_for("w"), KeyFolder(world.folder / "others").bundle_for("w")
    keys.revoke("gone")
    server = world.start("ps-server", world.job(), *HERE, "--keys", keys.path, "--json", "record.json")
    address = server.wait_for(LISTENING).removeprefix(LISTENING)
    words = [("--key", right, "--job", "job.py"), (), ("--key", foreign), ("--key", gone)]
    (code, checks), *others = doctors(world, *((address, *more) for more in words))
    assert (code, wrong(checks)) == (0, []), checks
    assert checks["run"] == ("ok", "it is there; how it is, a worker's key may not ask")
    texts = ("lets in only who has a key", "not have the server key that", "does not let in the key gone")
    for (code, checks), told in zip(others, texts, strict=True):
        assert (code, wrong(checks)) == (77, ["keys"])
        assert told in checks["keys"][1]
    server.process.terminate()
    assert server.wait(30) == 0
    assert not events(world.json(), "join"), "it takes no part in the run"


def test_where_there_is_no_master_it_is_69_and_says_why(world: World) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        there = f"tcp://localhost:{bound.getsockname()[1]}"
        port, name = doctors(world, (there,), ("tcp://no-such-host.invalid:5555",))
    assert [(code, wrong(checks)) for code, checks in (port, name)] == [(69, ["port"]), (69, ["name"])]
    assert "memory can be shared" in name[1]["sharing"][1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("master:5555",), "a master's address looks like tcp://host:5555"),
        (("tcp://master:5555", "--job", "gone.py"), "no such job file: gone.py"),
        (("tcp://master:5555", "--key", "gone.key"), "the key file gone.key cannot be read"),
    ],
)
def test_what_is_no_question_is_2(world: World, words: tuple[str, ...], told: str) -> None:
    code, said = world.run("ps-doctor", *words)
    assert code == 2
    assert told in said
