"""Perplexity and bits per character, against PyTorch's cross entropy."""

import math

import numpy as np
import pytest
import torch

from ps_common.errors import ShapeMismatch
from ps_common.fields import Field
from ps_common.figures import figure
from ps_worker import nn

RNG = np.random.default_rng(6)


def value(metric: nn.Metric, *batches: tuple[np.ndarray, np.ndarray]) -> float | None:
    parts = [[float(part) for part in metric.sums(output, target)] for output, target in batches]
    return figure(metric.figure, [sum(column) for column in zip(*parts, strict=True)])


@pytest.mark.parametrize("shape", [(12,), (4, 3)])
@pytest.mark.parametrize("ignore", [None, 2, -100])
def test_they_are_made_of_pytorchs_cross_entropy(shape: tuple[int, ...], ignore: int | None) -> None:
    output, labels = RNG.normal(size=(*shape, 5)) * 4, RNG.integers(0, 5, shape)
    if ignore == -100:
        labels[1] = ignore
    flat, there = torch.tensor(output.reshape(-1, 5)), torch.tensor(labels.reshape(-1))
    nats = float(torch.nn.CrossEntropyLoss(ignore_index=-1 if ignore is None else ignore)(flat, there))
    cut = shape[0] // 3
    batches = [(output[:cut], labels[:cut]), (output[cut:], labels[cut:])]
    assert value(nn.Perplexity(ignore), *batches) == pytest.approx(math.exp(nats), rel=1e-12)
    assert value(nn.BitsPerCharacter(ignore), *batches) == pytest.approx(nats / math.log(2), rel=1e-12)


def test_of_equal_outputs_the_perplexity_is_the_number_of_classes() -> None:
    batch = np.zeros((3, 8)), np.array([0, 5, 7])
    assert value(nn.Perplexity(), batch) == pytest.approx(8)
    assert value(nn.BitsPerCharacter(), batch) == pytest.approx(3)


def test_where_all_is_ignored_there_is_no_figure() -> None:
    batch = RNG.normal(size=(3, 8)), np.full(3, 4)
    assert value(nn.Perplexity(ignore=4), batch) is None
    assert value(nn.BitsPerCharacter(ignore=4), batch) is None


def test_names() -> None:
    assert (nn.Perplexity().name, nn.BitsPerCharacter().name) == ("perplexity", "bits_per_character")


@pytest.mark.parametrize("metric", [nn.Perplexity(), nn.BitsPerCharacter()])
@pytest.mark.parametrize(("output", "target"), [((5,), (5,)), ((4, 5), ()), ((), ())])
def test_what_does_not_fit_is_named_with_both_shapes(
    metric: nn.Metric, output: nn.Shape, target: nn.Shape
) -> None:
    metric.check((4, 5), Field("y", "int64", (4,)))
    with pytest.raises(ShapeMismatch) as caught:
        metric.check(output, Field("y", "int64", target))
    for part in (type(metric).__name__, str(output), f"y: {target} int64"):
        assert part in str(caught.value)
