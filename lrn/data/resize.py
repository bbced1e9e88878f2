"""Images of another resolution."""

from __future__ import annotations

import numpy as np

from lrn import check


def mean_of_blocks(images: np.ndarray, side: int) -> np.ndarray:
    """Images at 1 / ``side`` of their resolution: each pixel is the rounded mean of a square block.

    Args:
        images: uint8 [n, height, width, channels].
        side: the side of a block in pixels, which divides height and width.

    Returns:
        uint8 [n, height / side, width / side, channels].

    Raises:
        InputError: the images have another rank or dtype, or the side does not divide them.
    """
    check.integer("side", side, 1)
    x = np.asarray(images)
    if x.ndim != 4 or x.dtype != np.uint8 or x.shape[1] % side or x.shape[2] % side:
        raise check.InputError(
            f"images must be uint8 [n, height, width, channels] with sides that {side} divides, got shape "
            f"{list(x.shape)} and dtype {x.dtype}; crop or convert them."
        )
    n, rows, columns, channels = x.shape
    blocks = x.reshape(n, rows // side, side, columns // side, side, channels)
    return np.rint(blocks.mean((2, 4), dtype=np.float32)).astype(np.uint8)
