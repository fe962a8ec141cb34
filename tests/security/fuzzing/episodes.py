"""Small runs of real machines in virtual time, and what is put between their events: the fuzzer's targets.

Master, workers and averaging servers are those of production behind the decode path of their loops, in a
simulated network. One of them lies, or somebody who is no member: between any two events it says something
that `mutation.py` has made of what was really said. Nothing but `PeerError`, handled within, may come of it.
"""

import collections
import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from paramserver.settings import Settings
from paramserver.simulation.case import Case
from paramserver.simulation.cluster import Cluster
from paramserver.simulation.computing import Pace, UserError
from paramserver.simulation.frames import Frames
from paramserver.simulation.network import MASTER
from paramserver.simulation.node import Node
from paramserver.simulation.worker_node import WorkerNode
from ps_common.errors import PeerError
from ps_common.memory import Heap
from ps_common.messages import Join, Serve
from ps_common.wire import decode
from security.fuzzing.mutation import Mutator
from simulation.jobs import random_case, random_robust_case, random_settings
from simulation.naive import naive_run

LIARS = ("member", "member", "stranger", "master", "server")
POOL = 200  # messages that were really said, to make others of
INPUTS = 400  # of an episode
SAMPLES_MAX = 10_000  # of a job that a lying master describes, for the replica of the test to be built


class Escape(AssertionError):
    """Something came of an input that is no typed error."""


class Guarded:
    """A replica as production's computing side treats it: whatever it raises is a failure of the unit."""

    def __init__(self, case: Case, *given: Any) -> None:
        if given[0].train.samples > SAMPLES_MAX:
            raise UserError("too large for a test")
        self._replica = _guarded(case.make_replica)(*given)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._replica, name)
        return _guarded(value) if callable(value) else value


def _guarded(function: Any) -> Any:
    def call(*given: Any) -> Any:
        try:
            return function(*given)
        except Exception as error:
            raise UserError(str(error)) from error

    return call


