"""How much a share will move tomorrow: a linear forecast of volatility against today's, and against EWMA.

    ps-local examples/stocks.py -n 2

Five stocks (AAPL, FB, GOOG, IBM, MSFT), daily, 2000 to 2013; trained on the days before 2010, tested on those
since. Volatility is the logarithm of a day's range estimate, ln(high / low) / √(4 ln 2) (Parkinson 1980).
The forecast is linear in its means over the last day, week, month and quarter (the heterogeneous
autoregression of Corsi 2009), the last return, by size and where it was a loss, the volume beside the last
month's, and the weekday of tomorrow. All of them are known when the market closes.

Expect a root mean squared error of 0.38. Tomorrow as today errs by 0.47, and an exponentially weighted mean,
its weight chosen on the days before 2010, by 0.39: volatility is predictable, and its mean is hard to beat.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from claims import Claim

from paramserver import Job, Model, Plan, data, datasets, nn

SPLIT = np.datetime64("2010-01-01")
SPANS = (1, 5, 22, 66)  # trading days: a day, a week, a month, a quarter
FEATURES = len(SPANS) + 3 + 4
DECAYS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.94, 0.97)  # 0.94: RiskMetrics' for daily data
claim = Claim(
    data="5 stocks, 11,819 days",
    figure="RMSE of tomorrow's log volatility, 2010 to 2013",
    beats=("as today", "EWMA"),
)


def log_volatility(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Parkinson's estimate of a day's volatility from its range, as a logarithm."""
    return np.log(np.log(high / low) / np.sqrt(4 * np.log(2)))


def trailing_mean(values: np.ndarray, span: int) -> np.ndarray:
    """The mean of the last `span` values, this one included; of all so far where there are fewer."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(stop - span, 0)
    return (sums[stop] - sums[start]) / (stop - start)


def ewma(values: np.ndarray, decay: float) -> np.ndarray:
    """mₖ = decay mₖ₋₁ + (1 - decay) vₖ, from m₀ = v₀ on."""
    means = np.empty(len(values))
    mean = values[0]
    for k, value in enumerate(values):
        mean = decay * mean + (1 - decay) * value
        means[k] = mean
    return means


def features(stock: dict[str, np.ndarray]) -> np.ndarray:
    """(days, FEATURES): row k is known at the close of day k, but for the date of the next trading day."""
    volatility, volume = log_volatility(stock["high"], stock["low"]), np.log(stock["volume"])
    price = np.log(stock["adjusted_close"])
    gain = np.diff(price, prepend=price[0])
    tomorrow = (np.append(stock["date"][1:], stock["date"][-1] + 1).astype(np.int64) + 3) % 7
    return np.column_stack(
        [
            *(trailing_mean(volatility, span) for span in SPANS),
            *(np.abs(gain), np.minimum(gain, 0), volume - trailing_mean(volume, 22)),
            *(tomorrow == day for day in range(4)),
        ]
    )


def samples() -> dict[str, np.ndarray]:
    """A row a stock and day, but for the first quarter of each: what is known, and what came the next day."""
    table = datasets.table("stocks")
    parts = []
    for ticker in np.unique(table["ticker"]):
        stock = {name: column[table["ticker"] == ticker] for name, column in table.items()}
        today = log_volatility(stock["high"], stock["low"])
        known = {"x": features(stock), "today": today} | {f"ewma {d}": ewma(today, d) for d in DECAYS}
        then = {"y": today[1:], "date": stock["date"][1:], "ticker": stock["ticker"][1:]}
        parts.append({n: v[:-1] for n, v in known.items()} | then)
    rows = slice(max(SPANS), None)
    return {name: np.concatenate([part[name][rows] for part in parts]) for name in parts[0]}


rows = samples()
is_test = rows["date"] >= SPLIT
x, y = rows["x"], rows["y"]
x = (x - x[~is_test].mean(axis=0)) / x[~is_test].std(axis=0)

job = Job(
    model=nn.Sequential(nn.Dense(FEATURES, 1, init="zeros")),
    loss=nn.MSE(),
    optimizer=nn.Nesterov(0.002),
    metrics=[nn.MeanSquaredError()],
    train=data.arrays(x[~is_test], y[~is_test]),
    test=data.arrays(x[is_test], y[is_test]),
    plan=Plan(shards=4, batch_size=64, local_steps=4, epochs=20, evaluate_every=5),
)


def error(forecast: np.ndarray, where: np.ndarray = is_test) -> float:
    """Root of the mean squared error of forecasts for all rows, of those rows that count."""
    return float(np.sqrt(((forecast - y)[where] ** 2).mean()))


def best_decay() -> float:
    """The EWMA that would have been best before the test days."""
    return min(DECAYS, key=lambda decay: error(rows[f"ewma {decay}"], ~is_test))


def baselines() -> dict[str, float]:
    return {"as today": error(rows["today"]), "EWMA": error(rows[f"ewma {best_decay()}"])}


def measure(models: Sequence[Model]) -> float:
    return error(models[0].predict(x)[:, 0])


def show(models: Sequence[Model], path: Path) -> None:
    """One stock in the last year: volatility of each day, and what was said of it the day before."""
    from matplotlib.figure import Figure

    shown = np.flatnonzero((rows["ticker"] == "AAPL") & is_test)[-250:]
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rows["date"][shown], 100 * np.exp(y[shown]), "k.", markersize=3, label="observed")
    for name, forecast in (
        ("EWMA", rows[f"ewma {best_decay()}"]),
        ("trained", models[0].predict(x)[:, 0]),
    ):
        axes.plot(rows["date"][shown], 100 * np.exp(forecast[shown]), linewidth=1, label=name)
    axes.set(ylabel="range estimate of volatility, % a day", title="AAPL: forecasts one day ahead")
    axes.legend()
    figure.savefig(path.with_suffix(".png"), dpi=80)
