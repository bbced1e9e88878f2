"""MPI3D: pictures of a robot arm that holds an object, 64x64 RGB, of seven factors (Gondal et al. 2019).

The sets "toy", "realistic" and real have 1,036,800 pictures of the same factors; "real_complex" has 460,800.
"""

from __future__ import annotations

import math

from lrn.data.errors import DataError
from lrn.data.factor_sets._factor_set import FactorSet, find, grid, made, member

SPLITS = ("train", "toy", "realistic", "real_complex")
NAMES = (
    "object_color", "object_shape", "object_size", "camera_height", "background_color",
    "horizontal_axis", "vertical_axis",
)  # fmt: skip
SIZES = (6, 6, 2, 3, 3, 40, 40)
COMPLEX = (4, 4, 2, 3, 3, 40, 40)


def read(split: str) -> FactorSet:
    """One of the sets, from the authors' npz, whose pictures are in the order of the factors' grid."""
    kind = "real" if split == "train" else split
    path = find(
        "mpi3d",
        (f"mpi3d_{kind}.npz",),
        "the file from https://github.com/rr-learning/disentanglement_dataset",
    )
    images, sizes = member(path, "images"), COMPLEX if split == "real_complex" else SIZES
    if len(images) != math.prod(sizes):
        raise DataError(
            f"{path} has {len(images):,} images, expected {math.prod(sizes):,}; it is cut or another file."
        )
    return made("mpi3d", path, images, grid(sizes), NAMES, sizes=sizes)
