"""Pooling: an image made smaller, each channel by itself."""

import abc
import dataclasses
import functools
import math
from typing import Any

import numpy as np

from ps_common.arrays import Array, xp_of
from ps_common.errors import UsageError
from ps_common.vocabulary import word
from ps_worker.nn.images import Size, Windows, blocks, channels_first, channels_last, check_images, pair
from ps_worker.nn.layer import Context, Layer, Shape, Views


@dataclasses.dataclass(frozen=True)
class Pooling(Layer, abc.ABC):
    """One number for each window of `size` pixels, a window every `stride` pixels (`size` by default).

    (n, c, h, w) to (n, c, h', w') with h' = ⌊(h + 2 padding - size) / stride⌋ + 1. All in pixels, one
    number or (height, width); the padding is at most half the size.
    """

    size: Size
    stride: Size | None = None
    padding: Size = 0

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.size)
        for field, least in (("size", 1), ("stride", 1), ("padding", 0)):
            object.__setattr__(self, field, pair(self, field, least))
        if any(2 * p > k for p, k in zip(self._windows.padding, self._windows.size, strict=True)):
            raise UsageError(
                f"{type(self).__name__}: padding must be at most half of the size {self.size}, "
                f"or a window holds nothing else, got {self.padding}"
            )

    @functools.cached_property
    def _windows(self) -> Windows:
        return Windows(pair(self, "size", 1), pair(self, "stride", 1), pair(self, "padding", 0))

    def output_shape(self, inputs: Shape) -> Shape:
        name = f"{type(self).__name__}({self.size})"
        channels, height, width = check_images(name, inputs)
        return (channels, *self._windows.check(name, height, width))


@word
@dataclasses.dataclass(frozen=True)
class MaxPool2D(Pooling):
    """The largest pixel of each window: as `torch.nn.MaxPool2d`, padding with -∞.

    The gradient goes to the pixel that was the largest, of several the first one, row by row. What is kept
    for it is that pixel's place in the window, a byte.
    """

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Any]:
        xp, images = xp_of(x), channels_last(x)
        n, h, w, c = images.shape
        y = xp.empty((n, *self._windows.counts(h, w), c), x.dtype)
        kind = np.min_scalar_type(math.prod(self._windows.size))
        place = xp.zeros(y.shape, kind) if context.training else None
        for part in blocks(images, n, h * w * c * images.itemsize):
            each = self._windows.pixels(self._windows.pad(images[part], -math.inf))
            y[part] = next(each)
            for k, pixels in enumerate(each, 1):
                if place is not None:
                    xp.maximum(place[part], (pixels > y[part]) * kind.type(k), out=place[part])
                xp.maximum(y[part], pixels, out=y[part])
        return channels_first(y), (place, images.shape)

    def backward(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        xp, (place, (n, h, w, c)), dy = xp_of(dy), cache, channels_last(dy)
        is_tiled = self._windows.tile(h, w)
        padded = (xp.empty if is_tiled else xp.zeros)((n, *self._windows.padded(h, w), c), dy.dtype)
        for part in blocks(dy, n, h * w * c * dy.itemsize):
            for k, pixels in enumerate(self._windows.pixels(padded[part])):
                if is_tiled:
                    xp.multiply(dy[part], place[part] == k, out=pixels)
                else:
                    pixels += dy[part] * (place[part] == k)
        return channels_first(self._windows.crop(padded))


@word
@dataclasses.dataclass(frozen=True)
class AvgPool2D(Pooling):
    """The mean of each window's pixels, those of the padding being 0: as `torch.nn.AvgPool2d`."""

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Shape]:
        images = channels_last(x)
        first, *others = self._windows.pixels(self._windows.pad(images, 0))
        mean = first * (1 / math.prod(self._windows.size))
        for pixels in others:
            mean += pixels * (1 / math.prod(self._windows.size))
        return channels_first(mean.astype(x.dtype, copy=False)), images.shape  # of bfloat16: float32

    def backward(self, dy: Array, p: Views, g: Views, cache: Shape) -> Array:
        n, h, w, c = cache
        share = channels_last(dy) * (1 / math.prod(self._windows.size))
        padded = xp_of(dy).zeros((n, *self._windows.padded(h, w), c), dy.dtype)
        for pixels in self._windows.pixels(padded):
            pixels += share
        return channels_first(self._windows.crop(padded))


@word
@dataclasses.dataclass(frozen=True)
class GlobalAveragePool2D(Layer):
    """The mean of each channel: (n, c, h, w) to (n, c). Lin et al. 2014, §3.2."""

    def output_shape(self, inputs: Shape) -> Shape:
        return check_images("GlobalAveragePool2D()", inputs)[:1]

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Shape]:
        return x.mean(axis=(2, 3)), x.shape

    def backward(self, dy: Array, p: Views, g: Views, cache: Shape) -> Array:
        n, c, h, w = cache
        images = xp_of(dy).empty((n, h, w, c), dy.dtype)
        images[...] = (dy * (1 / (h * w)))[:, None, None, :]
        return channels_first(images)
