"""The driver's side of a run on Ray: makes room for its parts, starts them, passes wishes on, waits.

It decides when a run has failed that its master cannot end: nobody works for it any more, or Ray does not
bring the master back. It must not know what a part's process does.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from paramserver.cluster import ClusterError
from paramserver.ray.board import Board
from paramserver.ray.part import Outcome, Part
from paramserver.ray.roles import MASTER, Role, Worker
from ps_common.errors import TimedOut
from ps_common.saying import say

POLL_S = 0.2
ROOM_S = 1  # between two looks for room: Ray takes whole seconds only
TELL_AFTER_S = 3.0  # without room in the cluster, a person wants to know
LEAVE_S = 10.0  # for parts to leave at the end, or they are killed
CUT_S = 3.0  # likewise, when it is to end at once
DESERTED_S = 5.0  # for the master to end by itself when every worker has left
CONTROL_CALLS = 16  # to the board, beside one or two of each part
LOST = TimedOut.exit_code  # of a part that Ray does not start again


class Interrupted(BaseException):
    """The run was cut short."""


@dataclasses.dataclass(frozen=True)
class Placing:
    """What a run asks of the cluster.

    resources: what each role needs, by the name of the part, e.g. {"CPU": 1, "GPU": 1}.
    strategy: of the placement group. restarts: how often a part is started again elsewhere, and its process
    where it is. placement_timeout_s: for room in the cluster. master_timeout_s: for a lost master to be back.
    """

    resources: dict[str, dict[str, float]]
    strategy: str = "SPREAD"
    restarts: int = 10
    placement_timeout_s: float = 300.0
    master_timeout_s: float = 120.0

    def total(self, what: str) -> float:
        return sum(needed.get(what, 0) for needed in self.resources.values())


class RayRun:
    """A run of these roles, a master among them. Connected to Ray already; use it in a `with`."""

    def __init__(self, roles: Sequence[Role], placing: Placing) -> None:
        self._roles, self._placing = roles, placing
        self._group: Any = None
        self._board: Any = None
        self._actors: dict[str, Any] = {}
        self._pending: dict[Any, str] = {}  # result of a part's run -> its name
        self._outcomes: dict[str, Outcome] = {}
        self._deserted_at: float | None = None
        self._looked_at = time.monotonic()
        self._silent: Any = None  # the board's answer to come
        self._wanted = (False, False, 0)
        self._told = self._wanted
        self._is_cut = False

    # -- wishes, from signal handlers too -------------------------------------------------------------

    @property
    def is_stopping(self) -> bool:
        return self._wanted[0]

    def stop(self) -> None:
        """Ask the run to stop: units in hand are finished, a checkpoint is written, everyone leaves."""
        self._wanted = (True, *self._wanted[1:])

    def save(self) -> None:
        """Let the master write a checkpoint now."""
        self._wanted = (*self._wanted[:2], self._wanted[2] + 1)

    def cut(self) -> None:
        """End at once: whatever waits here raises `Interrupted`."""
        self._is_cut = True

    # -- life -----------------------------------------------------------------------------------------

    def __enter__(self) -> "RayRun":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(self) -> Outcome | None:
        """The whole of it: the master's outcome; None where it was asked to stop before it had begun.

        Raises `TimedOut` without room in the cluster, `ClusterError` where the run failed otherwise than by
        the master's own word, `Interrupted`.
        """
        if not self._make_room():
            return None
        self._start()
        while MASTER not in self._outcomes:
            self._take_outcomes()
            self._tell()
            self._look_for_master()
            self._end_if_deserted()
        return self._outcomes[MASTER]

    def _make_room(self) -> bool:
        """Wait for a bundle for each part; False where it is asked to stop meanwhile."""
        bundles = [self._placing.resources[role.name] for role in self._roles]
        self._group = placement_group(bundles, strategy=self._placing.strategy, name="paramserver")
        began, has_told = time.monotonic(), False
        while not self._group.wait(ROOM_S):
            self._raise_if_cut()
            if self.is_stopping:
                return False
            waited_s = time.monotonic() - began
            if waited_s > self._placing.placement_timeout_s:
                raise TimedOut(f"after {waited_s:.0f} s {self._no_room()}; ask for less, or add nodes")
            if waited_s > TELL_AFTER_S and not has_told:
                has_told = True
                say(f"ps-ray: waiting: {self._no_room()}")
        return True

    def _no_room(self) -> str:
        kinds = sorted({what for needed in self._placing.resources.values() for what in needed})
        api: Any = ray  # its types do not say what these return
        there, free = api.cluster_resources(), api.available_resources()
        nodes = sum(node["Alive"] for node in api.nodes())
        each = ", ".join(
            f"{self._placing.total(what):g} {what} ({there.get(what, 0):g} there, {free.get(what, 0):g} free)"
            for what in kinds
        )
        return (
            f"the cluster has no room for {len(self._roles)} parts ({self._placing.strategy}), which need "
            f"{each}, on {nodes} nodes"
        )

    def _start(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        board: Any = ray.remote(Board)
        names = [role.name for role in self._roles]
        calls = 4 * len(names) + CONTROL_CALLS
        self._board = board.options(num_cpus=0, max_concurrency=calls, scheduling_strategy=here).remote(names)
        part: Any = ray.remote(Part)
        for index, role in enumerate(self._roles):
            needed = dict(self._placing.resources[role.name])
            actor = part.options(
                num_cpus=needed.pop("CPU", 0),
                num_gpus=needed.pop("GPU", 0),
                resources=needed,
                max_restarts=self._placing.restarts,
                max_task_retries=-1,  # of its one call, which is the part's life
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    self._group, placement_group_bundle_index=index
                ),
            ).remote(role.name)
            self._actors[role.name] = actor
            self._pending[actor.run.remote(role, self._board, self._placing.restarts)] = role.name

    def close(self) -> None:
        """End whatever still runs, in order if it can be, and give its room back."""
        self._wanted = (self._wanted[0], True, self._wanted[2])
        try:
            if self._board is not None:
                self._tell()
                self._wait_for_rest(CUT_S if self._is_cut else LEAVE_S)
        finally:
            self._kill()

    def _kill(self) -> None:
        for actor in (*self._actors.values(), self._board):
            if actor is not None:
                ray.kill(actor)
        if self._group is not None:
            remove_placement_group(self._group)

    # -- while it runs --------------------------------------------------------------------------------

    def _take_outcomes(self) -> None:
        self._raise_if_cut()
        for ref in ray.wait(list(self._pending), timeout=POLL_S)[0]:
            name = self._pending.pop(ref)
            try:
                self._outcomes[name] = ray.get(ref)
            except RayTaskError:
                raise  # our own bug, or a user's mistake, with the part's traceback
            except RayError as error:
                text = f"{name} is lost, and Ray does not start it again (--restarts): {error}"
                self._outcomes[name] = Outcome(name, LOST, text)
                if name != MASTER:
                    say(f"ps-ray: {text}")

    def _tell(self) -> None:
        if self._wanted != self._told:
            self._told = self._wanted
            self._board.want.remote(*self._wanted)

    def _raise_if_cut(self) -> None:
        if self._is_cut:
            raise Interrupted

    def _look_for_master(self) -> None:
        """Raise where nothing is heard of the master for too long, as when no node has room for it."""
        now = time.monotonic()
        if self._silent is None and now > self._looked_at + 1.0:
            self._silent, self._looked_at = self._board.silent_s.remote(MASTER), now
        if self._silent is None or not ray.wait([self._silent], timeout=0)[0]:
            return
        try:
            silent_s, self._silent = ray.get(self._silent), None
        except RayError as error:
            raise ClusterError(
                f"what the parts of the run meet by, on this node, is lost: {error}", LOST
            ) from None
        if silent_s > self._placing.master_timeout_s and MASTER not in self._outcomes:
            raise ClusterError(
                f"Ray has not brought the master back within {silent_s:.0f} s, so {self._no_room()}", LOST
            )

    def _end_if_deserted(self) -> None:
        """When every worker has failed, nobody will come: end the master too."""
        workers = [role.name for role in self._roles if isinstance(role, Worker)]
        failed = [self._outcomes[name] for name in workers if name in self._outcomes]
        if MASTER in self._outcomes or len(failed) < len(workers) or not any(o.exit_code for o in failed):
            return
        now = time.monotonic()
        self._deserted_at = self._deserted_at or now
        if now < self._deserted_at + DESERTED_S:  # it may be ending because of that very error
            return
        worst = next(outcome for outcome in failed if outcome.exit_code)
        raise ClusterError(f"every worker left with an error; {worst.name}:\n{worst.tail}", worst.exit_code)

    def _wait_for_rest(self, timeout_s: float) -> None:
        """For parts to leave: workers hear of the end from the master, and all of them from the board."""
        until = time.monotonic() + timeout_s
        while self._pending and time.monotonic() < until:
            for ref in ray.wait(list(self._pending), timeout=POLL_S)[0]:
                del self._pending[ref]
