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

import jax
from flax import linen as nn
from jax import lax

from lrn import check
from lrn.nets import winograd
from lrn.nets.blocks import in_blocks, lanes, on_cpu
from lrn.nets.inputs import filtered, images
from lrn.nets.layers import he_normal
from lrn.nets.patch_rows import patch_bytes, patch_rows, product
from lrn.types import Array

Padding = str | int
Form = str

# The blocks of winograd add to 16 gradients of the kernel in place of 9, and are larger than others.
WINOGRAD_BYTES = 8 << 20
FORMS = ("auto", "lax", "matmul", "winograd")


def check_form(conv: Form) -> None:
    """Check a form without asking for the backend, so that a network can be made before JAX is set up.

    Raises:
        ValueError: ``conv`` is not one of "auto", "lax", "matmul", "winograd".
    """
    check.choice("conv", conv, FORMS)


def resolve(conv: Form) -> Form:
    """The form that ``conv`` chooses on this backend: itself, or "lax" or "matmul" for "auto".

    Raises:
        ValueError: `check_form` refuses ``conv``.
    """
    check_form(conv)
    if conv != "auto":
        return conv
    return "matmul" if on_cpu() or lanes() > 1 else "lax"


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
    suits = conv == "auto" and on_cpu() and winograd.suits(kernel.shape, stride, (height, width), x.dtype)
    if form == "winograd" or suits:
        return _winograd(x, kernel, pads, (height, width))

    # The backward pass does not need the product, so rematerializing costs one more gather and no matmul.
    @jax.checkpoint
    def multiply(x: Array) -> Array:
        rows = patch_rows(x, kernel.shape[:2], pads, stride, (height, width))
        flat = rows.reshape(-1, rows.shape[-1])
        weights = kernel.reshape(-1, kernel.shape[3])
        # (With fewer inputs than outputs the product that `product` avoids is faster.)
        out = flat @ weights if weights.shape[0] < weights.shape[1] else product(flat, weights.T)
        return out.reshape(*rows.shape[:3], -1)

    # Each block reads the kernel and adds to its gradient, so blocks smaller than the kernel gain nothing.
    per_example = patch_bytes((height, width), kernel.shape[:2], x.shape[3], x.dtype)
    return in_blocks(multiply, x, per_example, least_bytes=kernel.nbytes)


def _winograd(x: Array, kernel: Array, pads: list[tuple[int, int]], size: tuple[int, int]) -> Array:
    """`lrn.nets.winograd` in blocks; the backward pass changes the basis of the inputs again."""
    transformed = winograd.transformed(kernel)
    correlate = jax.checkpoint(lambda x: winograd.correlate(x, transformed, pads, size))
    per_example = winograd.tile_bytes(size, sum(kernel.shape[2:]), x.dtype)
    return in_blocks(correlate, x, per_example, least_bytes=WINOGRAD_BYTES // lanes())


def _pads(
    sizes: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: Padding
) -> list[tuple[int, int]]:
    """The number of zeros before and after the pixels, for each direction."""
    if isinstance(padding, str):
        check.choice("padding", padding, ("SAME", "VALID"))
        return list(lax.padtype_to_pads(sizes, kernel, (stride, stride), padding))
    check.integer("padding", padding)
    return [(padding, padding)] * 2


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
