"""The arithmetic of robust rules: equal to its naive form, and deaf to as many liars as each promises."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from paramserver.averaging import robust
from paramserver.averaging.mean import BLOCK
from ps_common.layout import DTYPES
from support_robust import naive_factors, naive_krum, naive_trimmed_mean

BOUNDED = settings(deadline=None, max_examples=60)
LIES = [1e30, -1e30, np.inf, -np.inf, np.nan, 0.0]


@pytest.mark.parametrize("count", [*range(1, 12), 16, 33, 100])
def test_the_network_sorts_whatever_it_is_given(count):
    rng = np.random.default_rng(count)
    values = rng.integers(0, 3, (count, 500)).astype(
        np.float32
    )  # zeros and ones decide, Knuth's principle says
    rows = robust.sort_values([row.copy() for row in values])
    assert np.array_equal(np.array(rows), np.sort(values, axis=0))


def test_a_network_of_eight_takes_nineteen_comparisons():
    assert len(robust.network(8)) == 19
    assert robust.network(1) == ()


@st.composite
def parts_and_trim(draw):
    count = draw(st.integers(1, 9))
    trimmed = draw(st.integers(0, (count - 1) // 2))
    dtype = draw(st.sampled_from(DTYPES))
    width = np.dtype(dtype).itemsize * 8
    elements = st.floats(-1000, 1000, width=width)
    return list(draw(hnp.arrays(dtype, (count, 5), elements=elements))), trimmed


@BOUNDED
@given(parts_and_trim())
def test_the_trimmed_mean_has_the_bits_of_the_naive_one_in_any_order(case):
    parts, trimmed = case
    expected = naive_trimmed_mean(parts, trimmed)
    for order in itertools.islice(itertools.permutations(range(len(parts))), 6):
        out = np.full_like(parts[0], 7)
        robust.trimmed_mean([parts[i] for i in order], trimmed, out)
        assert out.tobytes() == expected.tobytes()


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("size", [0, 1, BLOCK // 8, BLOCK + 3])
def test_the_median_is_that_of_numpy_whatever_the_size(count, size):
    parts = list(np.random.default_rng(count).normal(size=(count, size)).astype(np.float32))
    mirrors, out = [np.empty(size, np.float32), parts[-1]], np.empty(size, np.float32)
    expected = np.median(parts, axis=0).astype(np.float32) if size else out
    robust.median([part.copy() for part in parts[:-1]] + parts[-1:], out, mirrors)
    for vector in (out, *mirrors):
        np.testing.assert_array_equal(vector, expected)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("faulty", [1, 2, 3])
def test_the_trimmed_mean_of_enough_honest_parts_lies_between_them(lie, faulty):
    rng = np.random.default_rng(faulty)
    honest = list(rng.normal(size=(faulty + 1, 50)).astype(np.float32))
    for places in itertools.combinations(range(2 * faulty + 1), faulty):
        left = iter(honest)
        parts = [
            np.full(50, lie, np.float32) if place in places else next(left) for place in range(2 * faulty + 1)
        ]
        for combine in (lambda p, out: robust.trimmed_mean(p, faulty, out), robust.median):
            out = np.empty(50, np.float32)
            combine(parts, out)
            assert (np.min(honest, axis=0) <= out).all()
            assert (out <= np.max(honest, axis=0)).all()


def test_too_many_left_out_is_a_bug():
    with pytest.raises(AssertionError, match="of 4 values 2 largest and smallest cannot be left out"):
        robust.trimmed_mean([np.zeros(1)] * 4, 2, np.zeros(1))


def test_of_two_zeros_neither_is_the_lesser():
    for parts in itertools.permutations([-0.0, 0.0, -0.0]):
        out = np.empty(1, np.float32)
        robust.median([np.array([part], np.float32) for part in parts], out)
        assert not np.signbit(out).any()


def test_float16_is_summed_in_float32_by_the_trimmed_mean_too():
    out = np.empty(1, np.float16)
    robust.trimmed_mean([np.full(1, value, np.float16) for value in (0, 60_000, 40_064, 65_504)], 1, out)
    assert out.item() == 50_048


# -- distances and norms ----------------------------------------------------------------------------------


@BOUNDED
@given(st.integers(2, 7), st.sampled_from(DTYPES), st.integers(0, 2**32))
def test_distances_and_norms_are_those_of_the_formula(count, dtype, seed):
    vectors = list(np.random.default_rng(seed).normal(size=(count, 40)).astype(dtype))
    wide = [vector.astype(np.float64) for vector in vectors]
    table = robust.squared_distances(vectors)
    for i, j in itertools.product(range(count), repeat=2):
        assert table[i, j] == pytest.approx(((wide[i] - wide[j]) ** 2).sum(), rel=1e-13)
    norms = robust.squared_norms(vectors[1:], vectors[0])
    assert norms.tolist() == table[0, 1:].tolist()


def test_distances_of_a_long_vector_are_added_up_block_by_block():
    ones = np.ones(BLOCK + 5, np.float32)
    assert robust.squared_distances([ones, 3 * ones])[0, 1] == 4 * (BLOCK + 5)


@BOUNDED
@given(st.integers(1, 3), st.integers(0, 3), st.integers(0, 2**32))
def test_krum_chooses_as_its_definition_says(faulty, more, seed):
    count = 2 * faulty + 3 + more
    vectors = list(np.random.default_rng(seed).normal(size=(count, 6)))
    table = robust.squared_distances(vectors)
    for chosen in range(1, count - faulty - 1):
        assert list(robust.multi_krum(table, faulty, chosen)) == naive_krum(vectors, faulty, chosen)


@pytest.mark.parametrize("lie", LIES[:-1])
@pytest.mark.parametrize("faulty", [1, 2])
def test_krum_never_chooses_a_lie_that_is_far_away(lie, faulty):
    count = 2 * faulty + 3
    for places in itertools.combinations(range(count), faulty):
        vectors = list(np.random.default_rng(1).normal(size=(count, 20)))
        for place in places:
            vectors[place] = np.full(20, lie)
        chosen = robust.multi_krum(robust.squared_distances(vectors), faulty, faulty + 1)
        assert not {*chosen} & {*places}


def test_of_equal_scores_the_earlier_shard_is_chosen():
    same = [np.ones(3)] * 5
    assert robust.multi_krum(robust.squared_distances(same), 1, 1) == (0,)
    assert robust.multi_krum(robust.squared_distances(same), 1, 2) == (0, 1)


@BOUNDED
@given(st.integers(1, 7), st.one_of(st.none(), st.floats(0.1, 10)), st.integers(0, 2**32))
def test_what_is_too_long_is_clipped_to_the_norm_and_the_rest_left_alone(count, norm, seed):
    vectors = list(np.random.default_rng(seed).normal(size=(count, 9)))
    center = np.zeros(9)
    squared = robust.squared_norms(vectors, center)
    factors = robust.clip_factors(squared, norm)
    assert factors == [float(one) for one in naive_factors(vectors, center, norm)]
    limit = np.sort(np.sqrt(squared))[(count - 1) // 2] if norm is None else norm
    for factor, length in zip(factors, np.sqrt(squared), strict=True):
        assert factor == 1 if length <= limit else factor * length == pytest.approx(limit, rel=1e-7)


@pytest.mark.parametrize("lie", LIES[:-1])
def test_a_lie_does_not_raise_the_norm_it_is_clipped_to(lie):
    vectors = [np.full(4, value, np.float32) for value in (1, 2, 3)] + [np.full(4, lie, np.float32)] * 2
    factors = robust.clip_factors(robust.squared_norms(vectors, np.zeros(4, np.float32)), None)
    assert factors[:3] == [1, 1, 1]
    assert all(factor < 1e-20 for factor in factors[3:])


def test_who_has_not_moved_is_not_divided_by():
    assert robust.clip_factors(np.zeros(3), None) == [1, 1, 1]
    assert robust.clip_factors(np.array([0.0, 0.0, 4.0]), None) == [1, 1, 0]
