"""How parameters start: Glorot's and He's rules, a given deviation, zeros and ones.

Numbers are drawn on the host in float64 and rounded to the network's dtype afterwards, so that a network
starts alike on every device and in every precision; block by block, which gives the numbers of one draw.
"""

import math
from collections.abc import Callable

import numpy as np

from ps_common.arrays import Array, HostArray, xp_of
from ps_worker.nn.layer import Init, Parameter

BLOCK = 65_536  # numbers drawn at once: what is in float64 for a moment is small beside the model


def xavier(parameter: Parameter, rng: np.random.Generator, count: int) -> HostArray:
    """Uniform in ±√(6 / (fan_in + fan_out)): Glorot & Bengio 2010, eq. 16."""
    assert parameter.fan_in is not None
    assert parameter.fan_out is not None
    bound = math.sqrt(6 / (parameter.fan_in + parameter.fan_out))
    return rng.uniform(-bound, bound, count)


def he(parameter: Parameter, rng: np.random.Generator, count: int) -> HostArray:
    """Normal with mean 0 and variance 2 / fan_in: He et al. 2015, eq. 10."""
    assert parameter.fan_in is not None
    return rng.normal(0.0, math.sqrt(2 / parameter.fan_in), count)


def normal(parameter: Parameter, rng: np.random.Generator, count: int) -> HostArray:
    """Normal with mean 0 and the parameter's deviation; 0.02 by default: Radford et al. 2018, §4.1."""
    return rng.normal(0.0, parameter.deviation, count)


def zeros(parameter: Parameter, rng: np.random.Generator, count: int) -> HostArray:
    return np.zeros(count)


def ones(parameter: Parameter, rng: np.random.Generator, count: int) -> HostArray:
    return np.ones(count)


INITIALIZERS: dict[Init, Callable[[Parameter, np.random.Generator, int], HostArray]] = {
    "xavier": xavier,
    "he": he,
    "normal": normal,
    "zeros": zeros,
    "ones": ones,
}


def fill(parameter: Parameter, rng: np.random.Generator, out: Array) -> None:
    """Write the first value of a parameter into `out`, a contiguous array of its shape and any dtype."""
    flat, draw = out.reshape(-1), INITIALIZERS[parameter.init]
    for start in range(0, flat.size, BLOCK):
        part = flat[start : start + BLOCK]
        part[...] = xp_of(out).asarray(draw(parameter, rng, part.size))
