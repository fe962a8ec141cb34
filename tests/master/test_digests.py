"""The digest by which the ledger knows a contribution: of its bytes, wherever they are averaged."""

import numpy as np
import pytest

from paramserver.averaging import digests
from ps_common.wire import checksum
from support_rounds import SMALL, Case


def test_the_digest_of_chunks_is_the_checksum_of_their_checksums():
    assert digests.of_chunks([1, 2**64 - 1]) == f"{checksum(np.array([1, 2**64 - 1], '<u8').data):016x}"
    assert digests.of_chunks([1, 2]) != digests.of_chunks([2, 1])
    assert digests.is_digest(digests.of_chunks([]))


def test_one_stretch_is_the_whole_and_several_are_told_apart_by_their_order():
    one, other = digests.of_chunks([1]), digests.of_chunks([2])
    assert digests.of_stretches([one]) == one
    assert digests.of_stretches([one, other]) == digests.of_chunks([int(one, 16), int(other, 16)])
    assert digests.of_stretches([one, other]) != digests.of_stretches([other, one])


@pytest.mark.parametrize("text", ["", "0" * 15, "0" * 17, "0" * 15 + "g", "0" * 15 + "A", "0x" + "0" * 14])
def test_what_is_no_digest(text):
    assert not digests.is_digest(text)


@pytest.mark.parametrize("at", range(len(SMALL.chunks(64))))
def test_every_byte_counts_in_shared_memory_and_in_chunks(at):
    found = set()
    for change in (0, 1):
        for is_lent in (False, True):
            case = Case(SMALL, [1, 2], window=9)
            first, second = case.shards
            case.vectors[first][case.spans[at].stop - 1] ^= change
            for shard in (second, first):
                if is_lent:
                    case.lend(shard)
                    continue
                case.announce(shard)
                for span in case.spans:
                    case.send(shard, span.index)
            case.round.finish()
            case.assert_right()
            found.add(case.round.digests())
    assert len(found) == 2
    assert len({second for _, second in found}) == 1


def test_a_round_that_keeps_none_has_none():
    case = Case(SMALL, [1])
    case.round._keeps_digests = False
    case.lend(case.shards[0])
    case.round.finish()
    assert case.round.digests() == ()
