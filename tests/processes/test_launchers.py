"""ps-run under real launchers, and under the very variables of those that are not here: the same bits.

Which variables make what of a process, tests/master/test_launchers.py shows; here they are real processes,
each with a parent that lives, as a launcher does.
"""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from paramserver import checkpoint
from paramserver.cli.run import cli
from processes import jobs
from processes.world import BIN, Command, World, eventually, is_listening, newest_round
from ps_common import command

LISTENING = "listening: start workers with --master "
ENDLESS = jobs.GATED.replace("epochs=4", "epochs=100_000")  # it does not end by itself


def open_mpi(count: int) -> list[str]:
    """`mpirun` of Open MPI; on a developer's machine it may be missing, in CI it may not."""
    found = shutil.which("mpirun.openmpi") or shutil.which("mpirun")
    if found is None and "CI" not in os.environ:
        pytest.skip("there is no Open MPI here: `make launchers` installs it")
    assert found, "there is no Open MPI: `make launchers` installs it"
    return [found, "--oversubscribe", "--bind-to", "none", "-n", str(count)]


def torchrun(count: int, *flags: object) -> list[str]:
    return [str(BIN / "torchrun"), "--nproc-per-node", str(count), *map(str, flags), "--no-python"]


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open MPI starts nothing as root unless it is told to. What has started the tests is not to be seen."""
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    for name in list(os.environ):
        if name.startswith(("SLURM_", "PMI_", "PMIX_", "OMPI_COMM_", "JOB_COMPLETION_")):
            monkeypatch.delenv(name)
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "HOSTNAME"):
        monkeypatch.delenv(name, raising=False)


def slurm(rank: int, size: int) -> dict[str, str]:
    """As `srun` sets them for a step on one node, here one that this test makes unique."""
    return {
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank), "SLURM_NTASKS": str(size), "SLURM_STEP_NUM_TASKS": str(size),
        "SLURM_STEP_NUM_NODES": "1", "SLURM_NNODES": "1", "SLURM_STEP_NODELIST": "localhost",
        "SLURM_JOB_NODELIST": "localhost",
    }  # fmt: skip


def mpich(rank: int, size: int) -> dict[str, str]:
    return {
        "PMI_RANK": str(rank), "PMI_SIZE": str(size), "PMI_FD": "6", "MPI_LOCALRANKID": str(rank),
        "MPI_LOCALNRANKS": str(size),
    }  # fmt: skip


def kubernetes(rank: int, size: int) -> dict[str, str]:
    return {
        "JOB_COMPLETION_INDEX": str(rank), "HOSTNAME": f"train-{rank}", "PS_SIZE": str(size),
        "PS_MASTER_HOST": "127.0.0.1", "PS_ADDRESS_FILE": "address",
    }  # fmt: skip


def ranks(world: World, job: Path, variables, size: int, *flags: object) -> list[Command]:  # type: ignore[no-untyped-def]
    """A process for each rank, as somebody else starts them; the last one first."""
    started = [world.start("ps-run", job, *flags, **variables(rank, size)) for rank in reversed(range(size))]
    return started[::-1]


def everyone(started: list[Command]) -> Iterator[psutil.Process]:
    for rank in started:
        yield psutil.Process(rank.process.pid)
        yield from rank.children()


# -- the same bits ----------------------------------------------------------------------------------------


def test_mpirun_of_open_mpi_gives_the_same_bits(world: World, undisturbed) -> None:  # type: ignore[no-untyped-def]
    code, said = world.run("ps-run", world.job(), "--json", "record.json", under=open_mpi(3))
    assert code == 0, said
    assert "Open MPI: process 0 of 3" in said
    assert world.json()["weights_sha256"] == undisturbed(jobs.PLAIN)
    assert {worker["name"] for worker in world.json()["workers"]} == {"rank-0", "rank-1", "rank-2"}


@pytest.mark.parametrize("variables", [mpich, kubernetes])
def test_the_variables_of_other_launchers_give_the_same_bits(world, undisturbed, variables) -> None:
    """And keys are made for each, where a run is to have them."""
    started = ranks(world, world.job(), variables, 3, "--json", "record.json", "--keys", "keys")
    assert [rank.wait() for rank in started] == [0, 0, 0], started[0].said
    assert world.json()["weights_sha256"] == undisturbed(jobs.PLAIN)
    assert {worker["name"] for worker in world.json()["workers"]} == {"rank-0", "rank-1", "rank-2"}


def test_torchrun_starts_all_again_when_one_is_killed_and_gives_the_same_bits(world, undisturbed) -> None:
    """The others are asked to leave, so nothing is lost; who resumes a run goes on with it."""
    world.hold()
    flags = ("--json", "record.json", "--checkpoint", "kept", "--checkpoint-every", "1round")
    run = world.start("ps-run", world.job(jobs.GATED), *flags, under=torchrun(2, "--max-restarts", 1))
    eventually(world.held_pids, "no worker came to the gate", 60.0)
    (victim,) = [child for child in run.children() if "rank-1" in child.cmdline()]
    victim.kill()
    run.wait_for("stopping (asked to stop)")
    world.release()
    run.wait_for("resuming run", 60.0)
    assert run.wait() == 0, run.said
    for folder in world.temporary.glob("torchelastic_*"):
        shutil.rmtree(folder)  # torchrun's own
    assert world.json()["term"] == 2
    assert world.json()["weights_sha256"] == undisturbed(jobs.GATED)


# -- meeting ----------------------------------------------------------------------------------------------


def test_who_comes_before_the_master_waits_and_no_file_of_an_earlier_start_misleads(
    world, undisturbed
) -> None:
    def flags(rank: int, size: int) -> dict[str, str]:
        return {"PS_RANK": str(rank), "PS_SIZE": str(size), "PS_MASTER_HOST": "127.0.0.1"}

    file, job = world.folder / "shared" / "address", world.job()
    file.parent.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as another:  # master, which is still there
        file.write_text(f"tcp://127.0.0.1:{another.getsockname()[1]}\nold\n")
        words = ("ps-run", job, "--address-file", file, "--run-id", "new", "--json", "record.json")
        early = world.start(*words, **flags(1, 2))
        early.wait_for("PS_RANK: process 1 of 2", 60.0)
        early.wait_for("rank 1 waits for the address of the master in")
        leader = world.start(*words, **flags(0, 2))
        assert (leader.wait(), early.wait()) == (0, 0), leader.said + early.said
    assert world.json()["weights_sha256"] == undisturbed(jobs.PLAIN)
    assert not list(file.parent.iterdir())


def test_a_rank_gives_up_after_the_setting_where_no_master_comes(world) -> None:
    alone = world.start("ps-run", world.job(), "--master-timeout", 1, **slurm(1, 2))
    assert alone.wait() == 69
    assert "there is no address of the master" in alone.said


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "no launcher has said which process this is"),
        ({"PS_RANK": "0", "PS_SIZE": "2"}, "does not say where rank 0 is"),
        ({"PS_RANK": "2", "PS_SIZE": "2", "PS_MASTER_HOST": "node1"}, "process 2 of 2"),
        (
            {"PS_RANK": "0", "PS_SIZE": "2", "PS_MASTER_HOST": "node1", "PS_INTERFACE": "lo"},
            "--interface is told",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_once(world, variables, told, monkeypatch, capfd) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert command.run(cli, "ps-run", [str(world.job())]) == 2
    assert told in capfd.readouterr().err


def test_the_network_card_that_was_named_is_told_to_the_other_ranks(world, undisturbed) -> None:
    card = socket.if_indextoname(1)
    words = ("ps-run", world.job(), "--size", 2, "--address-file", "told", "--interface", card, "--insecure")
    ranks = [world.start(*words, "--rank", rank) for rank in (0, 1)]
    assert "looking for the master at tcp://127.0.0.1:" in ranks[1].wait_for("looking for the master")
    assert [rank.wait() for rank in ranks] == [0, 0], ranks[0].said + ranks[1].said
    assert f"weights {undisturbed(jobs.PLAIN)[:16]}" in ranks[0].said


def test_several_hosts_without_keys_are_refused(world) -> None:
    """Nothing is bound, and no name is looked up."""
    variables = {"PS_RANK": "0", "PS_SIZE": "2", "PS_MASTER_HOST": "192.0.2.7"}
    code, said = world.run("ps-run", world.job(), **variables)
    assert code == 2
    assert "can be reached from other machines" in said


# -- signals ----------------------------------------------------------------------------------------------


def test_term_to_every_process_of_a_job_saves_and_leaves_and_the_next_start_goes_on(
    world, undisturbed
) -> None:
    """As Slurm does at the end of its time, and systemd; usr1 to all of them before wants a checkpoint."""
    world.hold()
    job, kept = world.job(jobs.GATED), world.folder / "kept"
    flags = ("--json", "record.json", "--checkpoint", kept)
    started = ranks(world, job, slurm, 2, *flags)
    world.all_held()
    for process in everyone(started):
        process.send_signal(signal.SIGUSR1)
    eventually(lambda: newest_round(kept) > 0, "no checkpoint is written")
    saved = newest_round(kept)
    started[0].send(signal.SIGTERM)
    started[0].wait_for(
        "stopping (asked to stop)"
    )  # so it was passed on to the master, which now gets its own
    for process in everyone(started):
        if process.pid != started[0].process.pid:
            process.terminate()
    world.release()
    assert [rank.wait() for rank in started] == [0, 0], started[0].said
    assert world.json()["status"] == "stopped"
    assert newest_round(kept) >= saved
    assert len(checkpoint.checkpoints(kept)) >= 1
    for told in ("resuming run", "nothing to do"):  # whoever comes when all is done hears of it, too
        again = ranks(world, job, slurm, 2, *flags)
        assert [rank.wait() for rank in again] == [0, 0], again[0].said
        assert told in again[0].said
        assert world.json()["weights_sha256"] == undisturbed(jobs.GATED)


def test_a_second_term_is_143_at_once(world) -> None:
    world.hold()
    leader, other = ranks(world, world.job(ENDLESS), slurm, 2)
    world.all_held()
    leader.send(signal.SIGTERM)
    leader.wait_for("stopping (asked to stop)")
    leader.send(signal.SIGTERM)
    assert leader.wait(30) == 143
    other.send(signal.SIGKILL)  # it would wait for a master that comes back


def test_sigkill_of_mpirun_leaves_nobody(world) -> None:
    world.hold()
    run = world.start("ps-run", world.job(ENDLESS), under=open_mpi(2))
    url = run.wait_for(LISTENING, 60.0).removeprefix(LISTENING)
    eventually(world.held_pids, "no worker came to the gate", 60.0)
    run.send(signal.SIGKILL)
    world.release()
    eventually(lambda: not world.left_behind(), "somebody is left")
    assert not is_listening(url)
    world.forgive_temporary_files()


def test_sigkill_of_rank_0_leaves_nobody(world) -> None:
    """The master that it has started ends in order, and sends the others home."""
    world.hold()
    leader, other = ranks(world, world.job(ENDLESS), slurm, 2)
    eventually(world.held_pids, "no worker came to the gate", 60.0)
    leader.send(signal.SIGKILL)
    leader.wait()
    world.release()
    eventually(lambda: not world.left_behind(), "somebody is left")
    assert other.wait() == 0
    world.forgive_temporary_files()


def test_sigkill_of_one_rank_ends_all_under_mpirun_with_the_work_saved(world) -> None:
    world.hold()
    flags = ("--checkpoint", "kept", "--checkpoint-every", "10m")
    run = world.start("ps-run", world.job(ENDLESS), *flags, under=open_mpi(2))
    eventually(world.held_pids, "no worker came to the gate", 60.0)
    (victim,) = [child for child in run.children() if "rank-1" in child.cmdline()]
    victim.kill()
    world.release()
    assert run.wait() == 137
    eventually(lambda: not world.left_behind(), "somebody is left")
    assert newest_round(world.folder / "kept") > 0
    world.forgive_temporary_files()
