"""Blocks cover a vector once, in order."""

import numpy as np
import pytest

from ps_worker.nn.blocks import BLOCK, blocks


@pytest.mark.parametrize("n", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 7])
def test_every_element_lies_in_one_short_block(n: int) -> None:
    seen = np.zeros(n, np.int8)
    for part in blocks(seen):
        assert 0 < len(seen[part]) <= BLOCK
        seen[part] += 1
    assert (seen == 1).all()
