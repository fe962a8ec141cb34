"""Frames that are nearly right, over real connections, while an honest run goes on: it ends as if alone."""

import random
import socket
import urllib.parse

import pytest

from processes import jobs
from processes.test_bad_peers import JOIN, Peer
from processes.world import eventually
from ps_common import messages as m
from ps_common.errors import PeerError
from ps_common.wire import decode, encode
from security.fuzzing.corpus import found, seeds
from security.fuzzing.mutation import Frames, Mutator

INPUTS = 600
HANDSHAKES = 12
# As ZeroMQ begins: signature, version 3.1, the mechanism NULL; then its READY with a type of socket.
GREETING = (
    b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16 + 32) + b"\x04\x19\x05READY\x0bSocket-Type"
    b"\x00\x00\x00\x06DEALER\x00\x01\x93"
)


def nearly_right(seed: int, never: type[m.Message] | tuple[type[m.Message], ...]) -> list[Frames]:
    """Inputs made of messages of each kind; none that is one of the kinds `never`."""
    mutator, pool = Mutator(random.Random(seed)), [frames for _, frames in (*seeds(), *found())]
    rng, made = random.Random(seed), []
    while len(made) < INPUTS:
        frames = mutator.mutate(rng.choice(pool), pool)
        try:
            is_other = not isinstance(decode(frames), never)
        except PeerError:
            is_other = True
        if is_other and 0 < sum(map(len, frames)) < 2**17:
            made.append(frames)
    return made


def greet_nearly_right(address: str, seed: int) -> None:
    """Connections that begin as ZeroMQ's do, but for a byte or two."""
    url, rng = urllib.parse.urlsplit(address), random.Random(seed)
    for _ in range(HANDSHAKES):
        greeting = bytearray(GREETING)
        for _ in range(rng.choice((1, 2, 8))):
            greeting[rng.randrange(len(greeting))] = rng.randrange(256)
        with socket.create_connection((url.hostname, url.port), 5) as raw:
            raw.sendall(greeting[: rng.randint(1, len(greeting))])


@pytest.mark.parametrize("is_member", [False, True])
def test_mutated_frames_change_no_bit_of_an_honest_run(world, undisturbed, is_member):
    """A stranger, or a member that asks for no unit: whatever else they say, they contribute nothing."""
    never = (m.Join, m.Ready, m.Order)
    world.hold()
    with world.cluster(jobs.GATED) as cluster:
        world.held(cluster)
        greet_nearly_right(cluster.address, 5)
        inputs = list(nearly_right(7 + is_member, never))
        with Peer(cluster.address) as peer:
            if is_member:
                peer.send(encode(JOIN))
            for frames in inputs:
                peer.send(*frames)
            refused = "refused a message of stranger" if is_member else "refused a message of"
            eventually(lambda: refused in cluster.master_log(), "something is refused")
        world.release()
        record = cluster.wait(60)
    assert record["status"] == "finished"
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert record["rejections"]
