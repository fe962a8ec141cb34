"""Training loops of users' own, in real processes: whoever is killed, the weights are the same."""

import hashlib
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import paramserver
from paramserver import ParamserverError
from processes.loops import FORKING, LINEAR, PLAN, SAMPLES
from processes.world import Command, World, eventually, newest_round
from ps_common.errors import (
    DataError,
    JobMismatch,
    LayoutMismatch,
    MasterUnreachable,
    TimedOut,
    UsageError,
)


class Master:
    """ps-server own, at one address from start to start."""

    def __init__(self, world: World, *flags: object) -> None:
        self._world, self._flags = world, flags
        self.command, self.address = self._start("tcp://127.0.0.1:0")

    def _start(self, bind: str) -> tuple[Command, str]:
        file = self._world.folder / "address"
        file.unlink(missing_ok=True)
        record = self._world.folder / "record.json"
        words = ("own", "--bind", bind, "--address-file", file, "--json", record, *self._flags)
        command = self._world.start("ps-server", *words)
        command.wait_for("listening")
        return command, str(eventually(lambda: file.exists() and file.read_text(), "no address"))

    def restart(self) -> None:
        """Kill it, and start it again at its address."""
        self.command.send(signal.SIGKILL)
        self.command.wait()
        self.command, _ = self._start(self.address)

    def loop(self, text: str = LINEAR) -> Command:
        script = self._world.job(text, "loop.py")
        return self._world.start("python", script, self.address)

    def end(self, *loops: Command, exit_code: int = 0) -> None:
        for loop in loops:
            assert loop.wait() == exit_code, loop.said
        assert self.command.wait() == 0, self.command.said


def digest_of(loop: Command) -> str:
    return loop.wait_for("weights ").split()[-1]


