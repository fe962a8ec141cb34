"""The data sets that are samples: parsed, split into train and test, and opened again by name elsewhere.

A split follows from the seed alone, so a worker that is told name, seed and split holds the very samples
that the job means. Labels are int64: they index rows of scores, which is NumPy's own type for it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ps_common.arrays import HostArray
from ps_common.data.idx import read_idx
from ps_common.data.source import Columns, Rows, Source, check_seed
from ps_common.datasets.cache import StrPath, fetch
from ps_common.datasets.catalogue import entry
from ps_common.errors import UsageError
from ps_common.fields import Field
from ps_common.seeds import Purpose, generator
from ps_common.vocabulary import Plain

_DIGITS = tuple("0123456789")
_Paths = Mapping[str, Path]
_Indexes = npt.NDArray[np.int64]
_Pair = tuple[HostArray, HostArray]  # x and y of one split


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A named data set: two sources and the names of the classes that its labels count (none: regression)."""

    name: str
    train: Source
    test: Source
    classes: tuple[str, ...] = ()


def load(
    name: str, seed: int = 0, *, standardise: bool | None = None, cache: StrPath | None = None
) -> Dataset:
    """A data set, fetched into the cache if it is not there yet.

    =============== ======================== =========================== =================================
    name            x                        y                           train / test
    =============== ======================== =========================== =================================
    mnist-5k        float32 (784,), 0 to 1   int64, the digit            4,000 / 1,000, equal in each class
    mnist           float32 (784,), 0 to 1   int64, the digit            60,000 / 10,000, as published
    digits          float32 (64,), 0 to 1    int64, the digit            1,437 / 360
    breast-cancer   float32 (30,)            int64, 0 malignant 1 benign 455 / 114
    diabetes        float32 (10,)            float32, 25 to 346          353 / 89
    movielens-100k  int64 (2,), user, item   float32, 1 to 5             80,000 / 20,000
    =============== ======================== =========================== =================================

    All but mnist are shuffled and split by `seed`. Users and items are counted from 0. `standardise`
    (breast-cancer and diabetes, there the default) makes each feature's mean 0 and deviation 1 over the train
    samples, and applies the same shift and scale to the test samples.

    Raises `UsageError` for an unknown name or an option the data set does not have, `DataError` and
    `RegistryUnreachable` as `fetch` does.
    """
    seed = check_seed(seed)
    wanted = entry(name)
    if wanted.form != "load":
        raise UsageError(f"{name} is no set of samples; read it with datasets.{wanted.form}({name!r})")
    description: dict[str, Plain] = {"kind": "dataset", "name": name, "seed": seed}
    if name in _STANDARDISED:
        description["standardise"] = standardise = True if standardise is None else standardise
    elif standardise is not None:
        raise UsageError(f"{name} has no option standardise; {' and '.join(_STANDARDISED)} have it")
    parse, classes, largest = _PARSERS[name]
    train, test = parse(fetch(name, cache), seed)
    if standardise:
        train, test = _standardised(train, test)

    def source(split: str, pair: _Pair) -> Source:
        told = {**description, "split": split}
        return Columns(*pair, told, name) if largest is None else Pixels(*pair, largest, told, name)

    return Dataset(name, source("train", train), source("test", test), classes)


def open_split(
    name: str,
    split: Literal["train", "test"],
    seed: int,
    standardise: bool | None = None,
    cache: StrPath | None = None,
) -> Source:
    """One side of `load(name, seed)`: what a plain form of kind "dataset" opens. Raises as `load` does."""
    if split not in ("train", "test"):
        raise UsageError(f"a data set is split into train and test; there is no {split!r}")
    dataset = load(name, seed, standardise=standardise, cache=cache)
    return dataset.train if split == "train" else dataset.test


class Pixels(Columns):
    """Images kept as bytes, in memory or in a mapped file, and read as float32 from 0 to 1.

    `images` has shape (samples, pixels) and dtype uint8, `labels` shape (samples,); `largest` is the
    pixel value that becomes 1. The full mnist so takes 55 MB of page cache, shared by all processes of a
    machine, where float32 would take 220 MB in each.
    """

    def __init__(
        self, images: HostArray, labels: HostArray, largest: int, description: dict[str, Plain], origin: str
    ) -> None:
        super().__init__(images, labels, description, origin)
        self.fields = (Field("x", "float32", images.shape[1:]), Field("y", "int64", ()))
        self._largest = np.float32(largest)

    def read(self, rows: Rows) -> tuple[HostArray, ...]:
        images, labels = super().read(rows)
        return images / self._largest, labels.astype(np.int64)


