"""examples/shakespeare*.py: character models learn, are asked what n-grams are asked, and write text."""

from pathlib import Path

import numpy as np
import pytest
from shakespeare import Works

from paramserver import ClusterError
from support_examples import train

SMALL = 40_000


@pytest.fixture(scope="module")
def works() -> Works:
    return Works(16, SMALL)


def test_every_character_is_asked_once_and_of_all_models_alike(works: Works) -> None:
    x, y = works.asked()
    cut = int(0.95 * SMALL)
    assert works.train.decode(y.reshape(-1)) == works.content[cut + 9 : cut + 9 + y.size]
    assert y.size > SMALL - cut - 9 - 16
    for window, told in zip(x, y, strict=True):
        np.testing.assert_array_equal(window[9:], told[:-1])  # the characters before are seen


def test_test_characters_are_in_no_training_window(works: Works) -> None:
    last = works.train.read(np.array([works.train.samples - 1]))
    assert works.train.samples * 16 <= 0.95 * SMALL
    assert works.train.decode(last[0][0]) in works.content[: int(0.95 * SMALL)]
    assert works.test.samples * 16 <= 0.05 * SMALL


def test_longer_contexts_are_better_baselines(works: Works) -> None:
    baselines = works.baselines()
    assert 5 > baselines["unigram"] > baselines["trigram"] > baselines["5-gram"] > 2


@pytest.mark.parametrize("example", ["shakespeare_lstm", "shakespeare_transformer"])
def test_a_part_of_the_text_is_enough_to_beat_unigrams_and_to_write(tmp_path: Path, example: str) -> None:
    trained = train(example, tmp_path, f"characters={SMALL}", "batch_size=4", timeout_s=150)
    works = Works(trained.model.network.input_shape[0], SMALL)
    bits = works.bits_per_character(trained.model)
    assert bits < works.baselines()["unigram"] - 0.5
    assert bits < trained.metrics["bits_per_character"] + 0.05
    first, again = (works.write(trained.model, "\nKING", 40, seed=3) for _ in range(2))
    assert first == again
    assert first.startswith("\nKING")
    assert len(first) == 45
    assert first != works.write(trained.model, "\nKING", 40, seed=4)


@pytest.mark.parametrize("example", ["shakespeare_lstm", "shakespeare_transformer"])
def test_a_text_too_short_for_a_window_is_refused(tmp_path: Path, example: str) -> None:
    with pytest.raises(ClusterError, match="one sample takes length") as raised:
        train(example, tmp_path, "characters=100")
    assert raised.value.exit_code == 65
