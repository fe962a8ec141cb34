"""A small transformer that writes like Shakespeare, character by character.

    ps-local examples/shakespeare_transformer.py -n 2 --out runs/transformer.safetensors

Blocks of causal self-attention and of a wider layer, each with a layer norm before it and its input added to
its output, as in GPT-2 (Radford et al. 2019), trained with AdamW on 40 of the 42 works (`shakespeare.py`),
which it reads twice.

Expect 2.15 bits per character of the last two works, after some three minutes with two workers on two cores.
Counting comes to 4.75 without a context, to 2.84 with two characters of it and to 2.22 with four.
"""

from collections.abc import Sequence
from pathlib import Path

from claims import Claim
from shakespeare import Works

from paramserver import Job, Model, Plan, nn, options

LENGTH, WIDTH, HEADS, BLOCKS = 64, 96, 4, 2
claim = Claim(
    data="Shakespeare, 5,057,198 characters",
    figure="bits per character of the last two works",
    quick=("characters=100000", "epochs=1"),
    beats=("unigram", "5-gram"),
)
settings = options(characters=0, batch_size=8, epochs=2)  # of the text the first so many characters; 0: all
works = Works(LENGTH, settings.characters)
plan = Plan(shards=2, batch_size=settings.batch_size, local_steps=8, epochs=settings.epochs)
ROUNDS = -(-works.train.samples // (2 * plan.batch_size * plan.local_steps))  # an epoch
STEPS = plan.epochs * ROUNDS * plan.local_steps


def block() -> tuple[nn.Layer, nn.Layer]:
    """Two layers: what each place takes from those before it, and what it makes of that."""
    return (
        nn.Residual(nn.LayerNorm(WIDTH), nn.CausalSelfAttention(WIDTH, HEADS)),
        nn.Residual(nn.LayerNorm(WIDTH), nn.Dense(WIDTH, 4 * WIDTH), nn.GELU(), nn.Dense(4 * WIDTH, WIDTH)),
    )


job = Job(
    model=nn.Sequential(
        nn.Embedding(works.kinds, WIDTH),
        nn.PositionalEmbedding(LENGTH, WIDTH),
        *(layer for _ in range(BLOCKS) for layer in block()),
        nn.LayerNorm(WIDTH),
        nn.Dense(WIDTH, works.kinds),
    ),
    loss=nn.SoftmaxCrossEntropy(),
    optimizer=nn.AdamW(nn.Cosine(0.003, steps=STEPS, warmup=STEPS // 20, final=0.0002), decay=0.01),
    metrics=[nn.BitsPerCharacter()],
    train=works.train,
    test=works.test,
    plan=plan,
    seed=1,
)


def baselines() -> dict[str, float]:
    return works.baselines()


def measure(models: Sequence[Model]) -> float:
    return works.bits_per_character(models[0])


def show(models: Sequence[Model], path: Path) -> None:
    works.show(models[0], path)
