"""One message of each kind, as it might have been sent: what the fuzzer begins with."""

from typing import Any

import numpy as np

from ps_common import messages as m
from ps_common.plan import Plan
from ps_common.wire import checksum, encode
from security.fuzzing.mutation import Frames
from simulation.jobs import counting_case

PART = bytes(np.arange(8, dtype="float64").data)
LAYOUT = [["counts", [20], "float64", "weight"], ["m", [3], "float16", "slot"]]
HEAD = (1 << 33, 7, 1)  # generation, number, version
VALUES: dict[type[m.Message], tuple[Any, ...]] = {
    m.Join: (m.PROTOCOL, "w", "host", 1, "cpu", "", "numpy 2", ""),
    m.Ready: (-1, 0),
    m.Pull: (0, (0, 1)),
    m.Fetch: ("train", 0, (0, 1)),
    m.Push: (1 << 32, 10, {"loss": [1.0, 10.0]}, LAYOUT, 0.1, 0.1, 0.1),
    m.Chunk: (1 << 32, 0, checksum(PART)),
    m.Heartbeat: (0, 1),
    m.Failed: (1 << 32, "ValueError: no", "Traceback", "", 1),
    m.Leave: ("bored",),
    m.Look: (m.PROTOCOL,),
    m.Order: (m.PROTOCOL, 1, "drop", "w1"),
    m.Look: (m.PROTOCOL,),
    m.Order: (m.PROTOCOL, 7, "drop", "w"),
    m.Welcome: ("w", "run", 1, {}, 0.5, 1.0, 64, 2, 2),
    m.Refused: (75, "full"),
    m.Rejoin: (),
    m.Lease: (1 << 32, "train", 0, 0, 0, "", 2),
    m.Weights: (0, 0, checksum(PART)),
    m.Rows: ("train", 0, 0, checksum(PART)),
    m.Grant: (1 << 32, (0, 1)),
    m.Accepted: (1 << 32, True, ""),
    m.Alive: (1, 0.5),
    m.Stop: (0, "finished"),
    m.Seen: ({"state": "training", "workers": []},),
    m.Rejected: ("checksum", "damaged", 0, 3),
    m.Seen: ({"run": "run", "workers": []},),
    m.Serve: (m.PROTOCOL, HEAD[0], "run", 0, 2, LAYOUT, 64, 2, 1000, 0, "", 0, m.NOT_SHARED),
    m.Open: (*HEAD, (0, 1), (5, 5), m.NOT_SHARED),
    m.Announce: (*HEAD, 0, 1 << 32, b"sender-1", False),
    m.Lend: (*HEAD, 0, 1, 0),
    m.Withdraw: (*HEAD, 0),
    m.Release: (*HEAD, 0),
    m.Finish: (*HEAD, (1,), (0,)),
    m.Check: (3,),
    m.Serving: (HEAD[0], False),
    m.Delivered: (*HEAD, 0),
    m.Unseen: (*HEAD, 0, "gone"),
    m.Released: (*HEAD, 0),
    m.Closed: (HEAD[0], 1, ()),
    m.Faulty: (*HEAD, 0, "not-finite", "NaN"),
    m.Pulse: (HEAD[0], 3, 100, 100),
}


def seed_of(kind: type[m.Message]) -> Frames:
    values = VALUES[kind]
    if kind is m.Welcome:
        job = counting_case(Plan(shards=2, batch_size=5), 3, 20).description.to_plain()
        values = (*values[:3], job, *values[4:])
    return [encode(kind(*values)), *[PART] * kind.payloads[0]]
