"""Random streams that follow from names alone."""

import itertools

import numpy as np

from ps_common.seeds import Purpose, generator


def test_equal_names_give_equal_streams():
    a, b = (generator(5, Purpose.TRAIN, 3, 1).random(8) for _ in range(2))
    assert a.tolist() == b.tolist()


def test_every_other_name_gives_another_stream():
    names = itertools.product((0, 1, 2**40), Purpose, (0, 1, 2), (0, 1, 2))
    drawn = [tuple(generator(seed, purpose, a, b).random(2)) for seed, purpose, a, b in names]
    assert len(set(drawn)) == len(drawn)


def test_names_of_any_size_give_streams_of_their_own():
    first = [
        generator(seed, Purpose(purpose), a, b).bit_generator.random_raw()
        for seed, purpose, a, b in (
            (2**32 + 1, 2, 3, 0),
            (1, 1, 2, 3),
            (1, 2, 3, 0),
            (2**32, 1, 2, 3),
            (1, 2, 2**32, 3),
            (1, 2, 0, 3),
        )
    ]
    assert len(set(first)) == len(first)


def test_a_stream_follows_from_the_words_of_its_names_in_order():
    words = [1, 2**30, 3, 0, 7, 0, 0, 9]  # the lower and the upper half of each name
    stream = np.random.PCG64(np.random.SeedSequence(words))
    named = generator(2**62 + 1, Purpose.TRAIN, 7, 9 << 32).bit_generator
    assert named.random_raw(4).tolist() == stream.random_raw(4).tolist()


def test_the_streams_are_what_they_were_when_jobs_were_first_run():
    stream = generator(12345, Purpose.SHUFFLE, 2, 1).bit_generator  # its raw bits no version of NumPy changes
    assert stream.random_raw(2).tolist() == [15641729957989871838, 13618106577356113833]
    assert [int(purpose) for purpose in Purpose] == [1, 2, 3, 4]
