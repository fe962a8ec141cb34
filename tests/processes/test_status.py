"""ps-status and ps-admin: how a run is seen, stopped, saved and rid of a worker, from another process."""

import json

import pytest

from paramserver import checkpoint
from processes import jobs
from processes.world import events, eventually, newest_round
from ps_common.key_folder import KeyFolder

LISTENING = "listening: start workers with --master "
NOBODY = "tcp://127.0.0.1:9"  # the port "discard", on which nothing listens


def asked(world, command, *arguments):
    """What a command says, which must go well."""
    code, said = world.run(command, *arguments)
    assert code == 0, said
    return said


def test_a_run_is_seen_as_text_and_as_json_and_watched_until_it_is_over(world):
    world.hold()
    with world.cluster(jobs.GATED) as cluster:
        world.held(cluster)
        watching = world.start("ps-status", "--watch", "--json", PS_MASTER=cluster.address)
        said = asked(world, "ps-status", "--master", cluster.address)
        status = json.loads(watching.wait_for('"training"'))
        world.release()
        record = cluster.wait(60)
        assert watching.wait(30) == 0, watching.said
    assert (status["run"], status["members"], len(record["workers"])) == (record["run"], 2, 2)
    assert {one["pid"] for one in status["workers"]} == {one["pid"] for one in record["workers"]}
    assert any(one["doing"].startswith("train round ") for one in status["workers"])
    assert f"run {record['run']}, term 1: training" in said
    assert all(worker["name"] in said for worker in record["workers"])
    last = json.loads(watching.said.splitlines()[-1])
    assert (last["state"], last["reason"], last["exit_code"]) == ("over", "finished", 0)
    assert (last["version"], last["samples"]) == (record["rounds"], record["samples"])


def test_a_checkpoint_and_a_worker_sent_home_by_order_change_no_bit(world, undisturbed):
    world.hold()
    kept = world.folder / "kept"
    with world.cluster(jobs.GATED, flags=("--checkpoint", kept, "--checkpoint-every", "1h")) as cluster:
        number = world.held(cluster)
        pid = cluster.workers[number].process.pid
        status = json.loads(asked(world, "ps-status", "--json", "--master", cluster.address))
        (name,) = [one["name"] for one in status["workers"] if one["pid"] == pid]
        assert not checkpoint.checkpoints(kept)
        asked(world, "ps-admin", "checkpoint", "--master", cluster.address)
        eventually(lambda: checkpoint.checkpoints(kept), "a checkpoint is written")
        asked(world, "ps-admin", "drop", name, "--master", cluster.address)
        code, said = world.run("ps-admin", "drop", name, "--master", cluster.address)
        world.release()
        record = cluster.wait(60)
        assert cluster.workers[number].process.wait(30) == 0
    assert code == 2
    assert f"there is no worker '{name}'" in said
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert [event["what"] for event in events(record, "order")] == ["checkpoint", "drop", "drop"]


def test_ps_admin_stop_ends_a_run_in_order_with_a_checkpoint(world):
    world.hold()
    kept = world.folder / "kept"
    with world.cluster(jobs.GATED, flags=("--checkpoint", kept)) as cluster:
        world.held(cluster)
        said = asked(world, "ps-admin", "stop", "--master", cluster.address)
        world.release()
        record = cluster.wait(60)
        assert [worker.process.wait(30) for worker in cluster.workers] == [0, 0]
    assert ": stopping, " in said
    assert (record["status"], record["exit_code"]) == ("stopped", 0)
    assert record["reason"] == "asked to stop by somebody on this machine"
    assert [event["by"] for event in events(record, "order")] == ["somebody on this machine"]
    assert newest_round(kept) == record["rounds"] > 0


@pytest.mark.parametrize("words", [("ps-status", "--watch"), ("ps-admin", "stop")])
def test_where_nobody_answers_it_is_69(world, words):
    code, said = world.run(*words, "--master", NOBODY, "--timeout", 0.5)
    assert code == 69
    assert f"no master answers at {NOBODY}" in said


def test_on_an_open_port_without_keys_anybody_may_look_and_nobody_may_order(world):
    server = world.start("ps-server", world.job(), "--bind", "tcp://0.0.0.0:0", "--insecure",
                         "--address-file", world.folder / "address")  # fmt: skip
    server.wait_for("listening: ")
    port = (world.folder / "address").read_text().rpartition(":")[2]
    address = f"tcp://127.0.0.1:{port}"
    assert ": waiting, 0 of 1 workers here" in asked(world, "ps-status", "--master", address)
    code, said = world.run("ps-admin", "stop", "--master", address)
    assert code == 77
    assert "somebody without a key may not give orders" in said
    assert server.process.poll() is None
    server.process.terminate()
    assert server.wait(30) == 0


def test_with_keys_each_role_may_what_it_may(world):
    keys = KeyFolder(world.folder / "keys")
    keys.make()
    paths = {role: keys.new(f"{role}-1", role) for role in ("worker", "status", "admin")}
    server = world.start("ps-server", world.job(), "--bind", "tcp://127.0.0.1:0", "--keys", keys.path)
    address = server.wait_for(LISTENING).removeprefix(LISTENING)

    def answers(command, role, *words):
        where = {"PS_MASTER": address} | ({"PS_KEY": str(paths[role])} if role else {})
        started = world.start(command, *words, **where)
        return started.wait(), started.said

    found = [
        answers("ps-status", "status"),
        answers("ps-status", "worker"),
        answers("ps-status", ""),
        answers("ps-admin", "status", "stop"),
    ]
    assert [code for code, _ in found] == [0, 77, 77, 77], found
    assert server.process.poll() is None, "it is stopped"
    assert ": waiting, 0 of 1 workers here" in found[0][1]
    assert "the worker key worker-1 may not ask how the run is" in found[1][1]
    assert "lets in only who has a key" in found[2][1]
    assert "the status key status-1 may not give orders" in found[3][1]
    code, said = answers("ps-admin", "admin", "stop")
    assert (code, server.wait(30)) == (0, 0), said
    assert "the admin key admin-1 ordered: stop" in server.said
    assert "refused a message of status-1: the status key status-1 may not give orders" in server.said
