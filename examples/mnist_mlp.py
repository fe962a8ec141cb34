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

from paramserver import Job, Plan, datasets, nn, options

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
