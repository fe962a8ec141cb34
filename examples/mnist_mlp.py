"""Handwritten digits with a 784-100-10 network, on MNIST.

    ps-local examples/mnist_mlp.py -n 2                     5,000 digits, 1,000 of them for testing
    ps-local examples/mnist_mlp.py -n 2 --set data=mnist    all 70,000
    ps-local examples/mnist_mlp.py -n 2 --set recipe=dl4j   as Deeplearning4j's example

Expect a test accuracy of 0.93 or more after a second of training, and of 0.97 or more with all digits: 0.978
after about 12 s with two workers on two cores.

The recipe "dl4j" has the settings of that example: Xavier initialisation, plain SGD with learning rate 0.01,
seed 12345, batches of 64, 10 epochs; and 5 batches between two averagings, the default of Deeplearning4j's
parameter averaging. It learns more slowly: 0.69, and 0.90 with all digits.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from claims import Claim

from paramserver import Job, Model, Plan, datasets, nn, options

claim = Claim(
    data="MNIST, 5,000 digits", figure="test accuracy", at_least=0.93, beats=("nearest mean digit",)
)
settings = options(data=("mnist-5k", "mnist"), recipe=("fast", "dl4j"))
digits = datasets.load(settings.data, seed=12345)
is_dl4j = settings.recipe == "dl4j"

job = Job(
    model=nn.Sequential(nn.Dense(784, 100, init="xavier"), nn.ReLU(), nn.Dense(100, 10, init="xavier")),
    loss=nn.SoftmaxCrossEntropy(),
    optimizer=nn.SGD(0.01) if is_dl4j else nn.Nesterov(0.1),
    metrics=[nn.Accuracy()],
    train=digits.train,
    test=digits.test,
    plan=Plan(shards=6, batch_size=64 if is_dl4j else 16, local_steps=5 if is_dl4j else 8, epochs=10),
    seed=12345,
)


def baselines() -> dict[str, float]:
    """Each test digit is called what the training digits are whose mean is nearest."""
    (x, label), (x_new, label_new) = (part.read(slice(None)) for part in (digits.train, digits.test))
    means = np.stack([x[label == digit].mean(axis=0) for digit in range(10)])
    distance = (means**2).sum(axis=1) - 2 * x_new @ means.T  # squared, less what is equal for all means
    return {"nearest mean digit": float((distance.argmin(axis=1) == label_new).mean())}


def measure(models: Sequence[Model]) -> float:
    return models[0].metrics["accuracy"]


def show(models: Sequence[Model], path: Path) -> None:
    """How often each digit is taken for each other one."""
    from matplotlib.figure import Figure

    images, labels = digits.test.read(slice(None))
    taken_for = np.zeros((10, 10), int)
    np.add.at(taken_for, (labels, models[0].predict(images).argmax(axis=1)), 1)
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(taken_for, cmap="Blues", vmax=20)
    for digit, row in enumerate(taken_for):
        for other, count in enumerate(row):
            axes.text(other, digit, count or "", ha="center", va="center", color="w" if count > 12 else "k")
    axes.set(xticks=range(10), yticks=range(10), xlabel="taken for", ylabel="digit")
    figure.savefig(path.with_suffix(".png"), dpi=80)
