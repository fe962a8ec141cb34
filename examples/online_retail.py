"""What a shop will sell in a week from now: a small network against "as on this weekday last week".

    ps-local examples/online_retail.py -n 2
    ps-local examples/online_retail.py -n 2 --set ahead=1     a trading day ahead

The Online Retail II set: 1,067,371 order lines of a British shop for gifts, 604 trading days from December
2009 to December 2011; it sells nothing on Saturdays. The sales of a day are the sum of quantity x price over
its goods; cancelled goods count as negative on the day of their cancellation. Forecasts of the last eight
weeks (48 days, the weeks before Christmas) know nothing but what was sold at least `ahead` trading days
before: six are the week that the seasonal-naive forecast, the baseline, looks back as well.

The network predicts the logarithm of a day's sales over their usual level, which is the (geometric) mean of
the last four of its weekday. Expect a mean absolute error of 11,000 pounds a day (other seeds: up to
12,200); the same weekday last week is wrong by 13,487, the usual level alone by 12,780.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from claims import Claim

from paramserver import Job, Model, Plan, data, datasets, nn, options

WEEKS, SAME_WEEKDAYS, FEATURES = 8, 4, 13
claim = Claim(
    data="Online Retail II, 604 days",
    figure="mean absolute error of the last 8 weeks, pounds a day",
    beats=("same weekday last week",),
)
settings = options(ahead=("6", "1"))


def daily_sales() -> tuple[np.ndarray, np.ndarray]:
    """The trading days, datetime64[D], and what was sold on each, in pounds."""
    lines = datasets.table("online-retail")
    time, day = lines["time"], lines["time"].astype("datetime64[D]")
    # The file is one year's sheet after the other's, and both have the first nine days of December 2010.
    second = int(np.flatnonzero(np.diff(time) < np.timedelta64(0))[0]) + 1
    is_twice = (np.arange(len(time)) < second) & (time >= time[second])
    # Goods have a number; postage, fees, samples and corrections of accounts have words.
    is_goods = np.char.isdigit(lines["stock_code"].astype("U1"))
    wanted = is_goods & ~is_twice
    days, number = np.unique(day[wanted], return_inverse=True)
    return days, np.bincount(number, (lines["quantity"] * lines["price"])[wanted])


def weekday(days: np.ndarray) -> np.ndarray:
    """0 for Monday to 6 for Sunday; day 0 of datetime64 was a Thursday."""
    return (days.astype(np.int64) + 3) % 7


def features(days: np.ndarray, sales: np.ndarray, ahead: int) -> tuple[np.ndarray, ...]:
    """For each day that has a history: its number, its features (FEATURES,) and the log of its usual level.

    The features of day k are made of its date and of sales[: k - ahead + 1], and of nothing else.
    """
    log, weekdays = np.log(sales), weekday(days)
    numbers, rows, levels = [], [], []
    for k in range(24 + ahead, len(days)):
        known = log[: k - ahead + 1]
        same = known[weekdays[: len(known)] == weekdays[k]][-SAME_WEEKDAYS:]
        if len(same) < SAME_WEEKDAYS:  # the one Saturday
            continue
        level = same.mean()
        year = 2 * np.pi * (days[k] - days[k].astype("datetime64[Y]")).astype(int) / 365.25
        rows.append(
            [
                *(same[-1] - level, known[-6:].mean() - level, known[-24:].mean() - level, level),
                *(np.sin(year), np.cos(year), np.sin(2 * year), np.cos(2 * year)),
                *(weekdays[k] == np.arange(5)),
            ]
        )
        numbers.append(k)
        levels.append(level)
    return np.array(numbers), np.array(rows, np.float64), np.array(levels)


def same_weekday_last_week(days: np.ndarray, sales: np.ndarray) -> np.ndarray:
    """The seasonal-naive forecast: the sales of the latest day before with the same weekday; NaN if none."""
    forecast, latest = np.full(len(sales), np.nan), np.full(7, np.nan)
    for k, day in enumerate(weekday(days)):
        forecast[k] = latest[day]
        latest[day] = sales[k]
    return forecast


days, sales = daily_sales()
numbers, x, levels = features(days, sales, int(settings.ahead))
is_test = days[numbers] > days[-1] - np.timedelta64(7 * WEEKS, "D")
x = (x - x[~is_test].mean(axis=0)) / x[~is_test].std(axis=0)
y = np.log(sales[numbers]) - levels

job = Job(
    model=nn.Sequential(nn.Dense(FEATURES, 32), nn.ReLU(), nn.Dense(32, 1)),
    loss=nn.MSE(),
    regularizer=nn.L2(0.003),
    optimizer=nn.Adam(0.01),
    metrics=[nn.MeanAbsoluteError()],
    train=data.arrays(x[~is_test], y[~is_test]),
    test=data.arrays(x[is_test], y[is_test]),
    plan=Plan(shards=4, batch_size=16, local_steps=9, epochs=60, evaluate_every=20),
)


def mean_error(forecast: np.ndarray) -> float:
    """Mean absolute error of forecasts for the last eight weeks."""
    return float(np.abs(forecast - sales[numbers[is_test]]).mean())


def forecast_by(model: Model) -> np.ndarray:
    return np.exp(levels[is_test] + model.predict(x[is_test])[:, 0])


def baselines() -> dict[str, float]:
    return {
        "same weekday last week": mean_error(same_weekday_last_week(days, sales)[numbers[is_test]]),
        "mean of four such weekdays": mean_error(np.exp(levels[is_test])),
    }


def measure(models: Sequence[Model]) -> float:
    return mean_error(forecast_by(models[0]))


def show(models: Sequence[Model], path: Path) -> None:
    """The last eight weeks: what was sold, what the network and the baseline had said."""
    from matplotlib.figure import Figure

    tested = numbers[is_test]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(days[tested], sales[tested] / 1000, "k.-", label="sold")
    axes.plot(days[tested], forecast_by(models[0]) / 1000, "C0", label="network, a week ahead")
    naive = same_weekday_last_week(days, sales)[tested]
    axes.plot(days[tested], naive / 1000, "C1:", label="same weekday last week")
    axes.set(ylabel="sales, thousand pounds a day", title="forecasts of 8 weeks not trained on")
    axes.legend()
    figure.savefig(path.with_suffix(".png"), dpi=70)
