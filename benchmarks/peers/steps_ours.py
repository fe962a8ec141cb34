"""Training steps of ours, as a worker makes them. Started by `python steps_ours.py MODEL`.

For each number on standard input: so many steps from the first weights on, and the seconds of each as a line
of JSON. (A long run would end among momenta so small that a processor takes ten times as long for them.)
"""

import json
import math
import sys
import time

import numpy as np

from ps_worker import nn

BATCHES = 8
WORDS, LENGTH, FEATURES = 65, 64, 128


def block() -> list[nn.Layer]:
    """A transformer's block, with its norms first."""
    attention = nn.Residual(nn.LayerNorm(FEATURES), nn.CausalSelfAttention(FEATURES, 4))
    widened = [nn.Dense(FEATURES, 4 * FEATURES), nn.GELU(), nn.Dense(4 * FEATURES, FEATURES)]
    return [attention, nn.Residual(nn.LayerNorm(FEATURES), *widened)]


MODELS = {
    "mlp": nn.Sequential(nn.Dense(784, 100), nn.ReLU(), nn.Dense(100, 10)),
    "cnn": nn.Sequential(
        nn.Reshape((1, 28, 28)),
        nn.Conv2D(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Conv2D(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Dense(64 * 7 * 7, 10),
    ),
    "transformer": nn.Sequential(
        nn.Embedding(WORDS, FEATURES),
        nn.PositionalEmbedding(LENGTH, FEATURES),
        *block(),
        *block(),
        nn.LayerNorm(FEATURES),
        nn.Dense(FEATURES, WORDS),
    ),
}


def batches(model: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    if model == "transformer":
        words = rng.integers(0, WORDS, (2, BATCHES, 16, LENGTH))
        return words[0], words[1]
    return rng.random((BATCHES, 64, 784), dtype=np.float32), rng.integers(0, 10, (BATCHES, 64))


def bound(network: nn.Network) -> tuple[np.ndarray, np.ndarray]:
    """The flat weights and their gradient, which the network computes in."""
    specification = network.specification()
    size = sum(math.prod(p.shape) for p in specification.values())
    flat, gradient = (np.zeros(size, np.float32) for _ in range(2))
    views: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
    at = 0
    for name, p in specification.items():
        size = math.prod(p.shape)
        for vector, names in zip((flat, gradient), views, strict=True):
            names[name] = vector[at : at + size].reshape(p.shape)
        at += size
    network.initialise(views[0], np.random.default_rng(1))
    network.bind(*views)
    return flat, gradient


def main(model: str) -> None:
    x, y = batches(model)
    network = nn.Network(MODELS[model], nn.SoftmaxCrossEntropy(), None, x.shape[2:])
    weights, gradient = bound(network)
    optimizer, slots = nn.Momentum(0.01), {"velocity": np.zeros_like(weights)}
    scratch, context = nn.scratch_for(weights), nn.Context(training=True)
    first = weights.copy()
    for line in sys.stdin:
        weights[:], slots["velocity"][:], seconds = first, 0, []
        for step in range(int(line)):
            began = time.perf_counter()
            network.train_step(x[step % BATCHES], y[step % BATCHES], context)
            optimizer.step(weights, gradient, slots, scratch)
            seconds.append(time.perf_counter() - began)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
