"""The ledger of real runs: verified after whatever has happened to them, and computed again."""

import random
import re
import signal

import pytest

from paramserver import checkpoint
from paramserver.verify import verify
from processes import jobs
from processes.world import eventually
from support_ledgers import Forger

EVERY_ROUND = ("--checkpoint-every", "1round")
LONG = jobs.PLAIN.replace("epochs=4", "epochs=50")


def newest_round(folder) -> int:
    saved = checkpoint.checkpoints(folder)
    return int(saved[0].stem.removeprefix("round-")) if saved else -1


@pytest.mark.parametrize(
    "flags", [(), ("--transport", "tcp"), ("--servers", 2)], ids=["shared memory", "tcp", "2 servers"]
)
def test_a_run_whose_master_and_workers_were_killed_is_verified_and_computed_again(world, undisturbed, flags):
    kept = world.folder / "kept"
    with world.cluster(LONG, flags=("--checkpoint", kept, *EVERY_ROUND, *flags)) as cluster:
        for number, version in enumerate(sorted(random.Random(2).sample(range(1, 100), 3))):
            eventually(lambda v=version: newest_round(kept) >= v, f"round {version} is saved")
            cluster.kill_worker(number)
            cluster.kill_master()
            cluster.start_master()
            cluster.start_worker()
        record = cluster.wait(90)
    assert record["weights_sha256"] == undisturbed(LONG)
    code, said = world.run(
        "ps-server", "verify", kept, "--rounds", 2, "--json", "out.json", "--replay", "job.py"
    )
    assert code == 0, said
    digest = record["weights_sha256"][:16]
    assert f"verified: 150 rounds, 900 units, 12,000 samples, each exactly once; weights {digest}" in said
    assert "computed again: 900 units and the weights have the same bits" in said
    assert re.search(r"150 +│ 149 +│ 0 +│ worker\S* +│ 8 +│ [0-9a-f]{16} +│ averaged", said), said
    found = world.json("out.json")
    assert (found["verified"], found["version"], len(found["rounds"])) == (True, 150, 150)
    assert {one["term"] for one in found["rounds"]} <= {1, 2, 3, 4}
    assert sum(unit["samples"] for one in found["rounds"] for unit in one["units"]) == 12_000
    assert found["rounds"][-1]["committed"] == found["weights"]


def test_a_run_stopped_within_an_epoch_is_computed_again_from_there_and_from_an_older_one(world, stopped):
    for flags in (("--until-round", 7), ("--until-round", 8)):
        record = world.record(flags=("--checkpoint", stopped, *flags))
        assert (record["status"], record["reason"]) == ("stopped", f"stopped after round {flags[1]}")
    newest, older = checkpoint.checkpoints(stopped)[:2]
    assert (newest_round(stopped), checkpoint.read(older).version) == (8, 7)
    code, said = world.run("ps-server", "verify", newest, "--replay", "job.py", "-n", 1, "--from", older)
    assert code == 0, said
    assert "computed again: 6 units and the weights have the same bits (42 units" in said
    code, said = world.run("ps-server", "verify", newest, "--replay", "job.py", "--from", newest)
    assert code == 2
    assert "it must be of run" in said
    code, said = world.run("ps-server", "verify", newest, "--replay", "job.py")
    assert code == 0, said
    assert "computed again: 48 units and the weights have the same bits\n" in said


def test_what_was_really_averaged_otherwise_is_found_by_computing_it_again(world, stopped):
    """A forger who makes everything fit is found out by nothing else."""
    world.job()
    (path, *_) = checkpoint.checkpoints(stopped)
    forger = Forger(path)
    forger.rounds()[3]["units"][2][5] = "0" * 16
    forger.write()
    assert world.run("ps-server", "verify", stopped)[0] == 0
    code, said = world.run("ps-server", "verify", stopped, "--json", "out.json", "--replay", "job.py")
    assert code == 65
    assert "version 4, unit (round 3, shard 2) of worker" in said
    assert "the ledger has digest 0000000000000000, computed again it is" in said
    assert "0000000000000000" in world.json("out.json")["error"]


def test_another_job_is_not_computed_instead(world, stopped):
    world.job(jobs.PLAIN.replace("seed=1", "seed=2"))
    code, said = world.run("ps-server", "verify", stopped, "--replay", "job.py")
    assert code == 76
    assert "is another job" in said


