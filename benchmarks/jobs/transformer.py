"""A transformer of ten million parameters on random tokens: memory_use.py looks at what it takes.

With its defaults it has 10,722,113 parameters: 6 blocks of 384 features, as nanoGPT's for characters.
"""

import numpy as np

from paramserver import Job, Plan, data, nn, options

settings = options(
    features=384, heads=6, blocks=6, vocabulary=65, steps=64, batch=8, workers=2, rounds=4, local_steps=2
)
samples = settings.workers * settings.batch * settings.local_steps * settings.rounds
tokens = np.random.default_rng(0).integers(0, settings.vocabulary, (samples, settings.steps + 1))

job = Job(
    model=nn.Sequential(
        nn.Embedding(settings.vocabulary, settings.features),
        nn.PositionalEmbedding(settings.steps, settings.features),
        *(nn.TransformerBlock(settings.features, settings.heads) for _ in range(settings.blocks)),
        nn.LayerNorm(settings.features),
        nn.Dense(settings.features, settings.vocabulary, "normal"),
    ),
    loss=nn.SoftmaxCrossEntropy(),
    optimizer=nn.AdamW(3e-4),
    train=data.arrays(tokens[:, :-1], tokens[:, 1:]),
    plan=Plan(shards=settings.workers, batch_size=settings.batch, local_steps=settings.local_steps, epochs=1),
)
