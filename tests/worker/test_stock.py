"""What a worker has and lacks of the weights: never a mix, whatever it began to pull and left."""

import numpy as np
import pytest

from ps_common import messages as m
from ps_common.errors import PeerError
from ps_common.gather import Gather
from ps_common.layout import Entry, Layout
from ps_common.memory import Heap
from ps_common.plan import Plan
from ps_common.wire import checksum
from ps_worker.stock import Stock
from simulation.jobs import counting_case

LAYOUT = Layout([Entry("w", (100,), "float64")])  # 800 bytes: 7 chunks of 128


def stock(*servers, pull_window=3):
    case = counting_case(Plan(shards=2, batch_size=5), 3, 20)
    one = Stock(Heap())
    one.begin(
        m.Welcome("w", "run", 1, None, 0.5, 1.0, 128, 2, pull_window, servers=servers), case.description
    )
    one.adopt(LAYOUT)
    return one


def lease(version, **changes):
    return m.Lease(1, "train", max(0, version), 0, version, LAYOUT.digest, 0, **changes)


def vector(version):
    return np.full(LAYOUT.nbytes, version + 1, np.uint8)


def answer(one, requests, limit=100):
    """Answer requests as a master or servers would; the number of chunks."""
    count, asked = 0, list(requests)
    while asked and count < limit:
        request = asked.pop(0)
        if isinstance(request.message, m.Pull):
            for index in request.message.chunks:
                span = one.span(request.server, index)
                part = vector(request.message.version)[span.start : span.stop]
                weights = m.Weights(request.message.version, index, checksum(part.data))
                assert one.take_weights(weights, [part.data], request.server)
                count += 1
            asked += one.ask()
    return count


def weights_of(one):
    one._rows = one._weights[0] if one._weights else Gather(0, 1)  # rows are not the matter here
    return one.task().base


@pytest.mark.parametrize("servers", [(), ("tcp://a:1",), ("tcp://a:1", "tcp://b:1", "tcp://c:1")])
def test_a_version_comes_whole_from_the_master_or_from_servers(servers):
    one = stock(*servers)
    one.want(lease(4))
    unasked = 0 if servers else 3
    for index in range(unasked):
        span = one.span(None, index)
        part = vector(4)[span.start : span.stop]
        assert one.take_weights(m.Weights(4, index, checksum(part.data)), [part.data])
    assert answer(one, one.ask()) + unasked == sum(map(len, one.spans))
    assert (weights_of(one) == vector(4)).all()


def test_what_was_begun_for_the_next_version_and_left_is_asked_for_again():
    one = stock()
    one.want(lease(0))
    answer(one, one.ask_again() + one.ask())
    weights_of(one)
    ahead = one.ask_ahead(1)
    assert answer(one, ahead, limit=1)
    one.want(lease(1, is_here=True))
    assert weights_of(one) is None
    one.want(lease(1))
    answer(one, one.ask_again() + one.ask())
    assert (weights_of(one) == vector(1)).all()


def test_a_chunk_of_another_version_is_not_wanted_and_a_wrong_one_is_refused():
    one = stock()
    one.want(lease(2))
    part = vector(2)[:128]
    assert not one.take_weights(m.Weights(1, 0, checksum(part.data)), [part.data])
    for wrong in (
        (m.Weights(2, 7, checksum(part.data)), part, "there is no chunk 7"),
        (m.Weights(2, 0, 1), part, "wrong checksum"),
        (m.Weights(2, 0, checksum(part.data)), part[:64], "payloads of"),
    ):
        with pytest.raises(PeerError, match=wrong[2]):
            one.take_weights(wrong[0], [wrong[1].data])
