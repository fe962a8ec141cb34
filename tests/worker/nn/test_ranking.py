"""Top-k and the area under the ROC curve, against scikit-learn and one sample at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ps_common.errors import ShapeMismatch, UsageError
from ps_common.fields import Field
from ps_common.figures import AREA_BINS, figure
from ps_worker import nn
from ps_worker.nn.ranking import bins

RNG = np.random.default_rng(3)


def auc(*parts: tuple[np.ndarray, np.ndarray]) -> float | None:
    """The figure of batches that are added up."""
    counts = sum(nn.AUC().sums(output, target)[0] for output, target in parts)
    return figure("area", np.asarray(counts).tolist())


def bound(scores: np.ndarray, target: np.ndarray) -> float:
    """Half the share of pairs that share a bin, counted pair by pair."""
    places = bins(scores)
    shared = places[target > 0][:, None] == places[target == 0]
    return float(shared.mean()) / 2


SCORES = {
    "logits": RNG.normal(size=400) * 2,
    "sure": RNG.normal(size=400) * 40,
    "probabilities": RNG.uniform(size=400),
    "rare": RNG.normal(size=400) - 9,
    "few values": RNG.integers(-3, 4, 400).astype(float),
    "beyond": RNG.normal(size=400) * 1e4,
    "float32": RNG.normal(size=400).astype(np.float32),
}


@pytest.mark.parametrize("name", SCORES)
def test_the_area_is_scikit_learns_to_the_stated_bound(name: str) -> None:
    scores = SCORES[name]
    ranks = scores.argsort().argsort() / len(scores)
    target = (RNG.uniform(size=len(scores)) < 0.2 + 0.6 * ranks).astype(np.uint8)
    found = auc((scores[:, None], target))
    expected = roc_auc_score(target, scores)
    assert 0.6 < expected < 0.95
    assert found == pytest.approx(expected, abs=bound(scores, target) + 1e-12)
    if name not in ("sure", "beyond"):  # of which many are beyond ±64
        assert found == pytest.approx(expected, abs=1e-3)


def test_scores_that_are_told_from_each_other_give_the_exact_area() -> None:
    scores = np.array([-5.0, -1.0, -0.1, 0.0, 0.02, 0.5, 3.0, 60.0, 63.0])
    target = np.array([0, 1, 0, 0, 1, 1, 0, 1, 1])
    assert bound(scores, target) == 0
    assert auc((scores[:, None], target)) == pytest.approx(roc_auc_score(target, scores), abs=1e-15)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(-100, 100), st.booleans()), max_size=30), st.integers(0, 30))
def test_the_area_of_batches_is_that_of_all(samples: list[tuple[float, bool]], cut: int) -> None:
    output = np.array([[score] for score, _ in samples]).reshape(-1, 1)
    target = np.array([positive for _, positive in samples], np.uint8)
    cut = min(cut, len(samples))
    found = auc((output[:cut], target[:cut]), (output[cut:], target[cut:]))
    if len(set(target.tolist())) < 2:
        assert found is None
        return
    assert found == auc((output, target))
    expected = roc_auc_score(target, output[:, 0])
    assert found == pytest.approx(expected, abs=bound(output[:, 0], target) + 1e-12)


def test_two_logits_are_one_score() -> None:
    output, target = RNG.normal(size=(50, 2)), RNG.integers(0, 2, 50)
    assert auc((output, target)) == auc((output[:, 1:] - output[:, :1], target))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-70, 70), min_size=2, max_size=20))
def test_bins_keep_the_order_and_are_as_narrow_as_stated(numbers: list[float]) -> None:
    scores = np.sort(np.array(numbers))
    places = bins(scores)
    assert ((places >= 0) & (places < AREA_BINS)).all()
    assert (np.diff(places) >= 0).all()
    inner = np.abs(scores[:-1]) < 63
    apart = np.diff(scores) > 0.003 * (0.25 + np.abs(scores).max())
    assert (np.diff(places)[inner & apart] > 0).all()


def test_what_is_no_number_is_left_to_the_loss_to_say() -> None:
    (counts,) = nn.AUC().sums(np.array([[np.nan], [np.inf], [-np.inf]]), np.array([1, 1, 0]))
    assert counts.sum() == 3


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("shape", [(30,), (6, 5)])
def test_top_k_is_pytorchs(k: int, shape: tuple[int, ...]) -> None:
    output, labels = RNG.normal(size=(*shape, 7)), RNG.integers(0, 7, shape)
    first = torch.tensor(output).topk(k).indices.numpy()
    expected = (first == labels[..., None]).any(axis=-1)
    right, answers = nn.TopK(k).sums(output, labels)
    assert (float(right), float(answers)) == (expected.sum(), labels.size)
    right, answers = nn.TopK(k, ignore=3).sums(output, labels)
    assert (float(right), float(answers)) == (expected[labels != 3].sum(), (labels != 3).sum())


def test_an_ignored_label_may_be_none_of_the_classes() -> None:
    output, labels = RNG.normal(size=(9, 4)), np.array([0, -100, 3, -100, 1, 2, -100, 0, 3])
    kept = labels >= 0
    expected = nn.TopK(2).sums(output[kept], labels[kept])
    assert [float(s) for s in nn.TopK(2, ignore=-100).sums(output, labels)] == [float(s) for s in expected]


def test_of_equal_outputs_the_first_is_the_largest_as_for_accuracy() -> None:
    output, labels = np.zeros((6, 3)), np.array([0, 1, 2, 0, 1, 2])
    assert float(nn.TopK(1).sums(output, labels)[0]) == float(nn.Accuracy().sums(output, labels)[0]) == 2
    assert float(nn.TopK(2).sums(output, labels)[0]) == 4


def test_names() -> None:
    assert (nn.TopK(3).name, nn.AUC().name) == ("top_3_accuracy", "auc")


@pytest.mark.parametrize(
    ("metric", "output", "target"),
    [
        (nn.TopK(3), (4,), (2,)),
        (nn.TopK(3), (), ()),
        (nn.TopK(5), (4,), ()),
        (nn.AUC(), (3,), ()),
        (nn.AUC(), (2,), (2,)),
        (nn.AUC(), (), ()),
    ],
)
def test_what_does_not_fit_is_named_with_both_shapes(
    metric: nn.Metric, output: nn.Shape, target: nn.Shape
) -> None:
    with pytest.raises(ShapeMismatch) as caught:
        metric.check(output, Field("y", "int64", target))
    for part in (type(metric).__name__, str(output), f"y: {target} int64"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "output", "target"),
    [
        (nn.TopK(4), (4,), ()),
        (nn.TopK(2), (5, 4), (5,)),
        (nn.AUC(), (1,), ()),
        (nn.AUC(), (1,), (1,)),
        (nn.AUC(), (2,), ()),
    ],
)
def test_what_fits_passes(metric: nn.Metric, output: nn.Shape, target: nn.Shape) -> None:
    metric.check(output, Field("y", "int64", target))


@pytest.mark.parametrize("settings", [{"k": 0}, {"k": 1.5}, {"ignore": "x"}])
def test_a_setting_out_of_bounds_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="TopK: "):
        nn.TopK(**settings)  # type: ignore[arg-type]
