"""Learning rates: against PyTorch's schedulers, and resolved by optimizers."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from ps_common.errors import UsageError
from ps_common.vocabulary import from_plain, to_plain
from ps_worker import nn

STEPS = 30


def rates_there(schedule: Callable[[torch.optim.Optimizer], Any]) -> list[float]:
    """The first rates of a scheduler of PyTorch's, around an optimizer with the rate 0.5."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.5)
    scheduler = schedule(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


def warmed(first: int, after: Callable[[torch.optim.Optimizer], Any]) -> Callable[..., Any]:
    def schedule(optimizer: torch.optim.Optimizer) -> Any:
        rising = lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / (first + 1))
        return lr_scheduler.SequentialLR(optimizer, [rising, after(optimizer)], [first])

    return schedule


def straight(optimizer: torch.optim.Optimizer) -> Any:
    return lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=20)


PAIRS = [
    (nn.Warmup(0.5, 4), lambda o: lr_scheduler.LambdaLR(o, lambda step: min(1, (step + 1) / 5))),
    (nn.Cosine(0.5, steps=29), lambda o: lr_scheduler.CosineAnnealingLR(o, 29)),
    (nn.Cosine(0.5, steps=40, final=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, 40, 0.1)),
    (nn.Cosine(0.5, steps=29, warmup=4), warmed(4, lambda o: lr_scheduler.CosineAnnealingLR(o, 25))),
    (nn.LinearDecay(0.5, steps=20, final=0.05), straight),
    (nn.LinearDecay(0.5, steps=23, warmup=3, final=0.05), warmed(3, straight)),
    (nn.Step(0.5, every=7), lambda o: lr_scheduler.StepLR(o, 7, 0.1)),
    (nn.Step(0.5, every=7, factor=0.5, warmup=5), warmed(5, lambda o: lr_scheduler.StepLR(o, 7, 0.5))),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_rates_are_those_of_pytorch(ours: nn.LearningRate, theirs: Callable[..., Any]) -> None:
    np.testing.assert_allclose([ours.at(step) for step in range(STEPS)], rates_there(theirs), rtol=1e-9)


@pytest.mark.parametrize("way", [nn.Cosine, nn.LinearDecay])
def test_at_the_end_of_the_way_the_rate_stays(way: Any) -> None:
    assert [way(0.5, steps=10, final=0.1).at(step) for step in (10, 11, 10**9)] == [pytest.approx(0.1)] * 3
    assert way(0.5, steps=10).at(10) == pytest.approx(0, abs=1e-17)


@pytest.mark.parametrize("schedule", [pair[0] for pair in PAIRS])
def test_schedules_travel(schedule: nn.LearningRate) -> None:
    optimizer = nn.ClipByNorm(nn.AdamW(schedule), 1.0)
    assert from_plain(to_plain(optimizer)) == optimizer


OPTIMIZERS = [nn.SGD, nn.Momentum, nn.Nesterov, nn.Adam, nn.AdamW, nn.Adagrad, nn.RMSprop]
FALLING = nn.LinearDecay(0.5, steps=4)  # 0.5, 0.375, 0.25, 0.125 and 0


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: nn.ClipByNorm(one, 0.1)])
def test_each_step_has_its_own_rate(kind: Any, wrap: Any) -> None:
    rng = np.random.default_rng(1)
    found, expected = rng.normal(size=5), np.empty(5)
    expected[...] = found
    slots, slots_there = (
        {name: np.zeros(shape) for name, shape in kind(0.1).slots(5).items()} for _ in range(2)
    )
    for step in range(5):
        gradient = rng.normal(size=5)
        scheduled = wrap(kind(FALLING)).decaying(3)
        scheduled.at(step).step(found, gradient.copy(), slots, np.empty(5))
        if step < 4:
            fixed = wrap(kind(FALLING.at(step))).decaying(3)
            fixed.step(expected, gradient.copy(), slots_there, np.empty(5))
        np.testing.assert_array_equal(found, expected)  # of the last, the rate is zero


def test_a_number_needs_no_step() -> None:
    for optimizer in (nn.SGD(0.1), nn.AdamW(0.1), nn.ClipByNorm(nn.SGD(0.1), 1.0)):
        assert optimizer.at(7) is optimizer


def test_a_schedule_that_is_not_resolved_is_refused() -> None:
    with pytest.raises(UsageError, match=r"optimizer\.at\(step\)"):
        nn.SGD(FALLING).step(np.ones(2), np.ones(2), {}, np.empty(2))


@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    [
        (nn.Warmup, {"rate": 0, "steps": 5}, "Warmup: rate must be a number > 0"),
        (nn.Warmup, {"rate": 1, "steps": 0}, "Warmup: steps must be a whole number >= 1"),
        (nn.Cosine, {"rate": math.inf, "steps": 5}, "Cosine: rate must be a number > 0"),
        (nn.Cosine, {"rate": 1, "steps": 2.5}, "Cosine: steps must be a whole number >= 1"),
        (nn.Cosine, {"rate": 1, "steps": 5, "warmup": -1}, "Cosine: warmup must be a whole number >= 0"),
        (nn.Cosine, {"rate": 1, "steps": 5, "warmup": 5}, "got warmup 5 of 5 steps"),
        (nn.LinearDecay, {"rate": 1, "steps": 5, "final": -1}, "LinearDecay: final must be a number >= 0"),
        (nn.Step, {"rate": 1, "every": 0}, "Step: every must be a whole number >= 1"),
        (nn.Step, {"rate": 1, "every": 2, "factor": 0}, "Step: factor must be a number > 0"),
        (nn.SGD, {"learning_rate": nn.SGD(0.1)}, "SGD: learning_rate must be a number > 0"),
    ],
)
def test_a_setting_out_of_bounds_is_refused(kind: Any, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        kind(**settings)
    assert told in str(caught.value)
