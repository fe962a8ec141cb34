"""How parameters start: Glorot's and He's rules, zeros and ones.

Numbers are drawn on the host in float64 and rounded to the network's dtype afterwards, so that a network
starts alike on every device and in every precision.
"""

import math
from collections.abc import Callable

import numpy as np

from ps_common.arrays import HostArray
from ps_worker.nn.layer import Init, Parameter


def xavier(parameter: Parameter, rng: np.random.Generator) -> HostArray:
    """Uniform in ±√(6 / (fan_in + fan_out)): Glorot & Bengio 2010, eq. 16."""
    assert parameter.fan_in is not None
    assert parameter.fan_out is not None
    bound = math.sqrt(6 / (parameter.fan_in + parameter.fan_out))
    return rng.uniform(-bound, bound, parameter.shape)


def he(parameter: Parameter, rng: np.random.Generator) -> HostArray:
    """Normal with mean 0 and variance 2 / fan_in: He et al. 2015, eq. 10."""
    assert parameter.fan_in is not None
    return rng.normal(0.0, math.sqrt(2 / parameter.fan_in), parameter.shape)


def zeros(parameter: Parameter, rng: np.random.Generator) -> HostArray:
    return np.zeros(parameter.shape)


def ones(parameter: Parameter, rng: np.random.Generator) -> HostArray:
    return np.ones(parameter.shape)


INITIALIZERS: dict[Init, Callable[[Parameter, np.random.Generator], HostArray]] = {
    "xavier": xavier,
    "he": he,
    "zeros": zeros,
    "ones": ones,
}


def draw(parameter: Parameter, rng: np.random.Generator) -> HostArray:
    """The first value of a parameter, float64."""
    return INITIALIZERS[parameter.init](parameter, rng)
