"""Three samples, two weights: training finds what the normal equations say.

    ps-local examples/linear_toy.py -n 3

Reproduces the 3 x 2 toy of linear-regression tutorials, X = [1 2; 3 4; 5 6], here with targets that are a
linear function, y = X (1, 2). The least-squares weights (XᵀX)⁻¹Xᵀy are then (1, 2), and the run ends within
1e-6 of them. There is no bias: the second column is the first plus one, so a bias would leave the weights
undetermined. Each shard is one sample and makes one step a round, so the average of the three replicas is
a full-batch step; the momentum is averaged with the weights, so that holds for it too.
"""

import numpy as np

from paramserver import Job, Plan, data, nn

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
y = X @ np.array([1.0, 2.0])

job = Job(
    model=nn.Sequential(nn.Dense(2, 1, init="zeros", bias=False)),
    loss=nn.MSE(),
    optimizer=nn.Momentum(0.05, momentum=0.8),
    train=data.arrays(X, y),
    plan=Plan(shards=3, batch_size=1, local_steps=1, epochs=300, dtype="float64"),
)