def test_optimizer_state_that_stays_with_a_worker_has_no_replay(world):
    text = jobs.ADAM.replace("epochs=4", 'epochs=1, optimizer_state="local"')
    world.record(text, flags=("--checkpoint", world.folder / "kept"))
    code, said = world.run("ps-server", "verify", "kept", "--replay", "job.py")
    assert code == 2
    assert "verified: 3 rounds" in said
    assert "it has no replay" in said


def test_a_changed_byte_is_65_and_named(world, stopped):
    (segment,) = stopped.glob("ledger-*")
    data = segment.read_bytes()
    at = data.index(b'{"version":5')
    segment.write_bytes(data[: at + 40] + b"~" + data[at + 41 :])
    code, said = world.run("ps-server", "verify", stopped, "--json", "out.json")
    assert code == 65
    assert f"{segment} is not what was committed: its chain digest is wrong between bytes" in said
    assert "Traceback" not in said
    assert world.json("out.json")["verified"] is False


def test_no_code_of_the_job_is_run(world):
    world.record(jobs.ADAM, flags=("--checkpoint", world.folder / "kept"))
    (world.folder / "job.py").unlink()
    code, said = world.run("ps-server", "verify", "kept", "--rounds", 0)
    assert (code, said.count("\n")) == (0, 1), said


def test_a_ledger_goes_along_to_another_folder(world, undisturbed, stopped):
    (newest, *_) = checkpoint.checkpoints(stopped)
    flags = (
        "--resume",
        newest,
        "--checkpoint",
        world.folder / "new",
        "--out",
        world.folder / "m.safetensors",
    )
    record = world.record(flags=flags)
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)
    code, said = world.run("ps-server", "verify", "new")
    assert code == 0, said
    assert "verified: 12 rounds, 72 units, 960 samples" in said


def test_a_checkpoint_that_comes_without_its_ledger_is_gone_on_from_and_told(world, undisturbed, stopped):
    (newest, *_) = checkpoint.checkpoints(stopped)
    for segment in stopped.glob("ledger-*"):
        segment.unlink()
    with world.cluster(flags=("--resume", newest, "--checkpoint", world.folder / "new")) as cluster:
        record = cluster.wait(60)
        cluster.wait_for("the ledger of the rounds before cannot be taken along, so nothing can be verified")
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)
    code, said = world.run("ps-server", "verify", "new")
    assert code == 65
    assert "is missing: the ledger is not whole without it" in said


def test_a_new_run_in_an_old_folder_has_a_ledger_of_its_own(world, stopped):
    world.record(flags=("--resume", "never", "--until-round", 2, "--checkpoint", stopped))
    for path in checkpoint.checkpoints(stopped):
        assert verify(path).snapshot.version == int(path.stem.removeprefix("round-"))
    assert len({checkpoint.read(path).run for path in checkpoint.checkpoints(stopped)}) == 2


def test_a_second_master_in_the_same_folder_is_2_and_the_first_goes_on(world, undisturbed):
    world.hold()
    kept = world.folder / "kept"
    with world.cluster(jobs.GATED, flags=("--checkpoint", kept, *EVERY_ROUND)) as cluster:
        world.held(cluster)
        code, said = world.run(
            "ps-server", cluster.job, "--bind", "tcp://127.0.0.1:0", "--checkpoint", kept, "--servers", 2
        )
        assert code == 2
        assert f"in use by a running master (pid {cluster.master.process.pid})" in said
        world.release()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert not (kept / ".lock").exists()


def test_a_job_called_verify_is_given_as_a_path(world):
    world.job(name="verify")
    code, said = world.run("ps-server", "./verify")
    assert code == 2
    assert "is no Python file" in said
    code, said = world.run("ps-server", "verify")
    assert code == 2
    assert "Missing argument 'CHECKPOINT'" in said


def test_interrupting_a_replay_leaves_nothing(world):
    world.record(jobs.GATED, flags=("--checkpoint", world.folder / "kept"))
    world.hold()
    command = world.start("ps-server", "verify", "kept", "--replay", "job.py")
    eventually(lambda: list(world.folder.glob("held-*")), "a worker came to the gate")
    command.send(signal.SIGINT)
    assert command.wait(30) == 130
