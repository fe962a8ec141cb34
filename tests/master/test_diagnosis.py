"""What ps-doctor says of what was seen, and with which code it ends: a worker's."""

import dataclasses

import pytest

from paramserver.diagnosis import LITTLE_BYTES, Answer, Key, Machine, diagnosis, exit_code
from ps_common.probing import GREETING
from ps_common.reaching import OK, OPEN, REFUSED, WARNING, WRONG, Found
from simulation.bench import Bench

FOUND = Found("master", 5555, 3.0, addresses=("10.0.0.2",), own="10.0.0.3", port_is=OPEN, said=GREETING)
STATUS = Bench().master.status(100.0)
SEEN = Answer(True, STATUS)
MACHINE = Machine(
    memory_bytes=8 * 2**30, cores=4, blas=("NumPy 2 with openblas 0.3, 4 threads",), cupy="no CuPy"
)
W, S = Key("w", "worker"), Key("s", "status")


def lines(found=FOUND, answer=SEEN, machine=MACHINE, key=None, has_job=False):
    told = diagnosis(found, answer, machine, key, has_job)
    return {finding.check: (finding.verdict, finding.text) for finding in told}, exit_code(told)


def test_where_all_is_well_every_check_is_a_line_and_it_is_0():
    told, code = lines()
    assert list(told) == [
        "name", "route", "port", "greeting", "keys", "version", "job", "run", "sharing", "memory", "cores",
        "BLAS", "GPU", "clock",
    ]  # fmt: skip
    assert {verdict for verdict, _ in told.values()} == {OK}
    assert code == 0
    wanted = STATUS["members_wanted"]
    assert told["run"][1].endswith(f": waiting, round 0 of {STATUS['rounds']}, 0 of {wanted} workers here")


def test_who_cannot_be_reached_is_not_asked_and_this_machine_is_told_of_all_the_same():
    told, code = lines(dataclasses.replace(FOUND, port_is=REFUSED), None)
    assert list(told) == ["name", "route", "port", "sharing", "memory", "cores", "BLAS", "GPU", "clock"]
    assert (told["port"][0], code) == (WRONG, 69)


@pytest.mark.parametrize(
    ("answer", "key", "check", "told", "code"),
    [
        (Answer(False, error="only who has a key", exit_code=77), None, "keys", "only who has a key", 77),
        (Answer(False, error="no answer", exit_code=69), None, "master", "speaks ZeroMQ, but not as a", 69),
        (Answer(True, error="speaks 9", exit_code=76), None, "version", "speaks 9", 76),
        (Answer(True, error="another job", exit_code=76, is_other_job=True), W, "job", "another job", 76),
    ],
)  # fmt: skip
def test_what_a_worker_would_leave_with_is_wrong_and_last_of_the_master(answer, key, check, told, code):
    found, ended = lines(answer=answer, key=key, has_job=True)
    assert found[check] == (WRONG, found[check][1])
    assert told in found[check][1]
    assert [name for name, (verdict, _) in found.items() if verdict != OK] == [check]
    assert "run" not in found
    assert ended == code


def test_a_workers_key_may_not_ask_and_that_is_well():
    told, code = lines(answer=Answer(True, error="may not ask", exit_code=77), key=W, has_job=True)
    assert code == 0
    assert told["keys"] == (OK, "the key w is let in, and the master has the run's server key")
    assert told["job"] == (OK, "the file is the master's")
    assert told["run"] == (OK, "it is there; how it is, a worker's key may not ask")


def test_a_key_of_another_role_is_a_warning():
    told, code = lines(key=S)
    assert told["keys"] == (WARNING, "the key s is let in, but its role is status: a worker with it is not")
    assert code == 0


def test_a_run_that_is_over_is_a_warning():
    told, _ = lines(answer=Answer(True, STATUS | {"state": "over", "reason": "finished"}))
    assert told["run"] == (WARNING, f"run {STATUS['run']} is over: finished")


@pytest.mark.parametrize(
    ("change", "check", "verdict", "told"),
    [
        ({"master_pid": 7, "shm_bytes": 64 * 2**20}, "sharing", OK, "the master is process 7 here: weights"),
        ({"shm_bytes": 64 * 2**20}, "sharing", OK, "its /dev/shm (64 MiB) is not used"),
        ({"is_own": True}, "sharing", OK, "another user's, another container's, or behind a forwarded port"),
        ({}, "sharing", OK, "the master is on another machine: weights go over TCP"),
        ({"why_no_segments": "no memfd"}, "sharing", WARNING, "no memory can be shared here: no memfd"),
        ({"memory_bytes": LITTLE_BYTES - 1}, "memory", WARNING, "200 MiB free: little for a worker"),
        ({"quota": 0.2}, "cores", WARNING, "4 to run on, but only 0.2 of them may be used up"),
        ({"quota": 8.0}, "cores", OK, "4 to run on"),
        ({"blas": ()}, "BLAS", WARNING, "products of matrices may be slow"),
        ({"gpus": ("cuda:0 (H100)",), "cupy": "CuPy 14"}, "GPU", OK, "cuda:0 (H100); CuPy 14"),
        ({"has_driver": True}, "GPU", WARNING, "NVIDIA's driver is here, but no CuPy: pip install"),
    ],
)  # fmt: skip
def test_this_machine_is_told_of_as_it_is(change, check, verdict, told):
    found, code = lines(machine=dataclasses.replace(MACHINE, **change))
    assert found[check][0] == verdict
    assert told in found[check][1]
    assert code == 0
