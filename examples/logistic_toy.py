"""Logistic regression on four samples: Spark MLlib's toy set and its objective.

    ps-local examples/logistic_toy.py -n 2                 10 iterations, as the original
    ps-local examples/logistic_toy.py -n 2 --epochs 500    to the optimum

Reproduces `LogisticRegression(maxIter=10, regParam=0.01)` of Spark MLlib.

The same: the data, and the objective: the mean log-loss plus 0.01/2 times the sum of the squared weights,
those of features divided by their sample deviation, without a penalty on the intercept. So the optimum
is the same, and the test compares with it.

Not the same: Spark takes L-BFGS steps. Here an iteration, an epoch, is one step of gradient descent on all
four samples: two shards, one step each, averaged. At a learning rate of 0.01 that would need about 100,000
of them; at 4 (it diverges above 5.7) 10 bring every weight within 0.25 of the optimum, and 500 within 1e-6.

The weights are those of the standardised features: divide by the deviation for those of the original ones.
"""

import numpy as np

from paramserver import Job, Plan, data, nn

features = np.array([[0.0, 1.1, 0.1], [2.0, 1.0, -1.0], [2.0, 1.3, 1.0], [0.0, 1.2, -0.5]])
labels = np.array([1, 0, 0, 1])
standardised = (features - features.mean(axis=0)) / features.std(axis=0, ddof=1)

job = Job(
    model=nn.Sequential(nn.Dense(3, 1, init="zeros")),
    loss=nn.SigmoidCrossEntropy(),
    regularizer=nn.L2(0.01),
    optimizer=nn.SGD(4.0),
    metrics=[nn.Accuracy()],
    train=data.arrays(standardised, labels),
    plan=Plan(shards=2, batch_size=2, local_steps=1, epochs=10, dtype="float64"),
)
