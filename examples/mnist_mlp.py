"""Handwritten digits with a 784-100-10 network, on MNIST.

    ps-local examples/mnist_mlp.py -n 2                     5,000 digits, 1,000 of them for testing
    ps-local examples/mnist_mlp.py -n 2 --set data=mnist    all 70,000
    ps-local examples/mnist_mlp.py -n 2 --set recipe=dl4j   as Deeplearning4j's parameter-averaging example

The recipe "dl4j" reproduces that example's settings: Xavier initialisation, SGD with learning rate 0.01,
seed 12345, batches of 64, 10 epochs. The other one learns faster.
"""

from paramserver import Job, Plan, datasets, nn, options

settings = options(data="mnist-5k", recipe="fast")
digits = datasets.load(settings.data, seed=12345)
init, rate = ("xavier", 0.01) if settings.recipe == "dl4j" else ("he", 0.1)

job = Job(
    model=nn.Sequential(nn.Dense(784, 100, init=init), nn.ReLU(), nn.Dense(100, 10, init=init)),
    loss=nn.SoftmaxCrossEntropy(),
    optimizer=nn.SGD(rate),
    metrics=[nn.Accuracy()],
    train=digits.train,
    test=digits.test,
    plan=Plan(shards=6, batch_size=64, local_steps=4, epochs=10),
    seed=12345,
)
