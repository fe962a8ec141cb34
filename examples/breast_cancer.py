"""Malignant or benign, from 30 measurements of cell nuclei: logistic regression on a medical data set.

    ps-local examples/breast_cancer.py -n 2
    ps-local examples/breast_cancer.py -n 2 --set fold=3

The Wisconsin diagnostic breast-cancer set, 569 samples, in five folds: four to train on and one to test, as
`fold` says, each feature standardised with the training samples' mean and deviation. Four shards, as if
four hospitals each trained on their own patients and shared nothing but weights. Expect a test accuracy of
0.95 or more, and an area under the ROC curve of 0.99 or more as the mean of all five folds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from claims import Claim

from paramserver import Job, Model, Plan, data, datasets, nn, options

FOLDS = ("0", "1", "2", "3", "4")
claim = Claim(
    data="breast cancer (Wisconsin), 569 samples",
    figure="area under the ROC curve, mean of 5 folds",
    at_least=0.99,
    beats=("best single measurement",),
    runs=tuple((f"fold={fold}",) for fold in FOLDS),
)
settings = options(fold=FOLDS, split=0)  # another number for split: other folds


def all_samples(split: int) -> tuple[np.ndarray, np.ndarray]:
    """All 569, in an order that follows from the seed `split`."""
    cells = datasets.load("breast-cancer", seed=split, standardise=False)
    parts = zip(cells.train.read(slice(None)), cells.test.read(slice(None)), strict=True)
    x, y = (np.concatenate(pair) for pair in parts)
    return x, y


def fold_of(x: np.ndarray, y: np.ndarray, fold: int) -> tuple[np.ndarray, ...]:
    """x and y to train on, x and y to test on: every fifth sample from number `fold` on."""
    is_test = np.arange(len(x)) % len(FOLDS) == fold
    x = (x - x[~is_test].mean(axis=0)) / x[~is_test].std(axis=0)
    return x[~is_test], y[~is_test], x[is_test], y[is_test]


x_train, y_train, x_test, y_test = fold_of(*all_samples(settings.split), int(settings.fold))

job = Job(
    model=nn.Sequential(nn.Dense(30, 1, init="zeros")),
    loss=nn.SigmoidCrossEntropy(),
    regularizer=nn.L2(0.001),
    optimizer=nn.SGD(0.1),
    metrics=[nn.Accuracy()],
    train=data.arrays(x_train, y_train),
    test=data.arrays(x_test, y_test),
    plan=Plan(shards=4, batch_size=16, local_steps=4, epochs=20, evaluate_every=5),
)


def area_under_roc(score: np.ndarray, label: np.ndarray) -> float:
    """How often a sample of class 1 scores higher than one of class 0; ties are half (Mann & Whitney)."""
    ones, zeros = score[label == 1][:, None], score[label == 0]
    return float((ones > zeros).mean() + (ones == zeros).mean() / 2)


def baselines() -> dict[str, float]:
    """In each fold the measurement that alone ranks the training samples best, turned the right way round."""
    areas = []
    for fold in range(len(FOLDS)):
        x, y, x_new, y_new = fold_of(*all_samples(0), fold)
        alone = np.array([area_under_roc(column, y) for column in x.T])
        best = int(np.abs(alone - 0.5).argmax())
        areas.append(area_under_roc(x_new[:, best] * np.sign(alone[best] - 0.5), y_new))
    return {"best single measurement": float(np.mean(areas))}


def measure(models: Sequence[Model]) -> float:
    return float(np.mean([area_under_roc(*scored) for scored in _tested(models)]))


def _tested(models: Sequence[Model]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores and labels of each model's test samples; models in the order of their folds."""
    x, y = all_samples(0)
    folds = [fold_of(x, y, fold)[2:] for fold in range(len(models))]
    return [(model.predict(x)[:, 0], y) for model, (x, y) in zip(models, folds, strict=True)]


def show(models: Sequence[Model], path: Path) -> None:
    """The ROC curve of each fold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.subplots()
    for fold, (score, label) in enumerate(_tested(models)):
        is_one = label[np.argsort(-score)] == 1
        found, wrong = np.cumsum(is_one) / is_one.sum(), np.cumsum(~is_one) / (~is_one).sum()
        area = area_under_roc(score, label)
        axes.step([0, *wrong], [0, *found], where="post", label=f"fold {fold}: {area:.4f}")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.set(xlabel="share of malignant called benign", ylabel="share of benign found")
    axes.set_title("benign or malignant: ROC on samples not trained on")
    axes.legend()
    figure.savefig(path.with_suffix(".png"), dpi=80)
