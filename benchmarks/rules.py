"""What a rule of averaging costs: 8 contributions of a million float32, on one thread.

    python benchmarks/rules.py

Prints the milliseconds of processor time, the least of five. The figures are in the project's README.
"""

import time

import numpy as np

from paramserver.averaging.canonical import Canonical
from paramserver.settings import Settings
from ps_common import rules
from ps_common.layout import Entry, Layout
from ps_common.memory import Heap

CONTRIBUTIONS, PARAMETERS, TIMES = 8, 1_000_000, 5
RULES = (
    rules.Mean(), rules.Median(3), rules.TrimmedMean(2), rules.Krum(2), rules.MultiKrum(2, 4),
    rules.ClippedMean(None, 2),
)  # fmt: skip


def milliseconds(rule: rules.Rule) -> float:
    layout, rng = Layout([Entry("w", (PARAMETERS,))]), np.random.default_rng(1)
    base, *vectors = (
        rng.standard_normal(PARAMETERS, np.float32).view(np.uint8) for _ in range(CONTRIBUTIONS + 1)
    )
    taken = []
    for _ in range(TIMES):
        canonical = Canonical(Settings(), Heap(), rule=rule)
        canonical.agree(layout, base)
        round_ = canonical.new_round(range(CONTRIBUTIONS), [1] * CONTRIBUTIONS)
        for shard, vector in enumerate(vectors):
            round_.lend(shard, vector)
        began = time.thread_time()
        round_.finish()
        taken.append(time.thread_time() - began)
    return 1e3 * min(taken)


if __name__ == "__main__":
    for rule in RULES:
        print(f"{rule!s:40} {milliseconds(rule):6.1f} ms")
