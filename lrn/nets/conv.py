"""Convolution, in the form that is fastest on the backend.

``lax`` is the compiler's convolution. ``matmul`` gathers the shifted inputs of every output pixel into a
matrix of patches and multiplies the matrix by the kernel. It does so over blocks of examples that are
small enough for the patches to stay in the cache; the backward pass gathers the patches again instead of
storing them. A kernel whose sides are multiples of the stride sees whole blocks of pixels, whose rows are
long slices without a stride. ``winograd`` is `lrn.nets.winograd`, for 3x3 kernels of stride 1.

``auto`` chooses winograd on CPU where it suits (32 channels or more, float32), else matmul. On other backends
it chooses lax, or matmul if the weights are vmapped (see `LANES`).

The first table has milliseconds for each seed and step (forward, backward, SGD) of the CNN with its
defaults, on 28x28 images in batches of 128. It was measured on two cores (AMD EPYC, Zen 5) with jax
0.10.2, by ``python -m experiments.bench conv --peers``.

=====================  ======  ======  =======================================
form                   matmul  lax     PyTorch 2.13: contiguous, channels last
=====================  ======  ======  =======================================
jitted steps              17      43   28-35, 19-29 from process to process
scan                      16     719
jitted, 8 seeds           21     201
scan, 8 seeds             19    2161
scan, 8, axis unnamed     24
=====================  ======  ======  =======================================

The second table has milliseconds of one core, and MB of working memory, for the value and both gradients
of one 3x3 layer in a scan. It compares other ways to write the matmul: the whole batch at once, nine
products, and `lax.conv_general_dilated_patches`.

===========================  ========  ========  ========  ========
layer                        matmul    whole     nine      patches
===========================  ========  ========  ========  ========
128 x 14x14, 32 -> 64         24,  16   46,  71   59,  84   89,  71
the same, 8 seeds             31, 206   51, 566   64, 669   93, 566
32 x 32x32, 64 -> 64          70,  34  116, 168  147, 160  230, 168
32 x 16x16, 128 -> 128        48,  17   76,  84  103,  80  138,  85
32 x 4x4, 512 -> 512          43,  29   50,  29   53,  28   64,  31
===========================  ========  ========  ========  ========

A jitted step of ResNet-18 on 32x32 images in batches of 32 takes 492 ms with matmul, 616 with lax, 372
and 319 with PyTorch; on one core with two threads, in batches of 64, 25 ms of processor time an image with
matmul and 18 with winograd. The rule for GPU and TPU follows from how XLA compiles there and has not been
measured: measure before you rely on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from lrn import check
from lrn.nets import winograd
from lrn.nets.inputs import filtered, images
from lrn.nets.layers import he_normal
from lrn.types import LANES, Array
from lrn.xla.parts import axis_size

Padding = str | int
Form = str

FORMS = ("auto", "lax", "matmul", "winograd")

# The bytes of a block's patches: at most BLOCK_BYTES over all lanes, so that the patches stay in the
# cache; at least LEAST_BYTES in one lane, because the overhead of smaller blocks dominates. winograd's blocks
# add to 16 gradients of the kernel in place of 9, and are larger.
BLOCK_BYTES = 2 << 20
LEAST_BYTES = 512 << 10
WINOGRAD_BYTES = 8 << 20


def lanes() -> int:
    """The number of copies of the weights under the innermost vmap with the axis name `LANES`, or 1."""
    return axis_size(LANES)


def resolve(conv: Form) -> Form:
    """The form that ``conv`` chooses on this backend: itself, or "lax" or "matmul" for "auto".

    Raises:
        ValueError: ``conv`` is not one of "auto", "lax", "matmul", "winograd".
    """
    check.choice("conv", conv, FORMS)
    if conv != "auto":
        return conv
    return "matmul" if _on_cpu() or lanes() > 1 else "lax"


def _on_cpu() -> bool:
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return (getattr(device, "platform", device) or jax.default_backend()) == "cpu"


def conv2d(
    x: Array, kernel: Array, *, stride: int = 1, padding: Padding = "SAME", conv: Form = "auto"
) -> Array:
    """Cross-correlate images with a kernel.

    Args:
        x: images [batch, height, width, in], float.
        kernel: [rows, columns, in, out].
        stride: the step between outputs, in pixels, in both directions.
        padding: "SAME" (ceil(size / stride) outputs), "VALID" (no padding), or the number of zeros on
            every side.
        conv: "auto", "lax", "matmul" or "winograd"; the forms agree up to rounding, also in derivatives of
            any order.

    Returns:
        [batch, height', width', out].

    Raises:
        ValueError: a rank, dtype, channel count, stride or padding is wrong, the image is smaller than the
            kernel, or "winograd" is asked for a kernel that is not 3x3 or a stride that is not 1.
    """
    x, kernel = filtered(x, kernel)
    check.integer("stride", stride, 1)
    form = resolve(conv)
    pads = _pads(x.shape[1:3], kernel.shape[:2], stride, padding)
    height, width = (
        (size + sum(pad) - k) // stride + 1 for size, pad, k in zip(x.shape[1:3], pads, kernel.shape[:2])
    )
    if height < 1 or width < 1:
        rows, columns = kernel.shape[:2]
        raise ValueError(
            f"images of {x.shape[1]}x{x.shape[2]} are too small for a {rows}x{columns} kernel with padding "
            f"{padding!r}; give larger images or padding 'SAME'."
        )
    if form == "lax":
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    if form == "winograd" and (kernel.shape[:2] != (3, 3) or stride != 1):
        raise ValueError(
            f"conv 'winograd' is for 3x3 kernels of stride 1, got {kernel.shape[0]}x{kernel.shape[1]} and "
            f"stride {stride}; use 'auto'."
        )
    suits = conv == "auto" and _on_cpu() and winograd.suits(kernel.shape, stride, (height, width), x.dtype)
    if form == "winograd" or suits:
        return _winograd(x, kernel, pads, (height, width))

    # The backward pass does not need the product, so rematerializing costs one more gather and no matmul.
    @jax.checkpoint
    def multiply(x: Array) -> Array:
        patches = _patches(x, kernel.shape[:2], pads, stride, (height, width))
        flat = patches.reshape(-1, patches.shape[-1])
        weights = kernel.reshape(-1, kernel.shape[3])
        # (With fewer inputs than outputs the product that `product` avoids is faster.)
        out = flat @ weights if weights.shape[0] < weights.shape[1] else product(flat, weights.T)
        return out.reshape(*patches.shape[:3], -1)

    # Each block reads the kernel and adds to its gradient, so blocks smaller than the kernel gain nothing.
    per_example = patch_bytes((height, width), kernel.shape[:2], x.shape[3], x.dtype)
    return in_blocks(multiply, x, per_example, least_bytes=kernel.nbytes)


def _winograd(x: Array, kernel: Array, pads: list[tuple[int, int]], size: tuple[int, int]) -> Array:
    """`lrn.nets.winograd` in blocks; the backward pass changes the basis of the inputs again."""
    transformed = winograd.transformed(kernel)
    correlate = jax.checkpoint(lambda x: winograd.correlate(x, transformed, pads, size))
    per_example = winograd.tile_bytes(size, sum(kernel.shape[2:]), x.dtype)
    return in_blocks(correlate, x, per_example, least_bytes=WINOGRAD_BYTES // lanes())


@jax.custom_jvp
def product(rows: Array, kernel: Array) -> Array:
    """Rows [r, k] times a transposed kernel [n, k], which makes the backward pass faster on CPU.

    The derivative by a kernel [k, n] is ``rows.T @ d_out``, which takes 1.5 times as long as ``d_out.T @
    rows``, the derivative by the transposed kernel. XLA would transpose the kernel back, and would copy
    it together with another operand to make one product of two; the barrier in the derivative prevents both.
    """
    return jnp.einsum("rk,nk->rn", rows, kernel)


@product.defjvp
def _product_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (rows, kernel), (d_rows, d_kernel) = primals, tangents
    d_kernel = lax.optimization_barrier(d_kernel)
    return product(rows, kernel), (
        jnp.einsum("rk,nk->rn", d_rows, kernel) + jnp.einsum("rk,nk->rn", rows, d_kernel)
    )


def _pads(
    sizes: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: Padding
) -> list[tuple[int, int]]:
    """The number of zeros before and after the pixels, for each direction."""
    if isinstance(padding, str):
        check.choice("padding", padding, ("SAME", "VALID"))
        return list(lax.padtype_to_pads(sizes, kernel, (stride, stride), padding))
    check.integer("padding", padding)
    return [(padding, padding)] * 2


def _patches(
    x: Array, kernel: tuple[int, ...], pads: list[tuple[int, int]], stride: int, size: tuple[int, int]
) -> Array:
    """The inputs of each output pixel [batch, height', width', rows * columns * in], in kernel order."""
    if any(map(any, pads)):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    if stride > 1 and not any(k % stride for k in kernel):
        rows, columns = (n + k // stride - 1 for n, k in zip(size, kernel))
        blocks = x[:, : rows * stride, : columns * stride]
        blocks = blocks.reshape(x.shape[0], rows, stride, columns, stride * x.shape[3])
        shifted = [
            blocks[:, i : i + size[0], row, j : j + size[1]]
            for i in range(kernel[0] // stride)
            for row in range(stride)
            for j in range(kernel[1] // stride)
        ]
    else:
        rows, columns = ((n - 1) * stride + 1 for n in size)
        shifted = [
            x[:, i : i + rows : stride, j : j + columns : stride]
            for i in range(kernel[0])
            for j in range(kernel[1])
        ]
    # (XLA's loop over a new axis of slices is twice as fast as over their joint channels.)
    return jnp.stack(shifted, axis=3).reshape(*shifted[0].shape[:3], -1)


def patch_bytes(size: tuple[int, ...], kernel: tuple[int, ...], channels: int, dtype: Any) -> int:
    """The bytes of one example's patches, for output images of ``size`` (height, width)."""
    return math.prod(size) * math.prod(kernel) * channels * jnp.dtype(dtype).itemsize