class Episode:
    """One run, its liar and the inputs it was given so far."""

    def __init__(self, seed: int, corpus: Sequence[Sequence[bytes]] = ()) -> None:
        self.rng = rng = random.Random(seed)
        self.liar = rng.choice(LIARS)
        self.inputs: list[tuple[str, list[bytes]]] = []  # whom, what
        self._mutator = Mutator(rng)
        self._corpus = [list(frames) for frames in corpus]
        self._said: collections.deque[list[bytes]] = collections.deque(maxlen=POOL)
        is_robust = rng.random() < 0.25
        self._case = random_robust_case(rng) if is_robust else random_case(rng, rng.choice((1.0, 1.0, 0.6)))
        guarded = dataclasses.replace(self._case, make_replica=lambda *given: Guarded(self._case, *given))
        if self._case.description.plan.rule.is_whole and self.liar == "server":
            self.liar = "member"  # no servers can average by such a rule
        is_alone = self._case.description.plan.rule.is_whole
        servers = 1 if is_alone else 2 if self.liar == "server" else rng.choice((1, 1, 2))
        self.cluster = cluster = Cluster(
            seed, guarded, self._settings(), is_shared=rng.random() < 0.5, servers=servers,
            elsewhere=rng.choice(([], [0])),
        )  # fmt: skip
        cluster.network.tamper = self._overhear
        cluster.start_master()
        for _ in range(rng.randint(1, 3)):
            cluster.start_worker(Pace(step_s=rng.choice((0.001, 0.01, 0.5))))

    def _settings(self) -> Settings:
        settings = random_settings(self.rng)
        return dataclasses.replace(
            settings,
            stall_timeout_s=60.0,
            wait_timeout_s=60.0,
            server_timeout_s=5.0,
            server_losses_max=10**6,
            strikes_max=self.rng.choice((3, 10**6)),
            trusts_workers=True,
        )

    def _overhear(self, source: bytes, target: bytes, frames: Frames) -> list[tuple[float, Frames]]:
        self._said.append([bytes(frame) for frame in frames])
        return [(0.0, frames)]

    def play(self, inputs: int = INPUTS) -> int:
        """Say so many things in the course of the run, then see it to its end; returns how many were said."""
        with np.errstate(all="ignore"):  # what is summed may be nonsense
            while len(self.inputs) < inputs and not self.cluster.is_over:
                self.let_happen(self.rng.choice((0, 1, 1, 2, 5, 20)))
                for _ in range(self.rng.choice((1, 4, 16, 50))):
                    self._say_something()
            self.end()
        return len(self.inputs)

    def let_happen(self, events: int) -> None:
        end = self.cluster.world.events + events
        cluster = self.cluster
        cluster.run_until(lambda: cluster.is_over or cluster.world.events >= end, 1e6)

    # -- inputs ---------------------------------------------------------------------------------------

    def _say_something(self) -> None:
        pairs = self.pairs()
        if not pairs:
            return
        source, node = self.rng.choice(pairs)
        rng, pool = self.rng, self._said if self._said and self.rng.random() < 0.85 else self._corpus
        if not pool:
            return
        chosen = rng.choice(pool)
        frames = (
            chosen
            if rng.random() < 0.1
            else self._mutator.mutate(chosen, rng.choice((self._said or pool, pool)))
        )
        self.inputs.append((type(node).__name__, frames))
        self.feed(source, node, frames)

    def feed(self, source: bytes, node: Node, frames: Sequence[bytes]) -> None:
        """As the loop does that has received them."""
        try:
            message = decode(frames)
        except PeerError:
            if isinstance(node, WorkerNode):
                return  # its loop notes it
        else:
            if self.liar == "stranger" and isinstance(message, Join | Serve):
                return  # it would be none any more: of a master's role is who has its key
        node._take_in(source, frames)

    def pairs(self) -> list[tuple[bytes, Node]]:
        """Who lies, and who hears it."""
        cluster = self.cluster
        master, workers, servers = cluster.master, cluster.workers, list(cluster.servers.values())
        above: list[Node] = [*([master] if master else []), *servers]
        pairs: dict[str, list[tuple[bytes, Node]]] = {
            "member": [(b"sender-1", node) for node in above],
            "stranger": [(b"stranger", node) for node in above],
            "master": [
                *((MASTER, node) for node in workers),
                *((master.connection, node) for node in servers if master is not None),
            ],
            "server": [(one.address, node) for one in servers for node in (*above[:1], *workers)],
        }
        return pairs[self.liar]

    # -- the end --------------------------------------------------------------------------------------

    def end(self) -> None:
        """The liar is gone; whoever is left, and one who comes, brings the run to an end.

        Who was told lies of those it trusts may be at a loss, but stands.
        """
        cluster = self.cluster
        if self.liar in ("master", "server"):
            cluster.world.let_pass(1.0)
            return
        if not cluster.is_over:
            liars = [
                node for node in cluster.workers if self.liar == "member" and node.address == b"sender-1"
            ]
            for node in liars:
                cluster.kill_worker(node)
            if cluster.finished is None:
                for _ in range(cluster.settings.workers_min):
                    cluster.start_worker()
            cluster.run(1e5)
        finished = cluster.finished
        assert finished is not None
        if finished.exit_code and " failed: " not in finished.reason:  # as a member may say of its units
            raise Escape(f"the run of honest workers has come to {finished}")
        if self.liar == "stranger":
            self._check_bits()

    def _check_bits(self) -> None:
        """Whoever is no member changes no bit."""
        case, saved = self._case, self.cluster.saved
        if case.description.plan.quorum < 1:
            return  # bits depend on who was late
        assert saved is not None
        oracle = naive_run(case.description, case.make_replica(case.description, Heap()), case.sources)
        if bytes(saved.vector) != bytes(oracle):
            raise Escape("a stranger has changed the weights")


def play(seed: int, corpus: Sequence[Sequence[bytes]] = (), inputs: int = INPUTS) -> int:
    """One episode. What escapes says the seed, and the last input."""
    episode = Episode(seed, corpus)
    try:
        return episode.play(inputs)
    except Exception as error:
        node, frames = episode.inputs[-1] if episode.inputs else ("nobody", [])
        said = " ".join(frame[:200].hex() or "-" for frame in frames[:4])
        error.add_note(
            f"episode {seed} ({episode.liar} lies), input {len(episode.inputs)}, to {node}: {said}"
        )
        raise
