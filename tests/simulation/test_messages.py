"""Every message of the protocol may be lost, doubled, late or damaged: the run ends the same."""

import collections
from collections.abc import Callable, Sequence

import pytest

from paramserver.settings import Settings
from ps_common import messages as m
from ps_common.plan import Plan
from ps_common.wire import decode
from simulation.cluster import Cluster
from simulation.counting import check_counts
from simulation.jobs import Case, counting_case
from simulation.network import Frames

ALL = [
    m.Join, m.Welcome, m.Ready, m.Lease, m.Pull, m.Weights, m.Fetch, m.Rows, m.Push, m.Chunk, m.Grant,
    m.Accepted, m.Heartbeat, m.Alive, m.Stop, m.Leave,
]  # fmt: skip
WITH_PAYLOAD = [m.Weights, m.Rows, m.Chunk]
SETTINGS = Settings(chunk_bytes=64, window=2, held_bytes=64, checkpoint_every_rounds=1, workers_min=2)


def small_case() -> Case:
    return counting_case(
        Plan(shards=(10, 7, 12), batch_size=4, local_steps=1, epochs=2), 7, 29, test_samples=5
    )


def run_with(change: Callable[[Frames], Sequence[tuple[float, Frames]]], kind: type[m.Message]) -> Cluster:
    """A run of two workers in which `change` is made to some of the first messages of a kind."""
    cluster = Cluster(1, small_case(), SETTINGS)
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
    cluster.start_worker()
    cluster.start_worker()
    cluster.run(within_s=100.0)
    assert met, f"no {kind.__name__} was sent"
    assert cluster.finished is not None
    assert cluster.finished.exit_code == 0
    assert [node.exit.exit_code for node in cluster.left if node.exit] == [0, 0]
    check_counts(cluster.final.view("float64"), 2)
    return cluster


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_message_that_is_lost_is_asked_for_again(kind: type[m.Message]) -> None:
    run_with(lambda frames: [], kind)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_message_that_comes_twice_counts_once(kind: type[m.Message]) -> None:
    run_with(lambda frames: [(0.0, frames), (0.0005, frames)], kind)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_message_that_comes_again_much_later_changes_nothing(kind: type[m.Message]) -> None:
    run_with(lambda frames: [(0.0, frames), (0.3, frames), (2.5, frames)], kind)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_message_that_comes_late_is_not_missed(kind: type[m.Message]) -> None:
    run_with(lambda frames: [(1.7, frames)], kind)


@pytest.mark.parametrize("kind", WITH_PAYLOAD, ids=lambda kind: kind.__name__)
def test_a_payload_that_was_damaged_is_seen_and_asked_for_again(kind: type[m.Message]) -> None:
    cluster = run_with(
        lambda frames: [(0.0, [*frames[:-1], bytes([frames[-1][0] ^ 0x10]) + bytes(frames[-1][1:])])], kind
    )
    told = [text for node in cluster.left for text in node.notes]
    if kind is m.Chunk:
        told = [note.text for note in cluster.masters[-1].notes if note.event == "rejection"]
    assert any("wrong checksum" in text for text in told)
