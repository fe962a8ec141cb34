"""A token bucket: the burst, the rate, and that nothing is taken where there is too little."""

from paramserver.admission.bucket import Bucket


def taken(bucket, times):
    return [bucket.take(now) for now in times]


def test_a_burst_is_let_through_and_then_the_rate():
    bucket = Bucket(2.0, 3.0, now=0.0)
    assert taken(bucket, [0.0] * 5) == [True, True, True, False, False]
    assert taken(bucket, [0.4, 0.5, 0.6, 1.0]) == [False, True, False, True]


def test_it_holds_no_more_than_a_burst_however_long_nothing_is_taken():
    bucket = Bucket(100.0, 2.0, now=0.0)
    assert taken(bucket, [1000.0] * 3) == [True, True, False]


def test_where_there_are_too_few_tokens_none_are_taken():
    bucket = Bucket(1.0, 5.0, now=0.0)
    assert not bucket.take(0.0, 6.0)
    assert bucket.take(0.0, 5.0)


def test_a_clock_that_stands_still_or_goes_back_gives_nothing():
    bucket = Bucket(10.0, 1.0, now=5.0)
    assert taken(bucket, [5.0, 4.0, 5.0]) == [True, False, False]
