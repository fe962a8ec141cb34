"""Ten inputs, one output, a target of one: the smallest parameter server.

    ps-local examples/linear_regression.py -n 2

Reproduces the model with which PyTorch's data parallelism is often shown: nn.Linear(10, 1), 1,000 random
inputs, targets that are all one, mean squared error, SGD at 0.01, batches of 64 (there for 10 epochs; here
for 100, as each of the four replicas goes through a quarter of the data). The inputs explain nothing of
the target, so the weights go to 0, the bias to 1, and the loss to 0: at the end it is below 1e-5.
"""

import numpy as np

from paramserver import Job, Plan, data, nn

SEED = 0
inputs = np.random.default_rng(SEED).normal(size=(1000, 10)).astype(np.float32)

job = Job(
    model=nn.Sequential(nn.Dense(10, 1)),
    loss=nn.MSE(),
    optimizer=nn.SGD(0.01),
    train=data.arrays(inputs, np.ones(len(inputs), np.float32)),
    plan=Plan(shards=4, batch_size=64, local_steps=4, epochs=100),
    seed=SEED,
)
