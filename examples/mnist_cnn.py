"""Handwritten digits with a convolutional network, on all 70,000 of MNIST.

    ps-local examples/mnist_cnn.py -n 2
    ps-local examples/mnist_cnn.py -n 2 --set data=mnist-5k    5,000 digits, 1,000 of them for testing

Two convolutions of 5 x 5 with pooling and a linear layer, as LeNet (LeCun et al. 1998), with ReLU and Adam.
Expect a test accuracy of 0.985 or more after about a minute with two workers on two cores. The demo's network
without convolutions reaches 0.978, and the nearest of ten mean digits 0.82.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from claims import Claim

from paramserver import Job, Model, Plan, datasets, nn, options

claim = Claim(
    data="MNIST, 70,000 digits", figure="test accuracy", at_least=0.985, beats=("nearest mean digit",)
)
settings = options(data=("mnist", "mnist-5k"))
digits = datasets.load(settings.data)

job = Job(
    model=nn.Sequential(
        nn.Reshape((1, 28, 28)),
        *(nn.Conv2D(1, 8, 5), nn.ReLU(), nn.MaxPool2D(2)),  # 8 x 12 x 12
        *(nn.Conv2D(8, 16, 5), nn.ReLU(), nn.MaxPool2D(2)),  # 16 x 4 x 4
        *(nn.Flatten(), nn.Dense(256, 64), nn.ReLU(), nn.Dense(64, 10)),
    ),
    loss=nn.SoftmaxCrossEntropy(),
    optimizer=nn.Adam(0.002),
    metrics=[nn.Accuracy()],
    train=digits.train,
    test=digits.test,
    plan=Plan(shards=4, batch_size=32, local_steps=8, epochs=5),
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
    """Digits that it gets wrong, the surest first: what it says, and what they are."""
    from matplotlib.figure import Figure

    images, labels = digits.test.read(slice(None))
    logits = np.concatenate([models[0].predict(part) for part in np.array_split(images, 20)])
    said = logits.argmax(axis=1)
    wrong = np.flatnonzero(said != labels)
    wrong = wrong[np.argsort(logits[wrong, labels[wrong]] - logits[wrong, said[wrong]])][:24]
    figure = Figure(figsize=(6, 4.4), layout="constrained")
    for axes, number in zip(figure.subplots(4, 6).flat, wrong, strict=False):
        axes.imshow(images[number].reshape(28, 28), cmap="gray_r")
        axes.set_title(f"{said[number]}, is {labels[number]}", fontsize=9)
    for axes in figure.axes:
        axes.axis("off")
    figure.savefig(path.with_suffix(".png"), dpi=70)
