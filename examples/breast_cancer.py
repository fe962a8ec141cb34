"""Malignant or benign, from 30 measurements of cell nuclei: logistic regression on a medical data set.

    ps-local examples/breast_cancer.py -n 2

The Wisconsin diagnostic breast-cancer set: 455 samples to train on, 114 to test, each feature standardised
with the training samples' mean and deviation. Four shards, as if four hospitals each trained on their own
patients and shared nothing but weights. Expect a test accuracy of 0.95 or more.
"""

from paramserver import Job, Plan, datasets, nn, options

settings = options(split=0)  # another number: another split into train and test
cells = datasets.load("breast-cancer", seed=settings.split)

job = Job(
    model=nn.Sequential(nn.Dense(30, 1, init="zeros")),
    loss=nn.SigmoidCrossEntropy(),
    regularizer=nn.L2(0.001),
    optimizer=nn.SGD(0.1),
    metrics=[nn.Accuracy()],
    train=cells.train,
    test=cells.test,
    plan=Plan(shards=4, batch_size=16, local_steps=4, epochs=20, evaluate_every=5),
)
