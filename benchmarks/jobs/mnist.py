"""Full MNIST on a 784-100-10 network, with the settings that mnist_race.py gives to everyone."""

from paramserver import Job, Plan, datasets, nn, options

settings = options(workers=2, batch=64, rate=0.1, local_steps=8, limit=10)
digits = datasets.load("mnist")

job = Job(
    model=nn.Sequential(nn.Dense(784, 100, init="xavier"), nn.ReLU(), nn.Dense(100, 10, init="xavier")),
    loss=nn.SoftmaxCrossEntropy(),
    optimizer=nn.Nesterov(settings.rate),
    metrics=[nn.Accuracy()],
    train=digits.train,
    test=digits.test,
    plan=Plan(
        shards=settings.workers,
        batch_size=settings.batch,
        local_steps=settings.local_steps,
        epochs=settings.limit,
    ),
)