def _shuffled(samples: int, seed: int) -> tuple[_Indexes, _Indexes]:
    """Rows to train on, the first 80 % (rounded down) of a shuffle, and rows to test on."""
    order = generator(seed, Purpose.SPLIT).permutation(samples)
    cut = samples * 8 // 10
    return order[:cut], order[cut:]


def _stratified(labels: HostArray, test_per_class: int, seed: int) -> tuple[_Indexes, _Indexes]:
    """Rows to train on and rows to test on, `test_per_class` of each class, both well mixed.

    Each side is shuffled once more: the rows left over by the choice begin with the classes that were
    full first, and a shard cut from there would not be like the others.
    """
    random = generator(seed, Purpose.SPLIT)
    order = random.permutation(len(labels))
    is_test = np.zeros(len(order), bool)
    for label in np.unique(labels):
        is_test[np.flatnonzero(labels[order] == label)[:test_per_class]] = True
    return random.permutation(order[~is_test]), random.permutation(order[is_test])


def _sides(x: HostArray, y: HostArray, rows: tuple[_Indexes, _Indexes]) -> tuple[_Pair, _Pair]:
    return (x[rows[0]], y[rows[0]]), (x[rows[1]], y[rows[1]])


def _standardised(train: _Pair, test: _Pair) -> tuple[_Pair, _Pair]:
    """x - mean over deviation, feature by feature, with the train side's float64 statistics."""
    x = train[0].astype(np.float64)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation[deviation == 0] = 1
    scaled = [((side[0] - mean) / deviation).astype(np.float32) for side in (train, test)]
    return (scaled[0], train[1]), (scaled[1], test[1])


def _mnist_5k(paths: _Paths, seed: int) -> tuple[_Pair, _Pair]:
    table = np.loadtxt(paths["mnist_5k.csv.gz"], delimiter=",", dtype=np.uint8)  # 784 pixels, then the label
    return _sides(table[:, :-1], table[:, -1], _stratified(table[:, -1], 100, seed))


def _mnist(paths: _Paths, seed: int) -> tuple[_Pair, _Pair]:
    def side(name: str) -> _Pair:
        images = read_idx(paths[f"{name}-images-idx3-ubyte"])
        return images.reshape(len(images), -1), read_idx(paths[f"{name}-labels-idx1-ubyte"])

    return side("train"), side("t10k")


def _digits(paths: _Paths, seed: int) -> tuple[_Pair, _Pair]:
    table = np.loadtxt(paths["digits.csv.gz"], delimiter=",", dtype=np.uint8)  # 64 pixels, then the label
    return _sides(table[:, :-1], table[:, -1], _shuffled(len(table), seed))


def _breast_cancer(paths: _Paths, seed: int) -> tuple[_Pair, _Pair]:
    table = np.loadtxt(paths["breast_cancer.csv"], delimiter=",", skiprows=1)  # the label last
    x, y = table[:, :-1].astype(np.float32), table[:, -1].astype(np.int64)
    return _sides(x, y, _shuffled(len(table), seed))


def _diabetes(paths: _Paths, seed: int) -> tuple[_Pair, _Pair]:
    features = np.loadtxt(paths["diabetes_data_raw.csv"])  # both writings are the same in float32
    targets = np.loadtxt(paths["diabetes_target.csv.gz"])
    x, y = features.astype(np.float32), targets.astype(np.float32)
    return _sides(x, y, _shuffled(len(x), seed))


def _movielens(paths: _Paths, seed: int) -> tuple[_Pair, _Pair]:
    table = np.loadtxt(paths["ml-100k.inter"], skiprows=1, dtype=np.int64)  # user, item, rating, time
    x, y = table[:, :2] - 1, table[:, 2].astype(np.float32)
    return _sides(x, y, _shuffled(len(table), seed))


# How a data set's files become (train, test), its classes, and for images the value of a full pixel.
_Parser = Callable[[_Paths, int], tuple[_Pair, _Pair]]
_PARSERS: dict[str, tuple[_Parser, tuple[str, ...], Any]] = {
    "mnist-5k": (_mnist_5k, _DIGITS, 255),
    "mnist": (_mnist, _DIGITS, 255),
    "digits": (_digits, _DIGITS, 16),
    "breast-cancer": (_breast_cancer, ("malignant", "benign"), None),
    "diabetes": (_diabetes, (), None),
    "movielens-100k": (_movielens, (), None),
}
_STANDARDISED = ("breast-cancer", "diabetes")
