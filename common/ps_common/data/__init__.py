"""The data a job trains on: `Source`, and one function for each place a source can come from.

A source is a fixed number of samples, read by row number. It knows nothing of shards, epochs or
batches (the plan does) and nothing of the network: a worker opens a source again from its plain form.
"""

from ps_common.data.csv_file import csv
from ps_common.data.npy_blocks import npy_folder
from ps_common.data.npy_file import npy
from ps_common.data.npz_file import npz
from ps_common.data.object_items import items
from ps_common.data.opening import open_source
from ps_common.data.parquet_file import parquet
from ps_common.data.source import Rows, Source, arrays
from ps_common.data.table import Table
from ps_common.data.text_file import Text, characters, text

__all__ = [
    "Source",
    "Rows",
    "Text",
    "Table",
    "arrays",
    "items",
    "npy",
    "npy_folder",
    "npz",
    "csv",
    "parquet",
    "text",
    "characters",
    "open_source",
]
