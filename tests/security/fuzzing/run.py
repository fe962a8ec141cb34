"""Runs the fuzzer from a seed, for as many inputs as wanted; 1 where something escapes or memory grows.

make fuzz                              a million inputs
make fuzz ARGS="--inputs 10000 --seed 7"
make fuzz ARGS="--episode 1234"        one episode again, as its failure names it
"""

import argparse
import gc
import resource
import sys
import time
import traceback
from pathlib import Path

from security.fuzzing.corpus import found, seeds
from security.fuzzing.episodes import play

# From a tenth of the inputs on, when every path has been gone once. Blocks are what the interpreter holds, to
# the last one; of pages the C library keeps some to itself.
GROWTH_BLOCKS_MAX = 20_000
GROWTH_BYTES_MAX = 64 * 2**20
SAID_EVERY_S = 10.0


def held() -> tuple[int, int]:
    """Blocks of memory that the interpreter holds, and bytes that the process has of the machine."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return sys.getallocatedblocks(), pages * resource.getpagesize()


def fuzz(inputs: int, seed: int) -> int:
    """Play episodes until so many inputs were given; the exit code."""
    corpus = [frames for _, frames in (*seeds(), *found())]
    began = said_at = time.monotonic()
    done, episodes, escapes = 0, 0, 0
    at_a_tenth = (0, 0)
    while done < inputs:
        try:
            done += play(seed + episodes, corpus)
        except Exception:
            traceback.print_exc()
            escapes += 1
        episodes += 1
        if at_a_tenth == (0, 0) and done >= inputs / 10:
            at_a_tenth = held()
        if time.monotonic() >= said_at + SAID_EVERY_S:
            said_at = time.monotonic()
            here = held()[1] / 2**20
            print(f"{done:,} inputs, {done / (said_at - began):,.0f} a second, {here:.0f} MiB", flush=True)
    blocks, nbytes = (now - before for now, before in zip(held(), at_a_tenth, strict=True))
    rate = done / (time.monotonic() - began)
    print(
        f"{done:,} inputs in {episodes:,} episodes from seed {seed}, {rate:,.0f} a second: {escapes} escapes"
        f"; memory grew by {blocks:,} blocks and {nbytes / 2**20:.1f} MiB since a tenth of them"
    )
    return int(escapes > 0 or blocks > GROWTH_BLOCKS_MAX or nbytes > GROWTH_BYTES_MAX)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episode", type=int)
    given = parser.parse_args()
    if given.episode is None:
        return fuzz(given.inputs, given.seed)
    print(play(given.episode, [frames for _, frames in (*seeds(), *found())]), "inputs, and nothing escaped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
