"""examples/ngrams.py against hand-computed shares and a slow model that counts in dictionaries."""

import collections
import math

import numpy as np
import pytest
from ngrams import bits, codes


def test_a_small_text_by_hand() -> None:
    # abab trains: a 2, b 2, ab 2, ba 1; two kinds out of three letters.
    train, test = np.array([0, 1, 0, 1]), np.array([0, 1, 1, 2])
    unigram = [(2 + 2 / 3) / 6, (2 + 2 / 3) / 6, (0 + 2 / 3) / 6]  # of b, b, c
    bigram = [(2 + unigram[0]) / 3, (0 + unigram[1]) / 2, (0 + unigram[2]) / 2]  # after a, b, b
    wanted = [-np.mean(np.log2(unigram)), -np.mean(np.log2(bigram))]
    np.testing.assert_allclose(bits(train, test, 3, 2, start=1), wanted, rtol=1e-12)


def share(train: str, context: str, letter: str, alphabet: int) -> float:
    """The same model by its definition."""
    shorter = share(train, context[1:], letter, alphabet) if context else 1 / alphabet
    followers = collections.Counter(
        train[i + len(context)] for i in range(len(train) - len(context)) if train[i:].startswith(context)
    )
    if not followers:
        return shorter
    kinds = len(followers)
    return (followers[letter] + kinds * shorter) / (followers.total() + kinds)


def test_it_is_the_model_of_its_definition() -> None:
    rng = np.random.default_rng(1)
    train, test = rng.integers(0, 4, 300) * rng.integers(0, 2, 300), rng.integers(0, 4, 60)
    letters = ["".join("abcd"[i] for i in ids) for ids in (train, test)]
    for order, got in enumerate(bits(train, test, 4, 4, start=3), 1):
        each = [share(letters[0], letters[1][i - order + 1 : i], letters[1][i], 4) for i in range(3, 60)]
        assert got == pytest.approx(-sum(map(math.log2, each)) / len(each))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_shares_of_all_letters_add_up_to_one(order: int) -> None:
    train, context = np.array([0, 1, 2, 0, 1, 1, 0, 2]), [0, 1]
    each = [bits(train, np.array([*context, letter]), 3, order, start=2)[-1] for letter in range(3)]
    assert sum(2**-b for b in each) == pytest.approx(1)


def test_contexts_are_numbers_of_their_characters() -> None:
    assert codes(np.array([3, 1, 2]), 2, 10).tolist() == [31, 12]


def test_a_start_without_a_whole_context_is_refused() -> None:
    with pytest.raises(ValueError, match="order 3 looks back 2 characters"):
        bits(np.zeros(5, int), np.zeros(5, int), 2, 3, start=1)
