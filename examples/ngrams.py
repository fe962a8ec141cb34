"""What counting reaches on characters: n-gram models with Witten-Bell interpolation, as a baseline.

A context that was seen trusts its own counts the more, the fewer kinds of characters have followed it:

    p(c | h) = (count(h c) + kinds(h) p(c | h')) / (count(h) + kinds(h))

where h' is h without its first character, kinds(h) how many different characters have followed h, and below
the empty context all characters are alike (Witten & Bell 1991; Chen & Goodman 1999, §2.4). Where h has never
been seen, p(c | h) is p(c | h').
"""

import numpy as np


def bits(train: np.ndarray, test: np.ndarray, kinds: int, order: int, start: int) -> list[float]:
    """Bits per character of test[start:] under the models of order 1 (no context) to `order`, as a list.

    train, test: ids from 0 to kinds - 1, shape (n,); start: at least order - 1, so that contexts are whole.
    """
    if start < order - 1:
        raise ValueError(
            f"order {order} looks back {order - 1} characters; start at that or later, not {start}"
        )
    share = np.full(len(test) - start, 1 / kinds)
    results = []
    for n in range(1, order + 1):
        grams, counts = np.unique(codes(train, n, kinds), return_counts=True)
        contexts, first = np.unique(grams // kinds, return_index=True)
        totals, followers = np.add.reduceat(counts, first), np.diff(np.append(first, len(grams)))
        asked = codes(test, n, kinds)[start - n + 1 :]
        count = found(grams, counts, asked)
        total, types = (found(contexts, values, asked // kinds) for values in (totals, followers))
        share = np.where(total > 0, (count + types * share) / np.maximum(total + types, 1), share)
        results.append(float(-np.log2(share).mean()))
    return results


def codes(ids: np.ndarray, n: int, kinds: int) -> np.ndarray:
    """Every n characters that follow each other as one number, the first character counting most."""
    numbers = np.zeros(len(ids) - n + 1, np.int64)
    for i in range(n):
        numbers = numbers * kinds + ids[i : len(ids) - n + 1 + i]
    return numbers


def found(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The value of each asked key; 0 where it is not among the sorted `keys`."""
    at = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0)
