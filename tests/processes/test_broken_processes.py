"""Broken: a recovery is switched off in real processes, and the very test that promises it turns red.

What is replaced is in breaking/sitecustomize.py, which only processes that a test starts load. Each test runs
here as it stands, but that it waits for a few seconds and not for as long as a slow machine may take.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from paramserver import LocalCluster
from processes import (
    jobs,
    test_bad_peers,
    test_launchers,
    test_master_faults,
    test_mutated_frames,
    test_restarts,
    test_servers,
    test_status,
    test_stopping,
    test_worker_faults,
    test_wrong_setups,
)
from processes.world import Command, World, eventually
from ps_common.errors import ParamserverError

FOLDER = Path(__file__).with_name("breaking")
PATIENCE_S = 5.0  # with what will not come
GOES_ON = "the run goes on"
RED = (AssertionError, ParamserverError, ConnectionError)  # a fact that does not hold, or a run that ends ill

Undisturbed = Callable[[str], str]
Break = Callable[[str, str], Any]


@pytest.fixture
def broken(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Break]:
    """Break what is started from now on, and say what it turns red; whatever is left of it is ended."""
    wait, wait_for, said = LocalCluster.wait, LocalCluster.wait_for, Command.wait_for

    def begin(name: str, told: str) -> Any:
        def least(line: str, most_s: float) -> float:
            return PATIENCE_S if told in line else most_s

        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")]))
        monkeypatch.setenv("BROKEN", name)
        monkeypatch.setattr(LocalCluster, "wait", lambda self, most_s: wait(self, least(GOES_ON, most_s)))
        for kind, honest in ((LocalCluster, wait_for), (Command, said)):
            monkeypatch.setattr(
                kind, "wait_for", lambda self, line, s=60.0, f=honest: f(self, line, least(line, s))
            )
        return pytest.raises(RED, match=told)

    yield begin
    for process in world.left_behind():
        with contextlib.suppress(psutil.Error):  # it was ending
            process.kill()
    world.forgive_temporary_files()


def worker_killed(world: World, undisturbed: Undisturbed) -> None:
    test_worker_faults.test_sigkill_of_a_worker_is_told_by_the_kernel_and_changes_no_bit(
        world, undisturbed, "tcp"
    )


def all_killed(world: World, undisturbed: Undisturbed) -> None:
    test_worker_faults.test_all_workers_killed_and_new_ones_started_changes_no_bit(world, undisturbed)


def server_killed(world: World, undisturbed: Undisturbed) -> None:
    test_servers.test_sigkill_of_servers_again_and_again_changes_no_bit(world, undisturbed, "auto")


MASTER_KILLED = test_master_faults.test_sigkill_of_the_master_and_a_restart_changes_no_bit
PAIRS = {
    "loses_units": (all_killed, GOES_ON),
    "is_not_told": (worker_killed, "is lost: its process"),
    "forgets_samples": (MASTER_KILLED, "960"),
    "does_not_resume": (MASTER_KILLED, "resuming run"),
    "stays_away": (MASTER_KILLED, "4 joins"),
    "does_not_miss_a_server": (server_killed, "was killed by signal 9"),
    "does_not_look_why": (
        test_wrong_setups.test_a_worker_that_is_there_before_the_master_waits_says_so_and_trains,
        "nobody listens at port",
    ),
    "starts_nobody_again": (test_restarts.test_ps_local_starts_a_killed_worker_again, "starting it again"),
}
JOBS = {server_killed: test_servers.LONG}  # of those that have another one


@pytest.mark.parametrize("name", PAIRS)
def test_a_recovery_that_is_switched_off_is_seen(
    world: World, undisturbed: Undisturbed, broken: Break, name: str
) -> None:
    shown, told = PAIRS[name]
    undisturbed(JOBS.get(shown, jobs.GATED))  # while nothing is broken
    with broken(name, told):
        shown(world, undisturbed)


@pytest.mark.parametrize("is_nearly_right", [False, True])
def test_a_master_that_falls_over_what_is_no_message_is_seen(
    world: World,
    undisturbed: Undisturbed,
    broken: Break,
    monkeypatch: pytest.MonkeyPatch,
    is_nearly_right: bool,
) -> None:
    """It is gone for whoever comes next, or does not note what came."""
    for shown in (test_bad_peers, test_mutated_frames):
        monkeypatch.setattr(shown, "eventually", lambda holds, what: eventually(holds, what, PATIENCE_S))
    with broken("falls_over_what_is_no_message", "refused"):
        if is_nearly_right:
            test_mutated_frames.test_mutated_frames_change_no_bit_of_an_honest_run(world, undisturbed, False)
        else:
            test_bad_peers.test_garbage_is_refused_and_recorded_and_changes_no_bit(world, undisturbed)


def test_processes_that_outlive_ps_local_are_seen(world: World, broken: Break) -> None:
    with broken("does_not_see_that_it_is_alone", "they watch their parent"):
        test_stopping.test_kill_of_ps_local_ends_its_master_and_workers(world)


def test_orders_with_the_key_of_another_role_are_seen(world: World, broken: Break) -> None:
    with broken("lets_anybody_order", r"\[0, 0, 77, 0\]"):
        test_status.test_with_keys_each_role_may_what_it_may(world)


def test_a_master_that_is_left_alone_by_its_rank_is_seen(
    world: World, broken: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "somebody is left"

    def impatient(holds: Callable[[], Any], what: str, most_s: float = 30.0) -> Any:
        return eventually(holds, what, PATIENCE_S if what == told else most_s)

    monkeypatch.setattr(test_launchers, "eventually", impatient)
    with broken("does_not_see_that_it_is_alone", told):
        test_launchers.test_sigkill_of_rank_0_leaves_nobody(world)


def test_a_master_that_is_sent_term_twice_is_seen(
    world: World, undisturbed: Undisturbed, broken: Break
) -> None:
    with broken("passes_term_on", r"assert \[143, 0\] == \[0, 0\]"):
        test_launchers.test_term_to_every_process_of_a_job_saves_and_leaves_and_the_next_start_goes_on(
            world, undisturbed
        )


def verify_a_run(world: World) -> None:
    """A short run, whose ledger must be what its weights are made of."""
    kept = world.folder / "kept"
    world.record(flags=("--checkpoint", kept, "--checkpoint-every", "1round"))
    code, said = world.run("ps-server", "verify", kept)
    assert code == 0, said


def test_nothing_broken_is_verified(world: World) -> None:
    verify_a_run(world)


def test_a_ledger_that_lacks_what_was_averaged_is_seen(world: World, broken: Break) -> None:
    with broken("keeps_no_account", "is committed where|were averaged without one"):
        verify_a_run(world)
