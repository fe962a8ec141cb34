"""Models, losses, optimizers and metrics: arithmetic on NumPy or CuPy arrays, and nothing else.

    model = nn.Sequential(nn.Dense(784, 100), nn.ReLU(), nn.Dense(100, 10))

Everything here is a frozen dataclass that travels as plain data and holds no arrays. A new layer goes
into a file of its own: a `@word` frozen dataclass on `Layer` with `forward` and `backward` (`parameters`,
`output_shape` and `parameter_gradients` where the defaults do not fit), its formula, shapes and source in
the docstring, its name below, and a test of its gradients in `tests/worker/nn/`. `Layer` shows an example.
"""

from ps_worker.nn.activations import ReLU, Sigmoid, Tanh
from ps_worker.nn.dense import Dense
from ps_worker.nn.dropout import Dropout
from ps_worker.nn.flatten import Flatten
from ps_worker.nn.layer import Context, Layer, Parameter, Shape
from ps_worker.nn.losses import MSE, Loss, SigmoidCrossEntropy, SoftmaxCrossEntropy
from ps_worker.nn.metrics import Accuracy, MeanAbsoluteError, MeanSquaredError, Metric
from ps_worker.nn.network import Bound, Network
from ps_worker.nn.optimizers import SGD, Adam, Momentum, Nesterov, Optimizer, scratch_for
from ps_worker.nn.regularizers import L2, Regularizer
from ps_worker.nn.sequential import Sequential

__all__ = [
    "Sequential",
    "Dense",
    "Flatten",
    "Dropout",
    "ReLU",
    "Tanh",
    "Sigmoid",
    "MSE",
    "SoftmaxCrossEntropy",
    "SigmoidCrossEntropy",
    "L2",
    "SGD",
    "Momentum",
    "Nesterov",
    "Adam",
    "Accuracy",
    "MeanSquaredError",
    "MeanAbsoluteError",
    "Layer",
    "Parameter",
    "Context",
    "Shape",
    "Loss",
    "Regularizer",
    "Optimizer",
    "Metric",
    "Bound",
    "Network",
    "scratch_for",
]
