"""examples/stocks.py: volatility is forecast from the past only, and better than by the naive ways."""

from pathlib import Path

import numpy as np
import pytest
import stocks

from support_examples import train


def test_it_is_better_than_today_and_than_ewma(tmp_path: Path) -> None:
    trained = train("stocks", tmp_path)
    baselines = stocks.baselines()
    assert baselines["EWMA"] < 0.9 * baselines["as today"]
    assert stocks.claim.is_met(stocks.measure([trained.model]), baselines)
    assert stocks.error(trained.model.predict(stocks.x)[:, 0]) ** 2 == pytest.approx(
        trained.metrics["mean_squared_error"], rel=1e-5
    )


def test_volatility_is_parkinsons() -> None:
    # A range of e^(2 √ln 2) is a deviation of 1, whose logarithm is 0.
    assert stocks.log_volatility(np.exp([2 * np.sqrt(np.log(2))]), np.ones(1)) == pytest.approx(0)


def test_trailing_means_and_ewma_by_hand() -> None:
    np.testing.assert_allclose(stocks.trailing_mean(np.array([1.0, 3.0, 5.0, 7.0]), 2), [1, 2, 4, 6])
    np.testing.assert_allclose(stocks.ewma(np.array([4.0, 0.0, 8.0]), 0.75), [4, 3, 4.25])


def test_features_know_nothing_of_later_days() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(10, 20, 100)
    stock = {
        "low": low,
        "high": low * rng.uniform(1.01, 1.1, 100),
        "adjusted_close": low * 1.005,
        "volume": rng.integers(1000, 9000, 100),
        "date": np.datetime64("2005-01-03") + np.arange(100),
    }
    later = {name: values.copy() for name, values in stock.items()}
    for name in ("low", "high", "adjusted_close", "volume"):
        later[name][80:] = later[name][80:] * 2 + np.arange(20)
    np.testing.assert_array_equal(stocks.features(stock)[:80], stocks.features(later)[:80])
    assert (stocks.features(stock)[80] != stocks.features(later)[80]).any()


def test_what_is_forecast_is_the_next_day() -> None:
    is_one = stocks.rows["ticker"] == "IBM"
    np.testing.assert_array_equal(stocks.y[is_one][:-1], stocks.rows["today"][is_one][1:])


def test_test_days_come_after_training_days_and_scale_nothing() -> None:
    assert stocks.rows["date"][~stocks.is_test].max() < np.datetime64("2010-01-01")
    np.testing.assert_allclose(stocks.x[~stocks.is_test].mean(axis=0), 0, atol=1e-9)
