"""How many stars a user will give a film: matrix factorisation on MovieLens-100K.

    ps-local examples/movielens.py -n 2

100,000 ratings, from 1 to 5, of 1,682 films by 943 users; 80,000 of them, drawn by the seed, to train on. A
rating is a mean, how kindly the user rates, how well the film is liked, and the product of 20 factors of each
(Koren, Bell & Volinsky 2009), all held small by L2. The learning rate ends at a tenth of what it begins with.

Expect a root mean squared error of 0.91 after about 10 s. Without factors, so with the two biases alone, it
is 0.94; whoever always says the mean is wrong by 1.13.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from claims import Claim

from paramserver import Job, Model, Plan, datasets, nn, options

USERS, FILMS = 943, 1682
claim = Claim(
    data="MovieLens-100K",
    figure="RMSE of 20,000 ratings, stars",
    at_most=0.95,
    beats=("the mean", "biases of users and films"),
)
settings = options(split=0, epochs=20)  # another number for split: another split into train and test
ratings = datasets.load("movielens-100k", seed=settings.split)
plan = Plan(shards=4, batch_size=32, local_steps=16, epochs=settings.epochs, evaluate_every=5)
STEPS = plan.epochs * 40 * plan.local_steps  # 40 rounds an epoch

job = Job(
    model=nn.MatrixFactorisation(USERS, FILMS, factors=20, mean=3.5),
    loss=nn.MSE(),
    regularizer=nn.L2(3e-4),
    optimizer=nn.Nesterov(nn.Cosine(0.2, steps=STEPS, final=0.02)),
    metrics=[nn.RMSE()],
    train=ratings.train,
    test=ratings.test,
    plan=plan,
)


def biases(pairs: np.ndarray, stars: np.ndarray, damping: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """How far above the mean each user rates and each film is rated, all else equal.

    The least squares of r = mean + bᵤ + bᵢ with `damping` more ratings of 0 each, found in turns (Koren
    2010, §2.1).
    """
    user, film = pairs.T
    above = stars - stars.mean()
    of_user, of_film = np.zeros(USERS), np.zeros(FILMS)
    for _ in range(10):
        of_film = mean_of(above - of_user[user], film, FILMS, damping)
        of_user = mean_of(above - of_film[film], user, USERS, damping)
    return of_user, of_film


def mean_of(values: np.ndarray, groups: np.ndarray, count: int, damping: float) -> np.ndarray:
    """The mean of each group, drawn to 0 by `damping` values of 0 more."""
    return np.bincount(groups, values, count) / (np.bincount(groups, minlength=count) + damping)


def error(predicted: np.ndarray | float) -> float:
    return float(np.sqrt(((predicted - ratings.test.read(slice(None))[1]) ** 2).mean(dtype=np.float64)))


def baselines() -> dict[str, float]:
    pairs, stars = ratings.train.read(slice(None))
    of_user, of_film = biases(pairs, stars)
    user, film = ratings.test.read(slice(None))[0].T
    mean = float(stars.mean())
    return {"the mean": error(mean), "biases of users and films": error(mean + of_user[user] + of_film[film])}


def measure(models: Sequence[Model]) -> float:
    return error(models[0].predict(ratings.test.read(slice(None))[0])[:, 0])


def show(models: Sequence[Model], path: Path) -> None:
    """What was predicted of the ratings that were 1, 2, ... 5 stars in the end."""
    from matplotlib.figure import Figure

    pairs, stars = ratings.test.read(slice(None))
    predicted = models[0].predict(pairs)[:, 0]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for star in range(1, 6):
        of_star = predicted[stars == star]
        axes.hist(of_star, np.arange(1, 5.6, 0.1), density=True, histtype="step", label=f"{star} stars given")
    axes.set(xlabel="stars predicted", ylabel="density", title="20,000 ratings not trained on")
    axes.legend()
    figure.savefig(path.with_suffix(".png"), dpi=80)
