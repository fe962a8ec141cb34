"""Switches one recovery off in the process that it is loaded into, and in those that this one starts.

Python imports a module of this name when it starts, where PYTHONPATH holds its folder. The product has no
switch for this: its functions are replaced from outside. Which is the name of a function here, in BROKEN; see
test_broken_processes.py.
"""

import dataclasses
import os
import signal


def loses_units() -> None:
    """The unit of a worker that is lost is not open again, nor does anybody take it before."""
    from paramserver.leases import Stage
    from paramserver.stragglers import Stragglers

    Stage.reopen = Stage._end
    Stragglers._race = lambda self, stage, now: None


def is_not_told() -> None:
    """The kernel is not asked to tell of the end of a worker's process."""
    from paramserver.watched import Watched

    Watched.add = lambda self, name, pid: True


def forgets_samples() -> None:
    """A master goes on from a checkpoint as if nothing had been trained on until then."""
    from paramserver.machine import Master

    resume = Master._resume
    Master._resume = lambda self, found: resume(self, dataclasses.replace(found, samples=0))


def does_not_resume() -> None:
    """A master does not look for a checkpoint to go on from."""
    from paramserver import checkpoint

    checkpoint.newest = lambda folder, job_digest, skipped: None


def stays_away() -> None:
    """A worker that is asked to join again does not."""
    from ps_common import messages as m
    from ps_worker import machine

    machine._HANDLERS[m.Rejoin] = lambda *given: None


def keeps_no_account() -> None:
    """What was averaged is not in the ledger when the checkpoint is written."""
    from paramserver.saving import Writer

    Writer.add = lambda self, averaged: None


def starts_nobody_again() -> None:
    """Who was killed is not started again."""
    from paramserver.cluster import LocalCluster

    LocalCluster._may_start_again = lambda self, child: False


def does_not_look_why() -> None:
    """A worker whom nobody answers does not look what is at the master's address."""
    from ps_worker import loop
    from ps_worker.effects import Probe

    loop._PERFORM[Probe] = lambda *given: None


def passes_term_on() -> None:
    """The master is asked to stop by what whoever started the job may have sent it already."""
    from paramserver import cluster

    cluster.ASK_TO_STOP = signal.SIGTERM


def does_not_see_that_it_is_alone() -> None:
    """A process does not notice that the one that started it is gone."""
    from ps_common.signals import WakePipe

    WakePipe.is_orphan = property(lambda self: False)


def does_not_miss_a_server() -> None:
    """Nothing is done about an averaging server that has died."""
    from paramserver.servers.fleet import Fleet

    Fleet._on_server_lost = lambda self, index, why, now: None


def falls_over_what_is_no_message() -> None:
    """What is no message ends the master."""
    from paramserver.machine import Master

    del Master.refuse


def lets_anybody_order() -> None:
    """Every key may ask and give orders."""
    from paramserver import orders

    orders.require_allowed = lambda by, message: None


def believes_process_ids() -> None:
    """Whoever says that it is a process of this machine is that process."""
    from paramserver.admission.door import Door

    Door.is_process = lambda self, sender, pid: True


if "BROKEN" in os.environ:
    globals()[os.environ["BROKEN"]]()
