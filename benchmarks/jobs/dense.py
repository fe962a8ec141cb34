"""A job of this package's parts alone, so that no code has to be where its light workers are: see fan_in.py.

`parameters` is rounded to what a layer of `inputs` + 1 numbers an output can have.
"""

import numpy as np

from paramserver import Job, Plan, data, nn, options

settings = options(parameters=100_000, inputs=9, workers=1, rounds=20)
inputs, outputs = settings.inputs, settings.parameters // (settings.inputs + 1)

job = Job(
    model=nn.Dense(inputs, outputs),
    loss=nn.SoftmaxCrossEntropy(),
    optimizer=nn.SGD(0.1),
    train=data.arrays(np.ones((settings.workers, inputs), np.float32), np.zeros(settings.workers, np.int64)),
    plan=Plan(shards=settings.workers, batch_size=1, local_steps=1, epochs=settings.rounds),
)
