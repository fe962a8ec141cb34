"""examples/online_retail.py: forecasts from the past only, better than the same weekday last week."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from paramserver import ClusterError
from support_examples import train


@pytest.fixture(scope="module")
def retail() -> ModuleType:
    """The example, imported where it is first needed: it reads a million lines, 4 s."""
    import online_retail

    return online_retail


def test_days_and_sales_are_those_of_the_shop(retail: ModuleType) -> None:
    days, sales = retail.days, retail.sales
    assert (len(days), str(days[0]), str(days[-1])) == (604, "2009-12-01", "2011-12-09")
    assert np.bincount(retail.weekday(days)).tolist() == [94, 104, 104, 103, 99, 1, 99]
    assert sales.min() > 0
    # 7 December 2010 is in both sheets of the file: once it is a good day, twice the best of all.
    assert sales[days == np.datetime64("2010-12-07")][0] == pytest.approx(81_131, abs=1)
    # On 9 December 2011 an order of 168,470 pounds was made and cancelled.
    assert sales[-1] < 100_000


def test_the_network_is_better_than_the_same_weekday_last_week(tmp_path: Path, retail: ModuleType) -> None:
    trained = train("online_retail", tmp_path, timeout_s=120)
    baselines = retail.baselines()
    assert retail.is_test.sum() == 48
    assert baselines["same weekday last week"] == pytest.approx(13_487, abs=1)
    assert retail.claim.is_met(retail.measure([trained.model]), baselines)


@pytest.mark.parametrize("ahead", [1, 6])
def test_features_know_nothing_of_later_sales(retail: ModuleType, ahead: int) -> None:
    days, sales = retail.days[:120], retail.sales[:120]
    changed = sales.copy()
    changed[100:] *= 7
    numbers, x, levels = retail.features(days, sales, ahead)
    _, x_changed, levels_changed = retail.features(days, changed, ahead)
    is_blind = numbers < 100 + ahead  # day 100 is known `ahead` trading days later
    np.testing.assert_array_equal(x[is_blind], x_changed[is_blind])
    np.testing.assert_array_equal(levels[is_blind], levels_changed[is_blind])
    assert (x[~is_blind] != x_changed[~is_blind]).any(axis=1).all()


def test_the_scale_of_features_is_that_of_the_training_days(retail: ModuleType) -> None:
    np.testing.assert_allclose(retail.x[~retail.is_test].mean(axis=0), 0, atol=1e-9)
    assert (
        retail.days[retail.numbers[~retail.is_test]].max() < retail.days[retail.numbers[retail.is_test]].min()
    )


def test_the_seasonal_naive_forecast(retail: ModuleType) -> None:
    days = np.array(["2011-11-04", "2011-11-06", "2011-11-07", "2011-11-11", "2011-11-14"], "datetime64[D]")
    forecast = retail.same_weekday_last_week(days, np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    np.testing.assert_array_equal(forecast, [np.nan, np.nan, np.nan, 1.0, 3.0])  # Fridays 1, 4; Mondays 3, 5


def test_another_horizon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="--set ahead=0: ahead must be one of 6, 1"):
        train("online_retail", tmp_path, "ahead=0")
