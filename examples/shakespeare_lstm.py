"""A recurrent network that writes like Shakespeare, character by character.

    ps-local examples/shakespeare_lstm.py -n 2 --out runs/lstm.safetensors

One layer of long short-term memory between an embedding and a linear layer, trained with Adam on 40 of the
42 works (`shakespeare.py`), which it reads once.

Expect 2.18 bits per character of the last two works, after some two minutes with two workers on two cores.
Counting comes to 4.75 without a context, to 2.84 with two characters of it and to 2.22 with four.
"""

from collections.abc import Sequence
from pathlib import Path

from claims import Claim
from shakespeare import Works

from paramserver import Job, Model, Plan, nn, options

LENGTH, WIDTH, HIDDEN = 64, 64, 256
claim = Claim(
    data="Shakespeare, 5,057,198 characters",
    figure="bits per character of the last two works",
    quick=("characters=100000", "epochs=1"),
    beats=("unigram", "5-gram"),
)
settings = options(characters=0, batch_size=16, epochs=1)  # of the text the first so many characters; 0: all
works = Works(LENGTH, settings.characters)
plan = Plan(shards=2, batch_size=settings.batch_size, local_steps=8, epochs=settings.epochs)
ROUNDS = -(-works.train.samples // (2 * plan.batch_size * plan.local_steps))  # an epoch
STEPS = plan.epochs * ROUNDS * plan.local_steps

job = Job(
    model=nn.Sequential(
        nn.Embedding(works.kinds, WIDTH, deviation=0.3), nn.LSTM(WIDTH, HIDDEN), nn.Dense(HIDDEN, works.kinds)
    ),
    loss=nn.SoftmaxCrossEntropy(),
    optimizer=nn.Adam(nn.Cosine(0.004, steps=STEPS, warmup=STEPS // 50, final=0.0002)),
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
