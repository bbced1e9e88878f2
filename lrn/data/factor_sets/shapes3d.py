"""3D Shapes: 480,000 pictures of an object in a room, 64x64 RGB, of six factors (Burgess and Kim 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lrn.data.errors import DataError
from lrn.data.factor_sets._factor_set import FactorSet, find, made, member, numbered

SPLITS = ("train",)
NAMES = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")


def read(split: str) -> FactorSet:
    """The set, from the authors' 3dshapes.h5 (h5py reads it), or from an npz with the same two arrays."""
    del split
    path = find(
        "shapes3d", ("3dshapes.npz", "3dshapes.h5"), "the file from github.com/google-deepmind/3d-shapes"
    )
    if path.suffix == ".npz":
        images, labels = member(path, "images"), np.asarray(member(path, "labels"))
    else:
        images, labels = _h5(path)
    return made("shapes3d", path, images, numbered(labels), NAMES)


def _h5(path: Path) -> tuple[Any, np.ndarray]:
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DataError(
            f"{path} is an HDF5 file, which h5py reads, and h5py is not installed; install h5py, or save the "
            "arrays 'images' and 'labels' as 3dshapes.npz beside it."
        ) from None
    try:
        with h5py.File(path, "r") as file:
            return file["images"][()], file["labels"][()]
    except (OSError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}).") from error
