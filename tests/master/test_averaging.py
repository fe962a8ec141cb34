"""The arithmetic of averaging: exact where it can be, bounded elsewhere."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from paramserver.averaging.mean import BLOCK, SUM_DTYPES, Mean, add, divide, factors
from ps_common.layout import DTYPES

BOUNDED = settings(deadline=None, max_examples=80)
SAMPLES = st.lists(st.integers(1, 5000), min_size=1, max_size=8)


def mean_of(parts: list[np.ndarray], weights: tuple[int, ...]) -> np.ndarray:
    """As a round does it: into the parts' own dtype, summed in the wide one."""
    wide = SUM_DTYPES[parts[0].dtype.name]
    out = np.empty_like(parts[0])
    total = out if out.dtype == wide else np.empty(out.shape, wide)
    for i, (part, factor) in enumerate(zip(parts, weights, strict=True)):
        add(total, part, factor, first=i == 0)
    divide(total, sum(weights), out)
    return out


@BOUNDED
@given(SAMPLES)
def test_factors_are_the_smallest_integers_in_the_samples_proportion(samples):
    given_factors = factors(samples)
    assert math.gcd(*given_factors) == 1
    assert all(f * samples[0] == n * given_factors[0] for f, n in zip(given_factors, samples, strict=True))


def test_equal_shards_are_summed_unscaled():
    assert factors([64, 64, 64]) == (1, 1, 1)
    assert factors([128, 64]) == (2, 1)
    assert factors([7]) == (1,)


@BOUNDED
@given(SAMPLES, st.sampled_from(DTYPES), st.integers(0, 2**32))
def test_the_mean_is_the_exact_one_to_a_rounding_a_sum(samples, dtype, seed):
    weights = factors(samples)
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=40).astype(dtype) for _ in weights]
    exact = sum(f * p.astype("longdouble") for f, p in zip(weights, parts, strict=True)) / sum(weights)
    size = sum(f * np.abs(p.astype("longdouble")) for f, p in zip(weights, parts, strict=True)) / sum(weights)
    # Each product, sum and the quotient round once, by half an epsilon of at most the sum of magnitudes;
    # the result is rounded to its own dtype once more, down to half of its smallest subnormal.
    sums, own = np.finfo(SUM_DTYPES[dtype]), np.finfo(dtype)
    bound = size * ((len(weights) + 3) * sums.eps + own.eps) / 2 + float(own.smallest_subnormal)
    assert (np.abs(mean_of(parts, weights).astype("longdouble") - exact) <= bound).all()


@BOUNDED
@given(SAMPLES, st.sampled_from(("float32", "float64")), st.integers(0, 2**32))
def test_integers_whose_mean_is_an_integer_are_averaged_exactly(samples, dtype, seed):
    weights = factors(samples)
    rng = np.random.default_rng(seed)
    base = rng.integers(-50, 50, 30)
    shifts = [rng.integers(-9, 9, 30) * sum(weights) for _ in weights]
    parts = [(base + shift).astype(dtype) for shift in shifts]
    if sum(weights) * 300 * sum(weights) >= 2 ** np.finfo(dtype).nmant:
        return  # a sum would have more digits than the dtype
    expected = base + sum(f * s for f, s in zip(weights, shifts, strict=True)) // sum(weights)
    assert mean_of(parts, weights).tolist() == expected.tolist()


