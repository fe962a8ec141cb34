"""Your own training loop: logistic regression in plain NumPy, averaged by the server.

    ps-server own --samples 455 --shards 4 --batch-size 16 --local-steps 4 --epochs 20
    python examples/own_loop.py & python examples/own_loop.py

The Wisconsin breast-cancer set, as in breast_cancer.py. The master knows how many samples an epoch has and
how they are cut up, and nothing else; start one copy of this script or ten, now or later: the weights are the
same. Expect an accuracy of 0.95 or more.
"""

import sys

import numpy as np

import paramserver

cells = paramserver.datasets.load("breast-cancer", seed=0)
weights = {"w": np.zeros(30, np.float32), "b": np.zeros(1, np.float32)}

with paramserver.connect(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555") as server:
    server.init(weights)
    for x, y in server.batches(cells.train):
        error = 1 / (1 + np.exp(-(x @ weights["w"] + weights["b"]))) - y.reshape(-1)
        weights["w"] -= 0.1 * (error @ x / len(x) + 0.001 * weights["w"])
        weights["b"] -= 0.1 * error.mean()
        if server.is_due:
            server.push_pull(weights)

x, y = cells.test.read(slice(None))
print(f"test accuracy {np.mean((x @ weights['w'] + weights['b'] > 0) == y.reshape(-1)):.4f}")
