"""What one sample of a data set looks like: the part of data that model, master and worker agree on."""

import dataclasses
import math

import numpy as np

from ps_common.vocabulary import word


@word
@dataclasses.dataclass(frozen=True)
class Field:
    """One array of a data set: `x` or `y`. `shape` is that of one sample; `()` is one number."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def sample_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.name}: {self.shape} {self.dtype}"
