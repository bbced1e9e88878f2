"""smallNORB: 48,600 pictures of toys, 96x96 gray, of five factors (LeCun, Huang and Bottou 2004).

The training and the test set have different toys: five instances of each category. The pictures are those of
the left of two cameras.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from lrn.data.errors import DataError
from lrn.data.factor_sets._factor_set import FactorSet, find, made, numbered

SPLITS = ("train", "test")
NAMES = ("category", "instance", "elevation", "azimuth", "lighting")
STEMS = {
    "train": "smallnorb-5x46789x9x18x6x2x96x96-training",
    "test": "smallnorb-5x01235x9x18x6x2x96x96-testing",
}
_TYPES = {0x1E3D4C55: np.dtype("u1"), 0x1E3D4C54: np.dtype("<i4")}
_LIMIT = 2**31  # the most bytes of a matrix


def read(split: str) -> FactorSet:
    """A split, from the authors' three files of it (dat, cat, info), .mat or .mat.gz."""
    paths = {
        kind: find(
            "small_norb",
            (f"{STEMS[split]}-{kind}.mat", f"{STEMS[split]}-{kind}.mat.gz"),
            "the files from https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/",
        )
        for kind in ("dat", "cat", "info")
    }
    images, category, rest = (matrix(paths[kind]) for kind in ("dat", "cat", "info"))
    if images.ndim != 4 or category.ndim != 1 or rest.shape != (len(category), 4):
        raise DataError(
            f"{paths['dat']} and its companions have the shapes {images.shape}, {category.shape} and "
            f"{rest.shape}, expected [n, 2, height, width], [n] and [n, 4]; they are other files."
        )
    factors = numbered(np.concatenate([category[:, None], rest], axis=1))
    return made("small_norb", paths["dat"], images[:, 0], factors, NAMES)


def matrix(path: Path) -> np.ndarray:
    """The array of a file in the binary format of smallNORB.

    The file has a number for the type, the number of axes, the length of each axis (three at least), all
    32-bit little-endian integers, and then the values.

    Raises:
        DataError: the file is damaged, cut, or of another type.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            kind, axes = (int(n) for n in np.frombuffer(file.read(8), "<i4"))
            if kind not in _TYPES or not 1 <= axes <= 8:
                raise DataError(f"{path} is no matrix of bytes or integers of smallNORB; it is another file.")
            shape = tuple(int(n) for n in np.frombuffer(file.read(4 * max(3, axes)), "<i4"))[:axes]
            size = math.prod(shape) * _TYPES[kind].itemsize
            if min(shape) < 1 or size > _LIMIT:
                raise DataError(f"{path} declares a matrix of shape {shape}, which is not read.")
            content = file.read(size)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}).") from error
    if len(content) != size:
        raise DataError(f"{path} is cut: it has {len(content):,} bytes of values, expected {size:,}.")
    return np.frombuffer(content, _TYPES[kind]).reshape(shape)
