"""The real data sets: documented counts, splits that follow from the seed alone, and their plain forms."""

import numpy as np
import pytest
import sklearn.datasets

from ps_common import data, datasets
from ps_common.errors import UsageError

SETS = {  # name: train, test, x, y
    "mnist-5k": (4_000, 1_000, ("float32", (784,)), "int64"),
    "mnist": (60_000, 10_000, ("float32", (784,)), "int64"),
    "digits": (1_437, 360, ("float32", (64,)), "int64"),
    "breast-cancer": (455, 114, ("float32", (30,)), "int64"),
    "diabetes": (353, 89, ("float32", (10,)), "float32"),
    "movielens-100k": (80_000, 20_000, ("int64", (2,)), "float32"),
}
SHUFFLED = [name for name in SETS if name != "mnist"]


def whole(dataset: datasets.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """All samples of both sides, in an order that does not depend on the split."""
    sides = [side.read(slice(None)) for side in (dataset.train, dataset.test)]
    x, y = (np.concatenate(parts) for parts in zip(*sides, strict=True))
    return in_order(x, y)


def in_order(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort([*x.T[::-1], y])
    return x[order], y[order]


@pytest.mark.parametrize("name", SETS)
def test_has_the_documented_counts_shapes_and_types(name):
    train, test, (x_type, x_shape), y_type = SETS[name]
    dataset = datasets.load(name)
    assert (len(dataset.train), len(dataset.test)) == (train, test)
    assert train + test == datasets.CATALOGUE[name].samples
    for side in (dataset.train, dataset.test):
        fields = [(f.name, f.dtype, f.shape) for f in side.fields]
        assert fields == [("x", x_type, x_shape), ("y", y_type, ())]
        x, y = side.read(np.array([3, 0, 3]))
        assert (x.dtype.name, x.shape, y.dtype.name, y.shape) == (x_type, (3, *x_shape), y_type, (3,))
        if dataset.classes:
            labels = side.read(slice(None))[1]
            assert np.unique(labels).tolist() == list(range(len(dataset.classes)))


@pytest.mark.parametrize("name", SETS)
def test_opens_again_by_name(name):
    for seed in (0, 7):
        dataset = datasets.load(name, seed)
        for split, side in (("train", dataset.train), ("test", dataset.test)):
            plain = side.plain()
            assert {k: plain[k] for k in ("kind", "name", "split", "seed")} == {
                "kind": "dataset",
                "name": name,
                "split": split,
                "seed": seed,
            }
            again = data.open_source(plain)
            assert again.plain() == plain
            assert again.fingerprint() == side.fingerprint()


@pytest.mark.parametrize("name", SHUFFLED)
def test_the_seed_chooses_the_split_and_loses_no_sample(name):
    raw = {"standardise": False} if name in ("breast-cancer", "diabetes") else {}
    one, same, other = (datasets.load(name, seed, **raw) for seed in (1, 1, 2))
    assert one.train.fingerprint() == same.train.fingerprint() != other.train.fingerprint()
    assert one.test.fingerprint() == same.test.fingerprint() != other.test.fingerprint()
    for a, b in zip(whole(one), whole(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_split_of_seed_0_never_changes():
    assert {name: datasets.load(name).train.fingerprint() for name in SETS} == FINGERPRINTS


FINGERPRINTS = {
    "mnist-5k": "fcb596fc389673c047fca55425cc52a6",
    "mnist": "42e1abf182ca62045de056cf2b800a98",
    "digits": "c3e3efd8caf27e4dc064ed916e8fe30e",
    "breast-cancer": "ea859df3fc64ea1c9e2f7af746a820cc",
    "diabetes": "b447ca0c3ed4a88a59c425a63fa0ac8c",
    "movielens-100k": "14a43dc8a7aa4348ac51120c610456d8",
}


@pytest.mark.parametrize("seed", [0, 5])
def test_mnist_5k_has_equal_classes_on_both_sides_in_mixed_order(seed):
    dataset = datasets.load("mnist-5k", seed)
    for side, each in ((dataset.train, 400), (dataset.test, 100)):
        x, y = side.read(slice(None))
        assert np.bincount(y).tolist() == [each] * 10
        assert (x.min(), x.max()) == (0, 1)
        assert len(np.unique(y[:100])) == 10


def test_mnist_is_the_published_one():
    dataset = datasets.load("mnist")
    x, y = dataset.train.read(slice(0, 10))
    assert y.tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    np.testing.assert_array_equal(x * 255, np.rint(x * 255))
    assert np.bincount(dataset.test.read(slice(None))[1]).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    pixels = np.rint(dataset.train.read(slice(None))[0] * 255)
    assert int(pixels.sum(dtype=np.float64)) == 1_567_298_545  # the well-known mean of 33.318 over 47,040,000


@pytest.mark.parametrize(
    ("name", "published", "scale"),
    [
        ("digits", sklearn.datasets.load_digits, 16),
        ("breast-cancer", sklearn.datasets.load_breast_cancer, 1),
        ("diabetes", lambda **kw: sklearn.datasets.load_diabetes(scaled=False, **kw), 1),
    ],
)
def test_holds_what_scikit_learn_hands_out(name, published, scale):
    raw = {} if name == "digits" else {"standardise": False}
    x, y = published(return_X_y=True)
    expected = in_order(np.float32(x) / np.float32(scale), y)
    for a, b in zip(whole(datasets.load(name, **raw)), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["breast-cancer", "diabetes"])
def test_standardises_with_the_train_side_only(name):
    scaled, raw = datasets.load(name, 3), datasets.load(name, 3, standardise=False)
    assert scaled.train.plain()["standardise"] is True
    assert raw.train.plain()["standardise"] is False
    x, test = (side.read(slice(None))[0].astype(np.float64) for side in (raw.train, raw.test))
    np.testing.assert_allclose(
        scaled.train.read(slice(None))[0], (x - x.mean(0)) / x.std(0), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        scaled.test.read(slice(None))[0], (test - x.mean(0)) / x.std(0), rtol=1e-5, atol=1e-6
    )


def test_movielens_counts_users_items_and_ratings_from_zero():
    x, y = whole(datasets.load("movielens-100k"))
    assert len(np.unique(x, axis=0)) == 100_000
    assert (x.min(), x[:, 0].max(), x[:, 1].max()) == (0, 942, 1681)
    assert np.bincount(y.astype(int)).tolist() == [0, 6_110, 11_370, 27_145, 34_174, 21_201]


def test_shakespeare_has_the_documented_counts():
    works = datasets.text("shakespeare")
    assert (len(works), len(set(works))) == (datasets.CATALOGUE["shakespeare"].samples, 84)
    assert "To be, or not to be" in works


def test_stocks_has_the_documented_counts():
    prices = datasets.table("stocks")
    assert {len(column) for column in prices.values()} == {12_154}
    assert np.unique(prices["ticker"]).tolist() == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert (prices["date"].min(), prices["date"].max()) == (
        np.datetime64("2000-03-01"),
        np.datetime64("2013-03-01"),
    )
    assert (prices["low"] <= prices["high"]).all()
    first = {name: column[0].item() for name, column in prices.items() if name not in ("ticker", "date")}
    assert first == {
        "open": 118.56,
        "high": 132.06,
        "low": 118.5,
        "close": 130.31,
        "adjusted_close": 4.186662803811,
        "volume": 9_616_100,
    }


def test_online_retail_has_the_documented_counts():
    lines = datasets.table("online-retail")
    assert {len(column) for column in lines.values()} == {1_067_371}
    days = np.unique(lines["time"].astype("datetime64[D]"))
    assert (len(days), str(days[0]), str(days[-1])) == (604, "2009-12-01", "2011-12-09")
    assert {name: column[0] for name, column in lines.items()} == {
        "invoice": "489434",
        "stock_code": "85048",
        "quantity": 12,
        "time": np.datetime64("2009-12-01T07:45"),
        "price": 6.95,
        "customer": 13085,
        "country": "United Kingdom",
    }
    assert (lines["customer"] == -1).sum() == 243_007


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: datasets.load("mnist5k"), "did you mean 'mnist-5k'"),
        (lambda: datasets.load("stocks"), r"datasets\.table\('stocks'\)"),
        (lambda: datasets.text("digits"), r"datasets\.load\('digits'\)"),
        (lambda: datasets.table("shakespeare"), r"datasets\.text\('shakespeare'\)"),
        (lambda: datasets.load("mnist", standardise=True), "no option standardise"),
        (lambda: datasets.load("digits", -1), "seed must be"),
        (lambda: datasets.load("digits", 1.5), "seed must be"),
        (lambda: datasets.open_split("digits", "valid", 0), "there is no 'valid'"),
    ],
)
def test_wrong_use_is_refused_with_the_right_one(call, told):
    with pytest.raises(UsageError, match=told):
        call()
