"""The ceiling of the machine's memory: all replicas are read once, the mean is written to each of them.

One process, two threads from 2,000,000 parameters on, blocks that stay in the cache, no protocol at all.
Started by `python floor.py WORKERS PLAN`.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from timing import Rounds, plan

BLOCK = 65_536
THREADS = 2


def average(replicas: list[np.ndarray], mean: np.ndarray, first: int, stop: int) -> None:
    for start in range(first, stop, BLOCK):
        block = slice(start, min(start + BLOCK, stop))
        np.add(replicas[0][block], replicas[1][block], out=mean[block])
        for replica in replicas[2:]:
            np.add(mean[block], replica[block], out=mean[block])
        np.multiply(mean[block], np.float32(1 / len(replicas)), out=mean[block])
        for replica in replicas:
            replica[block] = mean[block]


pool = ThreadPoolExecutor(THREADS)
for size, count in plan(sys.argv[2]):
    replicas = [np.ones(size, np.float32) for _ in range(int(sys.argv[1]))]
    mean, rounds = np.zeros(size, np.float32), Rounds(size, count)
    part = -(-size // THREADS // BLOCK) * BLOCK
    parts = [(0, size)] if size < 2_000_000 else [(0, part), (part, size)]
    for _ in rounds:
        began = time.perf_counter()
        if len(parts) == 1:
            average(replicas, mean, *parts[0])
        else:
            list(pool.map(average, [replicas] * THREADS, [mean] * THREADS, *zip(*parts, strict=True)))
        rounds.seconds.append(time.perf_counter() - began)
    rounds.tell()
