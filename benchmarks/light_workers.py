"""Many light workers in one process: the production worker machine, its computing side replaced by nothing.

`python light_workers.py URL COUNT` connects COUNT DEALER sockets, a machine behind each. A unit is answered
at once with the weights it came with. When the run is over one JSON line says when each worker had which
round's weights ready to use, and how many messages passed from its first unit of training on.
"""

import functools
import json
import os
import secrets
import socket as hosts
import sys
import time
from typing import Any

import zmq

from ps_common import messages as m
from ps_common.arrays import Device
from ps_common.errors import PeerError
from ps_common.job import Description
from ps_common.layout import Layout
from ps_common.wire import decode, encode
from ps_worker.effects import Compute, Contribution, Exit, Prepare, Prepared
from ps_worker.loop import libraries
from ps_worker.machine import Worker
from ps_worker.replica import Parts, Replica, Watch

PATIENCE_S = 60.0  # without a word of the master
TICK_MS = 50  # between two looks at all machines' deadlines, which are of half a second and more


@functools.cache
def first_weights(digest: str) -> tuple[Layout, Contribution]:
    """The job's layout and its unit "initialise", computed once for all light workers."""
    replica = Replica(_jobs[digest], Parts.of(_jobs[digest]), Device(), Watch())
    return replica.layout, replica.initialise()


_jobs: dict[str, Description] = {}


class Light:
    """One worker: a machine and a socket."""

    def __init__(self, context: zmq.Context[Any], url: str, number: int) -> None:
        join = m.Join(m.PROTOCOL, f"light-{number}", hosts.gethostname(), os.getpid(), "cpu", "", libraries())
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.ROUTING_ID, b"w" + secrets.token_bytes(15))
        self.socket.setsockopt(zmq.LINGER, 1000)
        self.socket.connect(url)
        self.machine = Worker(join, time.monotonic(), PATIENCE_S)
        self.is_gone = False
        self.messages = 0
        self.ready: list[tuple[int, float]] = []  # round, when its weights were ready to use
        self._job: Description | None = None

    def receive(self) -> None:
        while not self.is_gone:
            try:
                frames = [frame.buffer for frame in self.socket.recv_multipart(zmq.NOBLOCK, copy=False)]
            except zmq.Again:
                return
            self.messages += 1
            try:
                message = decode(frames)
            except PeerError as error:
                raise SystemExit(f"the master sent what cannot be read: {error}") from error
            self.perform(self.machine.handle(message, frames[1:], time.monotonic()))

    def tick(self, now: float) -> None:
        if not self.is_gone and now >= self.machine.next_deadline():
            self.perform(self.machine.tick(now))

    def perform(self, effects: Any) -> None:
        for effect in effects:
            kind = type(effect).__name__
            if kind not in ("Send", "Prepare", "Compute", "Exit", "Note", "Cancel", "Connect"):
                raise SystemExit(f"light workers do not know the effect {kind}")
            getattr(self, f"_{kind.lower()}", lambda effect: None)(effect)

    def _send(self, effect: Any) -> None:
        self.messages += 1
        self.socket.send_multipart([encode(effect.message), *(p.data for p in effect.payloads)], copy=False)

    def _prepare(self, effect: Prepare) -> None:
        self._job = _jobs.setdefault(effect.job.digest, effect.job)
        layout, _ = first_weights(effect.job.digest)
        self.perform(self.machine.done(Prepared(layout, effect.job.digest), time.monotonic()))

    def _compute(self, effect: Compute) -> None:
        assert self._job is not None
        now, lease = time.monotonic(), effect.lease
        if lease.kind == "initialise":
            outcome = first_weights(self._job.digest)[1]
        else:
            self.messages = self.messages if self.ready else 0
            self.ready.append((lease.round, now))
            samples = self._job.schedule.samples(lease.round, lease.shard)
            outcome = Contribution(samples, {"loss": [0.0, float(samples)]}, 0.0, effect.base)
        self.perform(self.machine.done(outcome, time.monotonic()))

    def _exit(self, effect: Exit) -> None:
        self.is_gone = True
        if effect.exit_code:
            raise SystemExit(f"a light worker left with {effect.exit_code}: {effect.reason}")


def main(url: str, count: int) -> None:
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 4096)
    poller, group = zmq.Poller(), {}
    for number in range(count):
        light = Light(context, url, number)
        poller.register(light.socket, zmq.POLLIN)
        group[light.socket] = light
        light.tick(time.monotonic())
    cpu_began = tick_at = 0.0
    while left := [light for light in group.values() if not light.is_gone]:
        for socket, _ in poller.poll(TICK_MS):
            group[socket].receive()
            if group[socket].is_gone:
                poller.unregister(socket)
        cpu_began = cpu_began or (time.process_time() if any(light.ready for light in left) else 0.0)
        now = time.monotonic()
        if now >= tick_at:
            tick_at = now + TICK_MS / 1000
            for light in left:
                light.tick(now)
    told = {
        "ready": [light.ready for light in group.values()],
        "messages": sum(light.messages for light in group.values()),
        "cpu_s": time.process_time() - cpu_began,
    }
    for light in group.values():
        light.socket.close()
    context.term()
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
