"""How images lie in memory, and the windows that slide over them.

A sample is (channels, height, width), as in PyTorch. In memory the channels of one pixel lie side by
side: a batch (n, c, h, w) that a layer of images hands on is a transposed view of a contiguous
(n, h, w, c). So a convolution is one matrix product with no transposition, and what it copies before that
is copied in long runs; elementwise layers keep the order of whatever they are given. A batch in another
order is copied once by the first layer that sees it.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ps_common.arrays import Array, xp_of
from ps_common.errors import ShapeMismatch, UsageError
from ps_worker.nn.layer import Shape

Size = int | tuple[int, int]
"""Height and width in pixels; one number stands for both."""

CACHED_BYTES = 1 << 19
"""What one block of images is worked on in, so that it stays in a core's cache. Of 2¹⁸ to 2²⁰ the fastest."""


def channels_last(x: Array) -> Array:
    """(n, c, h, w) as a contiguous (n, h, w, c): a view where it lies so already, else a copy."""
    return xp_of(x).ascontiguousarray(x.transpose(0, 2, 3, 1))


def channels_first(images: Array) -> Array:
    """The view (n, c, h, w) of (n, h, w, c)."""
    return images.transpose(0, 3, 1, 2)


def blocks(like: Array, count: int, nbytes: int) -> Iterator[slice]:
    """Slices that cover `count` images of `nbytes` each: a few at a time on the host, all on a GPU."""
    step = max(1, CACHED_BYTES // nbytes) if isinstance(like, np.ndarray) else max(1, count)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def check_images(owner: str, inputs: Shape) -> tuple[int, int, int]:
    """The channels, height and width of a sample. Raises `ShapeMismatch` unless it has these three."""
    if len(inputs) != 3:
        square = (math.isqrt(math.prod(inputs)),) * 2
        size = inputs if len(inputs) == 2 else square
        fits = math.prod(size) == math.prod(inputs)
        shape = f"(1, {size[0]}, {size[1]})" if fits else "(channels, height, width)"
        raise ShapeMismatch(
            f"{owner} takes images, samples of shape (channels, height, width), got {inputs}; "
            f"put nn.Reshape({shape}) before it"
        )
    channels, height, width = inputs
    return channels, height, width


def pair(owner: object, field: str, least: int) -> tuple[int, int]:
    """A field that is one whole number or two of them, as two. Raises `UsageError` for anything else."""
    value: Any = getattr(owner, field)
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2 or not all(type(size) is int and size >= least for size in both):
        raise UsageError(
            f"{type(owner).__name__}: {field} must be a whole number >= {least} or two of them "
            f"(height, width), got {value!r}"
        )
    return both


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of `size` over images with `padding` on all sides, one every `stride` pixels.

    All in pixels, (height, width). Pixels at the end that fill no window are left out.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    def counts(self, height: int, width: int) -> tuple[int, int]:
        """How many windows fit below and beside one another; 0 or less where none does."""
        return (
            (height + 2 * self.padding[0] - self.size[0]) // self.stride[0] + 1,
            (width + 2 * self.padding[1] - self.size[1]) // self.stride[1] + 1,
        )

    def check(self, owner: str, height: int, width: int) -> tuple[int, int]:
        """`counts`. Raises `ShapeMismatch` where an image is smaller than a window."""
        counts = self.counts(height, width)
        if min(counts) < 1:
            raise ShapeMismatch(
                f"{owner} takes images of at least {self.size[0]} x {self.size[1]} pixels with "
                f"{self.padding[0]} and {self.padding[1]} of padding on each side, got {height} x {width}; "
                "make its window smaller or its padding larger, or leave out a pooling layer before it"
            )
        return counts

    def tile(self, height: int, width: int) -> bool:
        """Whether each pixel of the padded image lies in one window."""
        counts, padded = self.counts(height, width), self.padded(height, width)
        covered = tuple(count * size for count, size in zip(counts, self.size, strict=True))
        return self.stride == self.size and covered == padded

    def pad(self, images: Array, value: float) -> Array:
        """(n, h, w, c) with the padding around it; the images themselves where there is none."""
        if self.padding == (0, 0):
            return images
        n, h, w, c = images.shape
        padded = xp_of(images).full((n, *self.padded(h, w), c), value, images.dtype)
        self.crop(padded)[...] = images
        return padded

    def padded(self, height: int, width: int) -> tuple[int, int]:
        return height + 2 * self.padding[0], width + 2 * self.padding[1]

    def crop(self, padded: Array) -> Array:
        """The images within their padding: a view."""
        (above, left), (_, h, w, _) = self.padding, padded.shape
        return padded[:, above : h - above, left : w - left]

    def over(self, padded: Array) -> Array:
        """All windows as a view (n, below, beside, *size, c), whose parts overlap: only to be read."""
        n, h, w, c = padded.shape
        per_image, per_row, per_pixel, per_channel = padded.strides
        (rows, columns), (down, right) = self.size, self.stride
        shape = (n, (h - rows) // down + 1, (w - columns) // right + 1, rows, columns, c)
        strides = (per_image, down * per_row, right * per_pixel, per_row, per_pixel, per_channel)
        return xp_of(padded).lib.stride_tricks.as_strided(padded, shape, strides)

    def pixels(self, padded: Array) -> Iterator[Array]:
        """For each place in a window, row by row, that pixel of all windows: views (n, below, beside, c)."""
        (rows, columns), (down, right) = self.size, self.stride
        _, h, w, _ = padded.shape
        below, beside = (h - rows) // down + 1, (w - columns) // right + 1
        for i in range(rows):
            for j in range(columns):
                yield padded[:, i : i + down * below : down, j : j + right * beside : right]
