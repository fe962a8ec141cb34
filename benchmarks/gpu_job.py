"""What gpu.py trains to see what synchronising costs: one of its models, one shard, so many steps a round."""

from gpu_models import case

from paramserver import Job, Plan, data, nn, options

settings = options(name=("mlp", "transformer"), small=False, local_steps=8, steps=64, epochs=1)
one = case(settings.name, settings.small)
x, y = one.sample(one.size.batch * settings.steps)

job = Job(
    model=one.model,
    loss=nn.SoftmaxCrossEntropy(),
    optimizer=one.optimizer,
    train=data.arrays(x, y),
    plan=Plan(
        shards=1, batch_size=one.size.batch, local_steps=settings.local_steps, epochs=settings.epochs,
    ),
)  # fmt: skip