def held_loop(world: World, *loops: Command) -> Command:
    """Wait until one of the loops is held, with a unit in hand."""
    pids = {loop.process.pid: loop for loop in loops}
    found = eventually(lambda: [pid for pid in world.held_pids() if pid in pids], "no loop is held")
    return pids[found[0]]


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the weights after an undisturbed run of one loop."""
    world = World(tmp_path_factory.mktemp("alone"))
    master = Master(world, *PLAN)
    loop = master.loop()
    master.end(loop)
    assert digest_of(loop) == world.json()["weights_sha256"]
    return digest_of(loop)


@pytest.mark.parametrize("loops", [2, 3])
def test_the_number_of_loops_changes_no_bit_and_each_gets_the_last_weights(
    world: World, digest: str, loops: int
) -> None:
    master = Master(world, *PLAN, "--begin-with", loops)
    started = [master.loop() for _ in range(loops)]
    master.end(*started)
    record = world.json()
    assert {record["weights_sha256"], *map(digest_of, started)} == {digest}
    assert (record["rounds"], record["epochs"], record["samples"]) == (12, 3, 720)
    assert [entry["samples"] for entry in record["history"]] == [240, 480, 720]
    assert record["history"][2]["loss"] < record["history"][0]["loss"]


@pytest.mark.parametrize("flags", [("--transport", "tcp"), ("--servers", 2)], ids=["tcp", "servers"])
def test_nor_does_the_way_of_the_weights(world: World, digest: str, flags: tuple[object, ...]) -> None:
    master = Master(world, *PLAN, *flags)
    loop = master.loop()
    master.end(loop)
    assert digest_of(loop) == world.json()["weights_sha256"] == digest


def test_a_loop_that_is_killed_beside_another_changes_no_bit(world: World, digest: str) -> None:
    master = Master(world, *PLAN, "--begin-with", 2)
    world.hold()
    loops = [master.loop(), master.loop()]
    victim = held_loop(world, *loops)
    victim.send(signal.SIGKILL)
    victim.wait()
    world.release()
    (other,) = (loop for loop in loops if loop is not victim)
    master.end(other)
    record = world.json()
    assert digest_of(other) == record["weights_sha256"] == digest
    assert record["samples"] == 3 * SAMPLES
    assert [event["event"] for event in record["events"]].count("loss") == 1


def test_a_loop_that_is_killed_changes_no_bit_and_the_ledger_adds_up(world: World, digest: str) -> None:
    master = Master(world, *PLAN, "--checkpoint", world.folder / "kept")
    world.hold()
    victim = master.loop()
    held_loop(world, victim)
    victim.send(signal.SIGKILL)  # nobody is here to race its unit
    victim.wait()
    world.release()
    other = master.loop()
    master.end(other)
    record = world.json()
    assert digest_of(other) == record["weights_sha256"] == digest
    assert any(event["event"] == "release" for event in record["events"])
    code, said = world.run("ps-server", "verify", world.folder / "kept")
    assert (code, "12 rounds, 48 units, 720 samples, each exactly once" in said) == (0, True), said
    code, said = world.run("ps-server", "verify", world.folder / "kept", "--replay", world.folder / "loop.py")
    assert (code, "it has no replay" in said) == (2, True), said


@pytest.mark.parametrize("keeps", [True, False], ids=["with a checkpoint", "without"])
def test_a_master_that_is_killed_and_started_again_changes_no_bit(
    world: World, digest: str, keeps: bool
) -> None:
    flags = ("--checkpoint", world.folder / "kept", "--checkpoint-every", "1round") if keeps else ()
    master = Master(world, *PLAN, *flags)
    world.hold()
    loop = master.loop()
    held_loop(world, loop)
    if keeps:
        eventually(lambda: newest_round(world.folder / "kept") >= 1, "no round was saved")
    master.restart()
    assert ("resuming run" in master.command.said) == keeps
    world.release()
    master.end(loop)
    assert digest_of(loop) == world.json()["weights_sha256"] == digest


def test_a_loop_that_is_interrupted_leaves_and_another_goes_on(world: World, digest: str) -> None:
    master = Master(world, *PLAN)
    world.hold()
    loop = master.loop()
    held_loop(world, loop)
    loop.send(signal.SIGINT)
    assert loop.wait() != 0
    assert "KeyboardInterrupt" in loop.said
    master.command.wait_for("loop left")
    world.release()
    other = master.loop()
    master.end(other)
    assert digest_of(other) == world.json()["weights_sha256"] == digest


def test_a_master_that_is_asked_to_stop_ends_the_loops(world: World) -> None:
    master = Master(world, *PLAN)
    world.hold()
    loop = master.loop()
    held_loop(world, loop)
    master.command.send(signal.SIGTERM)
    master.command.wait_for("stopping")
    world.release()
    master.end(loop)
    record = world.json()
    assert record["status"] == "stopped"
    assert digest_of(loop) == record["weights_sha256"], "it has what the run has come to"


def test_contributions_count_by_their_samples(world: World) -> None:
    master = Master(world, "--rounds", 2, "--shards", 2)
    one, two = np.zeros(3, np.float32), torch.zeros(2, 2, dtype=torch.float64)
    address = two.data_ptr()
    with paramserver.connect(master.address, timeout_s=30) as server:
        server.init([one, two])
        assert (server.round, server.shard, server.version, server.shards) == (0, 0, 0, 2)
        one[:], two[:] = 1, 1
        server.push_pull([one, two], samples=1)
        assert (server.round, server.shard, server.version) == (0, 1, 0)
        assert list(one) == [0, 0, 0], "the second unit begins with what the first began with"
        one[:], two[:] = 5, 9
        server.push_pull([one, two], samples=3)
        assert (server.round, server.version) == (1, 1)
        assert one.tolist() == [4] * 3
        assert two.tolist() == [[7, 7], [7, 7]]
        assert two.data_ptr() == address
        server.push([one, two], samples=2)
        one[:] = -1
        fresh = server.pull()
        assert fresh[0].tolist() == [4] * 3
        assert one.tolist() == [-1] * 3
        server.push_pull(fresh, samples=2)
        assert server.is_over
        with pytest.raises(UsageError, match=r"the run is over \(finished\)"):
            server.push_pull(fresh, samples=2)
    assert master.command.wait() == 0
    assert world.json()["samples"] == 1 + 3 + 2 + 2


def test_who_has_other_arrays_is_told_which_and_the_run_goes_on(world: World) -> None:
    master = Master(world, "--rounds", 1, "--shards", 2)
    told = r"w \(3, 4\) float64 weight on the master, this loop has w \(4, 3\) float64"
    with paramserver.connect(master.address, timeout_s=30) as server:
        early = paramserver.connect(master.address, timeout_s=30)  # before there is a layout
        server.init({"w": np.zeros((3, 4))})
        late = paramserver.connect(master.address, timeout_s=30)
        for other in (early, late):
            with other, pytest.raises(LayoutMismatch, match=told):
                other.init({"w": np.zeros((4, 3))})
        with pytest.raises(LayoutMismatch, match="b: absent on the master, this push has b"):
            server.push({"w": np.zeros((3, 4)), "b": np.zeros(2)}, samples=1)
        for _ in range(2):
            server.push_pull({"w": np.ones((3, 4))}, samples=1)
        assert server.is_over
    assert master.command.wait() == 0


def test_a_loop_that_waits_for_others_does_so_for_as_long_as_it_was_told(world: World) -> None:
    master = Master(world, "--rounds", 1, "--workers", 2)
    with paramserver.connect(master.address, timeout_s=0.3) as server:
        with pytest.raises(TimedOut, match=r"no unit came in 0\.3 s"):
            server.init(np.zeros(3))
        with pytest.raises(TimedOut, match=r"no unit came in 0\.3 s"):
            server.pull()
    master.command.send(signal.SIGTERM)
    assert master.command.wait() == 0


def test_what_a_loop_must_not_do_is_refused(world: World) -> None:
    master = Master(world, "--samples", 20, "--shards", 2, "--batch-size", 4, "--local-steps", 2)
    weights, data = np.zeros(3), np.arange(20)
    with paramserver.connect(master.address, timeout_s=30) as server:
        with pytest.raises(UsageError, match="call init first"):
            server.push(weights)
        with pytest.raises(UsageError, match="call init first"):
            server.pull(weights)
        server.init(weights)
        with pytest.raises(UsageError, match="init was called before"):
            server.init(weights)
        with pytest.raises(UsageError, match="round 0, shard 0 has 8 samples, not 7"):
            server.push(weights, samples=7)
        with pytest.raises(DataError, match="array 0 holds NaN"):
            server.push(np.array([0, 1, np.nan]))
        server.pull(weights)
        assert weights.tolist() == [0, 0, 0], "nothing of a push that is refused becomes the unit's"
        for metrics, error in (({"epoch": 1.0}, UsageError), ({"loss": np.nan}, DataError)):
            with pytest.raises(error, match="metric"):
                server.push(weights, metrics=metrics)
        batches = server.batches(data)
        assert len(first := next(batches)) == 4
        with pytest.raises(UsageError, match="has 8 samples, not 4: push when is_due"):
            server.push(weights)
        assert not server.is_due
        server.pull(weights)
        assert next(batches).tolist() == first.tolist(), "a unit whose weights are loaded again begins anew"
        assert not server.is_due
        next(batches)
        assert server.is_due
        with pytest.raises(UsageError, match="has 2 batches, and they are all handed out"):
            next(batches)
        server.push(weights)
        with pytest.raises(UsageError, match="pull after each push"):
            server.push(weights)
    master.command.send(signal.SIGTERM)
    assert master.command.wait() == 0


def test_a_forked_process_cannot_use_the_connection_of_another_and_does_it_no_harm(world: World) -> None:
    master = Master(world, "--rounds", 2)
    master.end(master.loop(FORKING))


def test_two_connections_of_one_process_each_in_a_thread_of_its_own(world: World, digest: str) -> None:
    master = Master(world, *PLAN, "--begin-with", 2)
    found: list[str] = []

    def work() -> None:
        rng = np.random.default_rng(3)
        x = rng.standard_normal((SAMPLES, 5))
        y = x @ np.arange(5.0) + 1
        weights = {"w": np.zeros(5), "b": np.zeros(1)}
        with paramserver.connect(master.address, timeout_s=60) as server:
            server.init(weights)
            for bx, by in server.batches((x, y), 8):
                error = bx @ weights["w"] + weights["b"] - by
                weights["w"] -= 0.1 * bx.T @ error / len(bx)
                weights["b"] -= 0.1 * error.mean()
                if server.is_due:
                    server.push_pull(weights)
        found.append(hashlib.sha256(weights["w"].tobytes() + weights["b"].tobytes()).hexdigest())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [digest, digest]
    assert master.command.wait() == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "paramserver"]


def test_nobody_at_the_address_and_no_address() -> None:
    with pytest.raises(MasterUnreachable, match="is it started"):
        paramserver.connect("tcp://127.0.0.1:9", master_timeout_s=0.3, is_quiet=True)
    with pytest.raises(UsageError, match="looks like tcp://host:5555"):
        paramserver.connect("127.0.0.1:5555")
    with pytest.raises(UsageError, match="a text of at most 256 characters, not 'xxx"):
        paramserver.connect(name="x" * 257)
    for name in ("timeout_s", "master_timeout_s", "shutdown_timeout_s"):
        for wrong in (0, -1.0, np.nan, np.inf, "1"):
            with pytest.raises(UsageError, match=f"^{name} must be a number of seconds above 0, not"):
                paramserver.connect(**{name: wrong})


def test_a_jobs_master_and_a_loops_master_each_say_who_they_are_for(world: World) -> None:
    with world.cluster(workers=0, flags=("--begin-with", 2)) as cluster:
        with pytest.raises(JobMismatch, match="serves a job; start ps-worker"):
            paramserver.connect(cluster.address)
        master = Master(world, *PLAN)
        code, said = world.run("ps-worker", "--master", master.address)
        assert (code, "serves loops of the users' own" in said) == (2, True), said
        master.command.send(signal.SIGTERM)
        assert master.command.wait() == 0


def test_a_model_file_of_a_loop_says_how_it_is_read(world: World) -> None:
    out = world.folder / "weights.safetensors"
    master = Master(world, "--rounds", 1, "--out", out)
    with paramserver.connect(master.address) as server:
        server.init({"w": np.arange(3.0)})
        server.push_pull({"w": np.arange(3.0) + 1}, samples=1)
    assert master.command.wait() == 0
    with pytest.raises(ParamserverError, match=r"safetensors\.numpy\.load_file reads them"):
        paramserver.load(out)
    import safetensors.numpy

    assert safetensors.numpy.load_file(Path(out))["w"].tolist() == [1, 2, 3]


def test_how_long_a_run_is_must_be_said(world: World) -> None:
    code, said = world.run("ps-server", "own", "--shards", 2)
    assert (code, "give its samples, or else its rounds" in said) == (2, True), said
    code, said = world.run("ps-server", "own", "--rounds", 2, "--set", "optimizer=x")
    assert (code, "a run has shards, batch_size" in said) == (2, True), said
