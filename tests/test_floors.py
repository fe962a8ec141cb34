"""Imports only go down, the two sides do not know each other, and nothing runs what it reads."""

from pathlib import Path

import pytest

from support_floors import complaints, sources_of

ROOT = Path(__file__).parent.parent
TABLE = {
    0: "ps_common ps_common.errors ps_common.messages ps_worker",
    1: """
        ps_common.arrays ps_common.fields ps_common.gather ps_common.job ps_common.layout ps_common.memory
        ps_common.plan
        ps_common.schedule ps_common.seeds ps_common.shards ps_common.spelling ps_common.vocabulary
        ps_common.wire
        """,
    2: """
        paramserver.averaging paramserver.canonical paramserver.chunks paramserver.effects
        paramserver.exchange paramserver.gate paramserver.leases paramserver.leasing
        paramserver.lending paramserver.members paramserver.pacing paramserver.progress
        paramserver.rounds paramserver.served paramserver.servers paramserver.settings
        ps_worker.effects ps_worker.replica ps_worker.rows ps_worker.stock
        ps_worker.nn ps_worker.nn.activations ps_worker.nn.blocks ps_worker.nn.bounds ps_worker.nn.dense
        ps_worker.nn.dropout ps_worker.nn.flatten ps_worker.nn.initializers ps_worker.nn.layer
        ps_worker.nn.losses ps_worker.nn.metrics ps_worker.nn.network ps_worker.nn.optimizers
        ps_worker.nn.regularizers ps_worker.nn.sequential ps_worker.nn.targets ps_worker.nn.totals
        ps_worker.nn.tree
        """,
    3: "paramserver.averager paramserver.fleet paramserver.machine paramserver.work ps_worker.machine",
    4: """
        ps_common.data ps_common.data.csv_file ps_common.data.idx ps_common.data.npy_file
        ps_common.data.npz_file ps_common.data.opening ps_common.data.source
        ps_common.datasets ps_common.datasets.cache ps_common.datasets.catalogue ps_common.datasets.registry
        ps_common.datasets.samples ps_common.datasets.tables
        ps_common.address ps_common.files ps_common.saying ps_common.loader ps_common.segments
        ps_common.shared_memory ps_common.signals ps_common.sockets ps_common.weights_file
        paramserver.averager_loop paramserver.averagers paramserver.checkpoint paramserver.cluster
        paramserver.log paramserver.loop paramserver.record paramserver.serve paramserver.serving
        ps_worker.computing ps_worker.loop ps_worker.model
        """,
    5: """
        ps_common.cli ps_common.command ps_worker.cli
        paramserver paramserver.cli paramserver.cli.average paramserver.cli.local
        paramserver.cli.options paramserver.cli.server
        """,
}
FLOORS = {name: floor for floor, names in TABLE.items() for name in names.split()}
CUPY = frozenset({"ps_common.arrays"})
COMMAND_LINES = frozenset(name for name in FLOORS if "cli" in name.split(".")) | {"ps_common.command"}
LOADERS = frozenset({"ps_common.loader"})


def test_every_module_keeps_to_its_floor_and_its_side():
    sources = sources_of(ROOT / "common", ROOT / "paramserver", ROOT / "worker")
    assert complaints(sources, FLOORS, CUPY, COMMAND_LINES, LOADERS) == []


def test_a_module_stands_on_one_floor():
    assert len(FLOORS) == sum(len(names.split()) for names in TABLE.values())


GOOD = {
    "ps_common": "",
    "ps_common.errors": "import os\nos.getpid()",
    "ps_common.loader": "import importlib\nimportlib.import_module('x')\nfrom ps_common.errors import E",
    "ps_common.arrays": "def f():\n    import cupy as module",
    "paramserver": "from ps_worker import nn\nfrom paramserver.machine import M",
    "paramserver.machine": "from ps_common import errors\nimport ps_common.arrays",
    "paramserver.cli": "import click, os\nos.environ['PS_X']\nfrom paramserver import machine",
    "ps_worker": "",
    "ps_worker.nn": "import numpy as np\nnp.load(f, allow_pickle=False)\nimport re\nre.compile('x')",
}
SMALL = {
    "ps_common": 0, "ps_common.errors": 0, "ps_common.arrays": 1, "ps_common.loader": 4, "paramserver": 5,
    "paramserver.machine": 3, "paramserver.cli": 5, "ps_worker": 0, "ps_worker.nn": 2,
}  # fmt: skip


def complaints_of(sources):
    return complaints(sources, SMALL, CUPY, frozenset({"paramserver.cli"}), LOADERS)


def test_the_checker_has_nothing_to_say_about_good_sources():
    assert complaints_of(GOOD) == []


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("ps_common.errors", "from ps_common.arrays import x", "floor 1 from floor 0"),
        ("ps_common.errors", "from ps_common import arrays", "floor 1 from floor 0"),
        ("ps_common.errors", "def f():\n    import ps_common.loader", "errors:2 imports ps_common.loader"),
        ("ps_common.errors", "if x:\n    from ps_common import errors, loader", "floor 4 from floor 0"),
        ("ps_common.errors", "import ps_worker.nn", "knows neither"),
        ("ps_common.loader", "from paramserver import machine", "knows neither"),
        ("ps_worker.nn", "import paramserver", "never import each other"),
        ("ps_worker.nn", "from paramserver.machine import M", "never import each other"),
        ("paramserver.machine", "from ps_worker import nn", "never import each other"),
        ("paramserver.machine", "from paramserver import Job", "the face is for users"),
        ("ps_worker.nn", "from . import x", "imports are absolute"),
        ("ps_worker.nn", "from ps_common.gone import x", "there is no such module"),
        ("ps_worker.nn", "def f():\n    import cupy", "only ps_common.arrays may"),
        ("ps_worker.nn", "from cupy.cuda import runtime", "only ps_common.arrays may"),
        ("ps_common.errors", "import click", "only a command line may"),
        ("ps_common.errors", "import os\nos.environ.get('x')", "errors:2 uses environ"),
        ("ps_common.errors", "from os import getenv", "uses getenv"),
        ("ps_common.errors", "import pickle", "data that holds code"),
        ("ps_common.errors", "from marshal import loads", "data that holds code"),
        ("ps_common.errors", "import dill as harmless", "data that holds code"),
        ("ps_common.errors", "eval('1')", "uses eval"),
        ("ps_common.errors", "f = exec", "uses exec"),
        ("ps_common.errors", "__import__('pickle')", "uses __import__"),
        ("ps_common.errors", "import importlib\nimportlib.import_module('x')", "uses import_module"),
        ("ps_common.errors", "np.load(path)", "uses np.load without"),
        ("ps_common.errors", "numpy.load(path, mmap_mode='r')", "uses np.load without"),
        ("ps_common.errors", "np.load(path, allow_pickle=True)", "allows pickles"),
        ("ps_common.errors", "read_array(f, allow_pickle=trusted)", "allows pickles"),
        ("ps_common.errors", "from numpy import load", "by its bare name"),
        ("ps_common.new", "", "ps_common.new is not in the table"),
    ],
)  # fmt: skip
def test_the_checker_complains_about_a_bad_source(name, text, told):
    (complaint,) = complaints_of({**GOOD, name: text})
    assert told in complaint
    assert complaint.startswith(name)


def test_the_checker_complains_about_a_module_that_is_gone():
    sources = {name: text for name, text in GOOD.items() if name != "ps_worker.nn"}
    assert "ps_worker.nn is in the table of floors and does not exist" in complaints_of(sources)
