"""Layers, losses and metrics on arrays that are not NumPy's: what a GPU is asked for, without waiting."""

from types import ModuleType

import pytest

from gpu import test_nn_gpu as tables
from ps_common import arrays
from ps_worker import nn
from ps_worker.nn import gelu, scatter
from support_device_arrays import Cupy


def kernel(name, reads, writes, body):
    """The two kernels of `GELU`, by its layer on the host."""
    layer = nn.GELU()

    def forward(x, y, gate):
        there, (_, gates) = layer.forward(x.get(), {}, nn.Context(training=True))
        y[...], gate[...] = CUPY.asarray(there), CUPY.asarray(gates)

    def backward(x, gate, dy, dx):
        dx[...] = CUPY.asarray(layer.backward(dy.get(), {}, {}, (x.get(), gate.get())))

    return {"gelu": forward, "gelu_back": backward}[name]


CUPY = Cupy()


@pytest.fixture(autouse=True)
def _device(monkeypatch):
    module: ModuleType
    for module in (arrays, tables):
        monkeypatch.setattr(module, "cupy", lambda: CUPY)
    monkeypatch.setattr(gelu, "kernel", kernel)


@pytest.mark.parametrize(("layer", "inputs"), tables.LAYERS)
def test_layers(layer, inputs):
    tables.test_layers(layer, inputs)


@pytest.mark.parametrize("work", [0, scatter.PRODUCT_MAX])
@pytest.mark.parametrize(("layer", "x"), tables.INDEXED)
def test_layers_of_indexes(monkeypatch, layer, x, work):
    monkeypatch.setattr(scatter, "PRODUCT_MAX", work)
    tables.test_layers_of_indexes(layer, x)


@pytest.mark.parametrize(("loss", "output", "target"), tables.LOSSES)
def test_losses(loss, output, target):
    tables.test_losses(loss, output, target)


@pytest.mark.parametrize(("metric", "output", "target"), tables.METRICS)
def test_metrics(metric, output, target):
    tables.test_metrics(metric, output, target)


@pytest.mark.parametrize("precision", tables.PRECISIONS)
@pytest.mark.parametrize(("layer", "x"), tables.HALVED)
def test_layers_in_half_precision(monkeypatch, layer, x, precision):
    monkeypatch.setattr(scatter, "PRODUCT_MAX", 0)
    tables.test_layers_in_half_precision(layer, x, precision)
