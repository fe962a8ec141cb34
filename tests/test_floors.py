"""Imports only go down, the two sides do not know each other, and nothing runs what it reads."""

from pathlib import Path

import pytest

from support_floors import complaints, sources_of

ROOT = Path(__file__).parent.parent
TABLE = {
    0: "ps_common ps_common.errors ps_common.messages ps_worker",
    1: """
        ps_common.arrays ps_common.fields ps_common.figures ps_common.gather ps_common.job
        ps_common.layout ps_common.loop_job ps_common.memory ps_common.own_loop ps_common.own_model
        ps_common.plan ps_common.reaching ps_common.rules
        ps_common.schedule ps_common.seeds ps_common.shards ps_common.spelling ps_common.vocabulary
        ps_common.wire
        """,
    2: """
        paramserver.accounting paramserver.askers paramserver.diagnosis paramserver.effects
        paramserver.exchange paramserver.farewell paramserver.gate paramserver.leases paramserver.leasing
        paramserver.lending paramserver.members paramserver.pacing paramserver.progress paramserver.quarantine
        paramserver.quota paramserver.racing paramserver.said paramserver.settings paramserver.tolerance
        paramserver.admission paramserver.admission.bucket paramserver.admission.connections
        paramserver.admission.floods paramserver.admission.limits paramserver.admission.roles
        paramserver.admission.unread
        paramserver.averaging paramserver.averaging.canonical paramserver.averaging.chunks
        paramserver.averaging.cleared paramserver.averaging.digests paramserver.averaging.gathered
        paramserver.averaging.mean paramserver.averaging.norms paramserver.averaging.robust
        paramserver.averaging.rounds
        paramserver.servers paramserver.servers.served paramserver.servers.state
        ps_worker.arrival ps_worker.batches ps_worker.brought ps_worker.device_copies ps_worker.effects
        ps_worker.own_arrays ps_worker.own_replica ps_worker.pinned ps_worker.replica ps_worker.replicas
        ps_worker.rows ps_worker.stock ps_worker.train_sets ps_worker.units
        ps_worker.nn ps_worker.nn.activations ps_worker.nn.adagrad ps_worker.nn.adam ps_worker.nn.attention
        ps_worker.nn.batch_norm ps_worker.nn.blocks ps_worker.nn.bounds ps_worker.nn.clipping
        ps_worker.nn.conv2d ps_worker.nn.denormals ps_worker.nn.dense ps_worker.nn.dropout
        ps_worker.nn.embedding ps_worker.nn.flatten ps_worker.nn.gelu ps_worker.nn.gru ps_worker.nn.images
        ps_worker.nn.initializers ps_worker.nn.inputs ps_worker.nn.layer ps_worker.nn.layer_norm
        ps_worker.nn.losses ps_worker.nn.lstm ps_worker.nn.matrix_factorisation ps_worker.nn.metrics
        ps_worker.nn.network ps_worker.nn.optimizer ps_worker.nn.perplexity ps_worker.nn.pooling
        ps_worker.nn.positional_embedding ps_worker.nn.precision ps_worker.nn.ranking ps_worker.nn.rates
        ps_worker.nn.recurrence ps_worker.nn.regularizers ps_worker.nn.reshape ps_worker.nn.residual
        ps_worker.nn.scatter ps_worker.nn.sequential ps_worker.nn.sgd ps_worker.nn.shapes ps_worker.nn.softmax
        ps_worker.nn.targets ps_worker.nn.totals ps_worker.nn.transformer ps_worker.nn.tree
        ps_worker.nn.vectors
        """,
    3: """
        paramserver.judging paramserver.machine paramserver.orders paramserver.status paramserver.stragglers
        paramserver.work
        paramserver.servers.averager paramserver.servers.fleet
        ps_worker.machine
        """,
    4: """
        ps_common.address ps_common.caller ps_common.descriptors ps_common.files ps_common.interfaces
        ps_common.key_folder ps_common.keys ps_common.loader ps_common.probing ps_common.saying
        ps_common.segments ps_common.shared_memory ps_common.signals ps_common.sockets ps_common.weights_file
        ps_common.data ps_common.data.arrow_column ps_common.data.cells ps_common.data.csv_file
        ps_common.data.idx ps_common.data.npy_blocks ps_common.data.npy_file ps_common.data.npz_file
        ps_common.data.object_items ps_common.data.opening ps_common.data.parquet_file
        ps_common.data.progress_bar ps_common.data.scratch ps_common.data.source ps_common.data.table
        ps_common.data.text_file
        ps_common.datasets ps_common.datasets.cache ps_common.datasets.catalogue ps_common.datasets.registry
        ps_common.datasets.samples ps_common.datasets.tables
        paramserver.address_file paramserver.asking paramserver.checkpoint paramserver.children
        paramserver.cluster paramserver.examining paramserver.folder_lock paramserver.ledger
        paramserver.listening paramserver.log paramserver.loop paramserver.record paramserver.replay
        paramserver.reserved_port paramserver.saving paramserver.serve paramserver.serving paramserver.shield
        paramserver.verify paramserver.watched
        paramserver.admission.authorised paramserver.admission.door paramserver.admission.identities
        paramserver.admission.monitor paramserver.admission.peer_process paramserver.admission.zap
        paramserver.kubernetes paramserver.kubernetes.key_files paramserver.kubernetes.objects
        paramserver.kubernetes.pods paramserver.kubernetes.spec paramserver.kubernetes.yaml_text
        paramserver.ray.board paramserver.ray.part paramserver.ray.roles paramserver.ray.driver
        paramserver.servers.averager_loop paramserver.servers.averagers paramserver.servers.called_servers
        paramserver.simulation paramserver.simulation.bottleneck paramserver.simulation.case
        paramserver.simulation.clock paramserver.simulation.cluster paramserver.simulation.computing
        paramserver.simulation.cores paramserver.simulation.disk paramserver.simulation.frames
        paramserver.simulation.hardware paramserver.simulation.host paramserver.simulation.idle
        paramserver.simulation.links paramserver.simulation.master_node paramserver.simulation.modelled
        paramserver.simulation.network paramserver.simulation.node paramserver.simulation.prediction
        paramserver.simulation.report paramserver.simulation.server_node paramserver.simulation.slots
        paramserver.simulation.small paramserver.simulation.worker_node paramserver.simulation.world
        ps_worker.bridge ps_worker.client ps_worker.computing ps_worker.freed_memory ps_worker.jax_loop
        ps_worker.jax_replica ps_worker.jax_tree ps_worker.loop ps_worker.membership ps_worker.model
        ps_worker.read_ahead ps_worker.torch_checks ps_worker.torch_replica ps_worker.torch_state
        """,
    5: """
        ps_common.cli ps_common.command ps_worker.cli
        paramserver paramserver.jax paramserver.of_jobs paramserver.ray paramserver.torch
        paramserver.cli paramserver.cli.admin paramserver.cli.asking paramserver.cli.average
        paramserver.cli.doctor paramserver.cli.keys paramserver.cli.kubernetes paramserver.cli.local
        paramserver.cli.master
        paramserver.cli.driving paramserver.cli.launchers paramserver.cli.node_list paramserver.cli.ray
        paramserver.cli.run
        paramserver.cli.own
        paramserver.cli.options paramserver.cli.server paramserver.cli.simulate
        paramserver.cli.status paramserver.cli.verify
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
    "paramserver.cli": "import click, os\nos.environ['PS_X']\nfrom paramserver import machine, simulation",
    "paramserver.simulation": "from paramserver.machine import M\nfrom ps_worker import nn",
    "ps_worker": "",
    "ps_worker.nn": "import numpy as np\nnp.load(f, allow_pickle=False)\nimport re\nre.compile('x')",
}
SMALL = {
    "ps_common": 0, "ps_common.errors": 0, "ps_common.arrays": 1, "ps_common.loader": 4, "paramserver": 5,
    "paramserver.machine": 3, "paramserver.simulation": 4, "paramserver.cli": 5, "ps_worker": 0,
    "ps_worker.nn": 2,
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
        ("paramserver.machine", "from paramserver.simulation import W", "nothing that runs depends"),
        ("ps_worker.nn", "import paramserver.simulation", "never import each other"),
        ("paramserver.simulation", "from paramserver import Job", "the face is for users"),
        ("ps_worker.nn", "from . import x", "imports are absolute"),
        ("ps_worker.nn", "from ps_common.gone import x", "there is no such module"),
        ("ps_worker.nn", "def f():\n    import cupy", "only ps_common.arrays may"),
        ("ps_worker.nn", "from cupy.cuda import runtime", "only ps_common.arrays may"),
        ("ps_common.errors", "import click", "only a command line may"),
        ("ps_worker.nn", "import torch", "only ps_worker.torch_... may"),
        ("ps_worker.nn", "from jax import numpy", "only ps_worker.jax_... may"),
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
