"""Every message of the protocol may be lost, doubled, late or damaged: the run ends the same."""

import collections
from collections.abc import Callable, Sequence

import pytest

from paramserver.settings import Settings
from paramserver.simulation.computing import Pace
from paramserver.simulation.frames import Frames
from ps_common import messages as m
from ps_common.plan import Plan
from ps_common.wire import decode
from simulation.cluster import Cluster
from simulation.counting import check_counts
from simulation.jobs import Case, counting_case

Kind = type[m.Message]
ALL = [
    m.Join, m.Welcome, m.Ready, m.Lease, m.Pull, m.Weights, m.Fetch, m.Rows, m.Push, m.Chunk, m.Grant,
    m.Accepted, m.Heartbeat, m.Alive, m.Stop, m.Leave,
]  # fmt: skip
# With two averaging servers, which share memory with the master and the workers, or not.
SERVED = [
    m.Serve, m.Serving, m.Open, m.Announce, m.Delivered, m.Pull, m.Weights, m.Chunk, m.Grant, m.Finish,
    m.Closed, m.Check, m.Pulse, m.Push, m.Lease, m.Accepted,
]  # fmt: skip
SHARED = [m.Serve, m.Serving, m.Open, m.Lend, m.Delivered, m.Release, m.Released, m.Finish, m.Closed, m.Push]
CASES = [
    *(pytest.param(kind, 1, False, id=kind.__name__) for kind in ALL),
    *(pytest.param(kind, 2, False, id=f"{kind.__name__}, 2 servers") for kind in SERVED),
    *(pytest.param(kind, 2, True, id=f"{kind.__name__}, 2 servers that share memory") for kind in SHARED),
]
WITH_PAYLOAD = [
    *(pytest.param(kind, 1, id=kind.__name__) for kind in (m.Weights, m.Rows, m.Chunk)),
    *(pytest.param(kind, 2, id=f"{kind.__name__}, 2 servers") for kind in (m.Weights, m.Chunk)),
]
SETTINGS = Settings(chunk_bytes=64, window=2, held_bytes=64, checkpoint_every_rounds=1, workers_at_start=2)


def small_case(shards: tuple[int, ...] = (10, 7, 12)) -> Case:
    plan = Plan(shards=shards, batch_size=4, local_steps=1, epochs=2)
    return counting_case(plan, 7, sum(shards), test_samples=5)


def run_with(
    change: Callable[[Frames], Sequence[tuple[float, Frames]]],
    kind: Kind,
    servers: int,
    is_shared: bool = False,
) -> Cluster:
    """A run of two workers in which `change` is made to some of the first messages of a kind."""
    case = small_case((10, 7, 12, 9, 8)) if is_shared else small_case()
    cluster = Cluster(1, case, SETTINGS, is_shared=is_shared, servers=servers)
    met: collections.Counter[tuple[bytes, bytes]] = collections.Counter()

    def tamper(source: bytes, target: bytes, frames: Frames) -> Sequence[tuple[float, Frames]]:
        if type(decode(frames)) is not kind:
            return [(0.0, frames)]
        met[source, target] += 1
        if met[source, target] not in (1, 2, 4, 6):
            return [(0.0, frames)]
        changed = change(frames)
        cluster.network.damaged += any(each != frames for _, each in changed)
        return changed

    cluster.network.tamper = tamper
    cluster.start_master()
    cluster.start_worker(
        Pace(step_s=0.3) if is_shared else Pace()
    )  # meanwhile the other lends both its vectors
    cluster.start_worker()
    cluster.run(within_s=100.0)
    assert met, f"no {kind.__name__} was sent"
    assert cluster.finished is not None
    assert cluster.finished.exit_code == 0
    assert [node.exit.exit_code for node in cluster.left if node.exit] == [0, 0]
    check_counts(cluster.final.view("float64"), 2)
    return cluster


@pytest.mark.parametrize(("kind", "servers", "is_shared"), CASES)
def test_a_message_that_is_lost_is_asked_for_again(
    kind: type[m.Message], servers: int, is_shared: bool
) -> None:
    run_with(lambda frames: [], kind, servers, is_shared)


@pytest.mark.parametrize(("kind", "servers", "is_shared"), CASES)
def test_a_message_that_comes_twice_counts_once(kind: Kind, servers: int, is_shared: bool) -> None:
    run_with(lambda frames: [(0.0, frames), (0.0005, frames)], kind, servers, is_shared)


@pytest.mark.parametrize(("kind", "servers", "is_shared"), CASES)
def test_a_message_that_comes_again_much_later_changes_nothing(
    kind: type[m.Message], servers: int, is_shared: bool
) -> None:
    run_with(lambda frames: [(0.0, frames), (0.3, frames), (2.5, frames)], kind, servers, is_shared)


@pytest.mark.parametrize(("kind", "servers", "is_shared"), CASES)
def test_a_message_that_comes_late_is_not_missed(
    kind: type[m.Message], servers: int, is_shared: bool
) -> None:
    run_with(lambda frames: [(1.7, frames)], kind, servers, is_shared)


@pytest.mark.parametrize(("kind", "servers"), WITH_PAYLOAD)
def test_a_payload_that_was_damaged_is_seen_and_asked_for_again(kind: Kind, servers: int) -> None:
    cluster = run_with(
        lambda frames: [(0.0, [*frames[:-1], bytes([frames[-1][0] ^ 0x10]) + bytes(frames[-1][1:])])],
        kind,
        servers,
    )
    told = [text for node in cluster.left for text in node.notes]
    if kind is m.Chunk:
        nodes = [*cluster.masters, *cluster.all_servers]
        told = [note.text for node in nodes for note in node.notes if note.event == "rejection"]
    assert any("wrong checksum" in text for text in told)
