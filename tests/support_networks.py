"""First values of parameters, as arrays of their own."""

import numpy as np

from ps_worker import nn
from ps_worker.nn.initializers import fill


def draw(parameter: nn.Parameter, rng: np.random.Generator) -> np.ndarray:
    """The first value of a parameter, float64."""
    out = np.empty(parameter.shape)
    fill(parameter, rng, out)
    return out


def first_values(network: nn.Network, rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays = {name: np.empty(p.shape, network.dtype) for name, p in network.specification().items()}
    network.initialise(arrays, rng)
    return arrays
