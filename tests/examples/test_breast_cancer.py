"""examples/breast_cancer.py: a medical data set is told apart."""

from pathlib import Path

import breast_cancer
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from paramserver import ClusterError
from support_examples import train


def test_it_is_right_on_95_percent_of_unseen_samples(tmp_path: Path) -> None:
    trained = train("breast_cancer", tmp_path)
    assert trained.record["samples"] == 455 * 20
    assert trained.metrics["accuracy"] >= 0.95
    assert trained.metrics["loss"] < 0.2
    scores = trained.model.predict(breast_cancer.x_test)[:, 0]
    assert breast_cancer.area_under_roc(scores, breast_cancer.y_test) >= 0.99


def test_folds_test_every_sample_once_and_train_on_the_others() -> None:
    x, y = breast_cancer.all_samples(0)
    folds = [breast_cancer.fold_of(x, y, fold) for fold in range(5)]
    assert [len(labels) for _, _, _, labels in folds] == [114, 114, 114, 114, 113]
    np.testing.assert_array_equal(np.sort(np.concatenate([f[3] for f in folds])), np.sort(y))
    for x_train, y_train, x_test, y_test in folds:
        assert len(y_train) + len(y_test) == 569
        np.testing.assert_allclose(x_train.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(x_train.std(axis=0), 1, atol=1e-4)
        assert np.abs(x_test.mean(axis=0)).max() > 1e-3  # scaled by others than itself


def test_the_area_under_the_curve() -> None:
    score, label = np.array([0.9, 0.8, 0.8, 0.1]), np.array([1, 0, 1, 0])
    assert breast_cancer.area_under_roc(score, label) == (1 + 1 + 0.5 + 1) / 4
    rng = np.random.default_rng(0)
    score, label = rng.integers(0, 20, 300), rng.integers(0, 2, 300)
    assert breast_cancer.area_under_roc(score, label) == pytest.approx(roc_auc_score(label, score))


def test_another_fold_than_five_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="--set fold=5: fold must be one of 0, 1, 2, 3, 4") as raised:
        train("breast_cancer", tmp_path, "fold=5")
    assert raised.value.exit_code == 2
