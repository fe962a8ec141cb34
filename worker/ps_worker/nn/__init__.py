"""Models, losses, optimizers and metrics: arithmetic on NumPy or CuPy arrays, and nothing else.

    model = nn.Sequential(nn.Dense(784, 100), nn.ReLU(), nn.Dense(100, 10))

Everything here is a frozen dataclass that travels as plain data and holds no arrays. A new layer goes
into a file of its own: a `@word` frozen dataclass on `Layer` with `forward` and `backward` (`parameters`,
`output_shape` and `parameter_gradients` where the defaults do not fit), its formula, shapes and source in
the docstring, its name below, and a test of its gradients in `tests/worker/nn/`. `Layer` shows an example.
"""

from ps_worker.nn.activations import ReLU, Sigmoid, Tanh
from ps_worker.nn.adagrad import Adagrad, RMSprop
from ps_worker.nn.adam import Adam, AdamW
from ps_worker.nn.attention import CausalSelfAttention
from ps_worker.nn.batch_norm import BatchNorm
from ps_worker.nn.clipping import ClipByNorm
from ps_worker.nn.conv2d import Conv2D
from ps_worker.nn.dense import Dense
from ps_worker.nn.dropout import Dropout
from ps_worker.nn.embedding import Embedding
from ps_worker.nn.flatten import Flatten
from ps_worker.nn.gelu import GELU
from ps_worker.nn.gru import GRU
from ps_worker.nn.layer import Context, Layer, Parameter, Shape
from ps_worker.nn.layer_norm import LayerNorm
from ps_worker.nn.losses import MSE, Loss, SigmoidCrossEntropy, SoftmaxCrossEntropy
from ps_worker.nn.lstm import LSTM
from ps_worker.nn.matrix_factorisation import MatrixFactorisation
from ps_worker.nn.metrics import RMSE, Accuracy, MeanAbsoluteError, MeanSquaredError, Metric
from ps_worker.nn.network import Bound, Network
from ps_worker.nn.optimizer import Optimizer, scratch_for
from ps_worker.nn.perplexity import BitsPerCharacter, Perplexity
from ps_worker.nn.pooling import AvgPool2D, GlobalAveragePool2D, MaxPool2D
from ps_worker.nn.positional_embedding import PositionalEmbedding
from ps_worker.nn.ranking import AUC, TopK
from ps_worker.nn.rates import Cosine, LearningRate, LinearDecay, Step, Warmup
from ps_worker.nn.regularizers import L2, Regularizer
from ps_worker.nn.reshape import Reshape
from ps_worker.nn.residual import Residual
from ps_worker.nn.sequential import Sequential
from ps_worker.nn.sgd import SGD, Momentum, Nesterov
from ps_worker.nn.softmax import Softmax
from ps_worker.nn.transformer import TransformerBlock

__all__ = [
    "Sequential",
    "Residual",
    "Dense",
    "Conv2D",
    "MaxPool2D",
    "AvgPool2D",
    "GlobalAveragePool2D",
    "BatchNorm",
    "Flatten",
    "Reshape",
    "Dropout",
    "Embedding",
    "PositionalEmbedding",
    "LayerNorm",
    "CausalSelfAttention",
    "TransformerBlock",
    "LSTM",
    "GRU",
    "MatrixFactorisation",
    "ReLU",
    "Tanh",
    "Sigmoid",
    "GELU",
    "Softmax",
    "MSE",
    "SoftmaxCrossEntropy",
    "SigmoidCrossEntropy",
    "L2",
    "SGD",
    "Momentum",
    "Nesterov",
    "Adam",
    "AdamW",
    "Adagrad",
    "RMSprop",
    "ClipByNorm",
    "Warmup",
    "Cosine",
    "LinearDecay",
    "Step",
    "Accuracy",
    "MeanSquaredError",
    "MeanAbsoluteError",
    "RMSE",
    "TopK",
    "AUC",
    "Perplexity",
    "BitsPerCharacter",
    "Layer",
    "Parameter",
    "Context",
    "Shape",
    "Loss",
    "Regularizer",
    "Optimizer",
    "LearningRate",
    "Metric",
    "Bound",
    "Network",
    "scratch_for",
]
