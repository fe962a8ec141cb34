"""The convolution of images."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Literal, get_args

from ps_common.arrays import Array, xp_of
from ps_common.errors import ShapeMismatch, UsageError
from ps_common.vocabulary import word
from ps_worker.nn.bounds import check_count
from ps_worker.nn.images import Size, Windows, blocks, channels_first, channels_last, check_images, pair
from ps_worker.nn.layer import Context, Init, Layer, Parameter, Shape, Tree, Views
from ps_worker.nn.precision import stack_product


@word
@dataclasses.dataclass(frozen=True)
class Conv2D(Layer):
    """y[f, i, j] = b[f] + Σ x[c, s i + u - p, s j + v - p] W[u, v, c, f] over channels c and pixels u, v.

    x is (n, inputs, h, w), zero around the image; y (n, outputs, h', w') with h' = ⌊(h + 2p - k) / s⌋ + 1;
    W (k, k, inputs, outputs) and b (outputs,). Kernel k, stride s and padding p are pixels, one number or
    (height, width); `padding="same"` keeps the image's size. `init` is how W starts; b starts at zero and is
    not decayed. As `torch.nn.Conv2d`, whose weight is `W.transpose(3, 2, 0, 1)`.

    Computed as a matrix product over columns, the pixels of a window each (Chellapilla et al. 2006), in
    blocks. The columns are made again for the gradient: keeping them would take k² times the memory of x.
    """

    inputs: int
    outputs: int
    kernel: Size
    stride: Size = 1
    padding: Size | Literal["same"] = 0
    bias: bool = True
    init: Init = "he"

    def __post_init__(self) -> None:
        check_count(self, "inputs")
        check_count(self, "outputs")
        for field, least in (("kernel", 1), ("stride", 1), ("padding", 0)):
            if getattr(self, field) != "same":
                object.__setattr__(self, field, pair(self, field, least))
        if self.padding == "same" and (self.stride != (1, 1) or any(k % 2 == 0 for k in self._windows.size)):
            raise UsageError(
                f'Conv2D: padding="same" needs stride 1 and a kernel of odd size, got stride {self.stride} '
                f"and kernel {self.kernel}; give the padding in pixels"
            )
        if self.init not in get_args(Init):
            raise UsageError(f"Conv2D: init must be one of {', '.join(get_args(Init))}, got {self.init!r}")

    @functools.cached_property
    def _windows(self) -> Windows:
        size = pair(self, "kernel", 1)
        same = (size[0] // 2, size[1] // 2)
        padding = same if self.padding == "same" else pair(self, "padding", 0)
        return Windows(size, pair(self, "stride", 1), padding)

    def parameters(self, inputs: Shape) -> Tree:
        height, width = self._windows.size
        area = height * width
        weight = Parameter(
            (height, width, self.inputs, self.outputs),
            self.init,
            decay=True,
            fan_in=area * self.inputs,
            fan_out=area * self.outputs,
        )
        return {"weight": weight, "bias": Parameter((self.outputs,))} if self.bias else {"weight": weight}

    def output_shape(self, inputs: Shape) -> Shape:
        name = f"Conv2D({self.inputs}, {self.outputs}, {self.kernel})"
        channels, height, width = check_images(name, inputs)
        if channels != self.inputs:
            is_last = width == self.inputs
            advice = "channels come first here" if is_last else f"use nn.Conv2D({channels}, ...)"
            raise ShapeMismatch(
                f"{name} takes images of shape ({self.inputs}, height, width), got {inputs}; {advice}"
            )
        return (self.outputs, *self._windows.check(name, height, width))

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Array]:
        xp, images = xp_of(x), channels_last(x)
        weight = p["weight"].reshape(-1, self.outputs)
        n, h, w, _ = images.shape
        y = xp.empty((n, *self._windows.counts(h, w), self.outputs), x.dtype)
        for part in self._blocks(images):
            rows = y[part].reshape(-1, self.outputs)
            xp.matmul(self._columns(images[part]), weight, out=rows)
            if self.bias:
                rows += p["bias"]
        return channels_first(y), images

    def backward(self, dy: Array, p: Views, g: Views, cache: Array) -> Array:
        """∂W = columnsᵀ dy, ∂b = Σ dy; dx: for each u, v, dy W[u, v]ᵀ is added to the pixels it came from."""
        images, dy = cache, channels_last(dy)
        self._parameter_gradients(dy, g, images)
        xp, (n, h, w, c) = xp_of(dy), images.shape
        padded = xp.zeros((n, *self._windows.padded(h, w), c), dy.dtype)
        back = p["weight"].reshape(-1, c, self.outputs)  # (k k, inputs, outputs)
        back = xp.ascontiguousarray(back.transpose(0, 2, 1))  # BLAS is faster with small matrices that way
        for part in self._blocks(images):
            shares = stack_product(dy[part].reshape(-1, self.outputs), back)  # (k k, windows, inputs)
            shares = shares.reshape(-1, *dy[part].shape[:3], c)
            for pixels, share in zip(self._windows.pixels(padded[part]), shares, strict=True):
                pixels += share
        return channels_first(self._windows.crop(padded))

    def parameter_gradients(self, dy: Array, p: Views, g: Views, cache: Array) -> None:
        self._parameter_gradients(channels_last(dy), g, cache)

    def _parameter_gradients(self, dy: Array, g: Views, images: Array) -> None:
        weight = g["weight"].reshape(-1, self.outputs)
        weight[...] = 0
        for part in self._blocks(images):
            weight += self._columns(images[part]).T @ dy[part].reshape(-1, self.outputs)
        if self.bias:
            dy.sum(axis=(0, 1)).sum(axis=0, out=g["bias"])

    def _columns(self, images: Array) -> Array:
        """(windows, k k c): copied in the longer of the runs that lie in one piece, which BLAS takes both."""
        view = self._windows.over(self._windows.pad(images, 0))  # (n, h', w', k, k, c)
        _, _, beside, height, width, channels = view.shape
        size = height * width * channels
        if width * channels < beside:
            return view.transpose(3, 4, 5, 0, 1, 2).reshape(size, -1).T
        return view.reshape(-1, size)

    def _blocks(self, images: Array) -> Iterator[slice]:
        n, h, w, c = images.shape
        below, beside = self._windows.counts(h, w)
        size = self._windows.size[0] * self._windows.size[1] * c
        return blocks(images, n, below * beside * size * images.itemsize)