@BOUNDED
@given(
    hnp.arrays(np.float32, 20, elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    st.integers(0, 40),
    st.sampled_from(DTYPES),
)
def test_division_by_a_power_of_two_has_the_bits_of_division(total, exponent, dtype):
    wide = total.astype(SUM_DTYPES[dtype]) if dtype != "float16" else np.clip(total, -60_000, 60_000)
    out = np.empty(20, dtype)
    divide(wide.copy(), 2**exponent, out)
    assert out.tobytes() == (wide / wide.dtype.type(2**exponent)).astype(dtype).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_mean_of_one_two_or_four_identical_replicas_is_identical(dtype, count):
    part = np.random.default_rng(1).normal(size=1000).astype(dtype)
    assert mean_of([part] * count, (1,) * count).tobytes() == part.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("samples", [(64, 64, 64), (5, 9, 2), (1, 2, 3, 4, 5), (1,) * 7, (1,) * 3])
def test_the_mean_of_any_number_of_identical_replicas_is_off_by_roundings_alone(dtype, samples):
    part = np.random.default_rng(1).normal(size=1000).astype(dtype)
    mean = mean_of([part] * len(samples), factors(samples))
    if dtype == "float16":  # summed with twice the digits, so rounded back to where it was
        assert mean.tobytes() == part.tobytes()
    bound = (len(samples) + 1) * np.finfo(dtype).eps
    assert (np.abs(mean - part) <= bound * np.abs(part)).all()


def test_float16_is_summed_in_float32():
    parts = [np.full(4, 60_000, np.float16), np.full(4, 40_064, np.float16)]  # the sum is no float16
    assert mean_of(parts, (1, 1)).tolist() == [50_048] * 4
    small = [np.full(1, 2048, np.float16), *[np.full(1, 1, np.float16)] * 7]  # 2048 + 1 is 2048 in float16
    assert mean_of(small, (1,) * 8).tolist() == [np.float16(2055 / 8)]


def test_the_first_part_is_written_and_not_added():
    total = np.full(3, np.nan, np.float32)
    add(total, np.arange(3, dtype=np.float32), 2, first=True)
    assert total.tolist() == [0, 2, 4]


def test_division_writes_where_it_is_told_and_leaves_the_sum_alone():
    total, out = np.arange(6, dtype=np.float32), np.zeros(6, np.float32)
    for divisor in (1, 2, 3):
        divide(total, divisor, out)
        assert total.tolist() == list(range(6))
        assert out.tolist() == (np.arange(6, dtype=np.float32) / np.float32(divisor)).tolist()


def test_unaligned_bytes_are_averaged_as_aligned_ones():
    values = np.arange(5, dtype=np.float32)
    unaligned = np.frombuffer(b"x" + values.tobytes(), np.uint8)[1:].view(np.float32)
    assert not unaligned.flags.aligned
    assert mean_of([unaligned, values], (1, 3)).tolist() == values.tolist()


# -- the mean in the making -------------------------------------------------------------------------------


@st.composite
def splits(draw):
    """How many parts there are, and how many of them are added at once."""
    left, split = draw(st.integers(1, 7)), []
    while left:
        split.append(draw(st.integers(1, left)))
        left -= split[-1]
    return split


@BOUNDED
@given(
    splits(),
    st.sampled_from(DTYPES),
    st.sampled_from([0, 1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_in_however_many_steps_parts_are_added_the_mean_has_the_same_bits(
    split, dtype, size, are_equal, is_scratched, seed
):
    rng = np.random.default_rng(seed)
    count = sum(split)
    weights = (1,) * count if are_equal else factors(rng.integers(1, 50, count).tolist())
    parts = [rng.normal(size=size).astype(dtype) for _ in weights]
    expected = mean_of(parts, weights)
    out = np.full(size, np.nan, dtype)  # what was there before must not matter
    mean, lent, at = Mean(out), [part.copy() for part in parts], 0
    mirrors = [np.empty(size, dtype), lent[-1]]  # one is among the last parts
    for many in split:
        assert (mean.added, mean.is_closed) == (at, False)
        some, is_last = slice(at, at + many), at + many == count
        mean.add(lent[some], weights[some], sum(weights) * is_last, mirrors if is_last else ())
        if is_scratched and not is_last:  # what is added may be overwritten
            for part in lent[some]:
                part.fill(np.nan)
        at += many
    assert (mean.added, mean.is_closed) == (count, True)
    assert mean.out is out
    for vector in (out, *mirrors):
        assert vector.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_part_may_hold_the_mean_in_the_end(dtype):
    rng = np.random.default_rng(5)
    parts = [rng.normal(size=BLOCK + 9).astype(dtype) for _ in range(4)]
    expected = mean_of(parts, (1, 2, 3, 4))
    mean = Mean(np.empty(BLOCK + 9, dtype))
    mean.add(parts, (1, 2, 3, 4), 10, mirrors=parts)
    assert {part.tobytes() for part in (*parts, mean.out)} == {expected.tobytes()}


def test_a_sum_of_float16_that_is_no_float16_survives_until_the_last_part_comes():
    parts = [np.full(4, 60_000, np.float16), np.full(4, 40_064, np.float16)]
    mean = Mean(np.zeros(4, np.float16))
    mean.add(parts[:1], (1,))
    assert not mean.out.any(), "a sum too wide for it is not kept in it"
    mean.add(parts[1:], (1,), 2)
    assert mean.out.tolist() == [50_048] * 4


def test_a_single_part_is_its_mean_and_is_copied_exactly():
    part = np.array([0.1, -0.0, np.inf], np.float32)
    mean, mirror = Mean(np.empty(3, np.float32)), np.empty(3, np.float32)
    mean.add([part], (1,), 1, [mirror])
    assert mean.out.tobytes() == mirror.tobytes() == part.tobytes()