def in_blocks(f: Callable[[Array], Array], x: Array, bytes_per_example: int, least_bytes: int = 0) -> Array:
    """Map ``f`` over the leading axis of ``x`` in blocks whose intermediate arrays stay in the cache.

    Args:
        f: a function from [block, ...] to [block, ...] that treats each example separately.
        x: [batch, ...].
        bytes_per_example: the bytes of the largest intermediate array of one example.
        least_bytes: the bytes below which a smaller block gains nothing.

    Returns:
        ``f(x)``. On other backends than CPU, or if the batch fits into one block, ``f`` is called once.
    """
    batch = x.shape[0]
    limit = max(1, max(BLOCK_BYTES // lanes(), LEAST_BYTES, least_bytes) // bytes_per_example)
    if batch <= limit or not _on_cpu():
        return f(x)
    # A block size that divides the batch needs no padding; otherwise zeros pad the last of equal blocks.
    size = next((n for n in range(limit, limit // 2, -1) if batch % n == 0), None)
    blocks = -(-batch // (size or limit))
    size = size or -(-batch // blocks)
    filled = jnp.pad(x, ((0, blocks * size - batch), *((0, 0),) * (x.ndim - 1)))
    out = lax.map(f, filled.reshape(blocks, size, *x.shape[1:]))
    return out.reshape(blocks * size, *out.shape[2:])[:batch]


class Conv(nn.Module):
    """`conv2d` as a flax layer, with a He-normal kernel [rows, columns, in, features] and a bias [features].

    The parameters have the names and shapes of those of `flax.linen.Conv`.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    conv: Form = "auto"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [batch, height, width, in] to [batch, height', width', features]."""
        images("x", x)
        kernel = self.param("kernel", he_normal, (*self.kernel_size, x.shape[3], self.features))
        y = conv2d(x, kernel, stride=self.stride, padding=self.padding, conv=self.conv)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).reshape(1, 1, 1, -1)
        return y
