"""How far diabetes goes in a year, from ten measurements: a linear regression that ends at the closed form.

    ps-local examples/diabetes.py -n 2

Reproduces multi-variable linear regression on the diabetes set of Efron et al. 2004 (442 patients, 353 of
them to train on), each measurement standardised. The weights of least squares are known: they solve the
normal equations, XᵀX w = Xᵀy. Four shards make one step a round on all their patients, so the average of
the four replicas is a step of full-batch gradient descent, and training must end where the equations do:
expect no weight to be further than 0.001 from the closed form (they are up to 150), after about two seconds.

Two of the measurements are almost the same (XᵀX has a condition number of about 230), which plain gradient
descent would need tens of thousands of steps for; Nesterov's momentum needs some hundreds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from claims import Claim

from paramserver import Job, Model, Plan, datasets, nn

claim = Claim(
    data="diabetes, 442 patients",
    figure="largest distance of a weight from the closed form",
    at_most=1e-3,
)
patients = datasets.load("diabetes", seed=0)

job = Job(
    model=nn.Sequential(nn.Dense(10, 1, init="zeros")),
    loss=nn.MSE(),
    optimizer=nn.Nesterov(0.1, momentum=0.95),
    metrics=[nn.MeanAbsoluteError()],
    train=patients.train,
    test=patients.test,
    plan=Plan(shards=4, batch_size=128, local_steps=1, epochs=500, evaluate_every=100, dtype="float64"),
)


def closed_form(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The weights and, last, the bias for which Σ (x w + b - y)² is least."""
    with_ones = np.column_stack([x, np.ones(len(x))])
    return np.linalg.lstsq(with_ones, y, rcond=None)[0]


def wanted() -> np.ndarray:
    x, y = patients.train.read(slice(None))
    return closed_form(x.astype(np.float64), y.astype(np.float64))


def weights_of(model: Model) -> np.ndarray:
    return np.append(model.weights["0.weight"][:, 0], model.weights["0.bias"])


def baselines() -> dict[str, float]:
    return {"all weights zero": float(np.abs(wanted()).max())}


def measure(models: Sequence[Model]) -> float:
    return float(np.abs(weights_of(models[0]) - wanted()).max())


def show(models: Sequence[Model], path: Path) -> None:
    """Predicted against true on the test patients, and the weights beside the closed form's."""
    from matplotlib.figure import Figure

    x, y = patients.test.read(slice(None))
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.scatter(y, models[0].predict(x)[:, 0], s=12)
    left.plot([25, 346], [25, 346], color="grey", linewidth=1)
    left.set(xlabel="progression after a year", ylabel="predicted", title="89 patients not trained on")
    places = np.arange(10)
    right.bar(places - 0.2, wanted()[:10], 0.4, label="closed form")
    right.bar(places + 0.2, weights_of(models[0])[:10], 0.4, label="trained")
    right.set(xlabel="measurement", title="weights")
    right.legend()
    figure.savefig(path.with_suffix(".png"), dpi=80)
