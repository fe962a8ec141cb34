"""One random stream a purpose, all derived from the job's seed.

A unit of work is a pure function, so whatever is random in it must follow from names alone: the job's
seed, the purpose and the round, epoch or shard it is for. NumPy's SeedSequence mixes them so that
neighbouring names give unrelated streams (O'Neill 2015, "Developing a seed_seq alternative").
"""

import enum

import numpy as np


class Purpose(enum.IntEnum):
    """What a stream is for. The numbers are part of the job's meaning and never change."""

    INITIALISE = 1
    SHUFFLE = 2
    TRAIN = 3
    SPLIT = 4


def generator(seed: int, purpose: Purpose, *names: int) -> np.random.Generator:
    """The stream of (seed, purpose, names...), the same on every machine with the same NumPy."""
    words = [part for name in (seed, int(purpose), *names) for part in (name & 0xFFFFFFFF, name >> 32)]
    # As an array: the same bits as from a list, which NumPy would take apart number by number.
    entropy = np.array(words, np.uint32)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
