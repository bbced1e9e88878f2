"""`FactorSet`, and what the readers of its files share."""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lrn import files
from lrn.data import integrity
from lrn.data.errors import DataError, DataFolderError, DataNotFoundError

_DAMAGE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class FactorSet:
    """Images with known factors.

    Attributes:
        name: the name of the set.
        images: uint8 [rows, height, width, channels]; may be mapped from a file.
        factors: int32 [rows, factors], the number of each factor's value, from 0.
        names: the names of the factors. sizes: their numbers of values.
        white: the value of a white pixel, 255, or 1 for sets of black and white.
        source: the path of the file.
    """

    name: str
    images: np.ndarray = field(repr=False)
    factors: np.ndarray = field(repr=False)
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    white: int
    source: str

    @property
    def rows(self) -> int:
        """The number of images."""
        return len(self.factors)

    def pixels(self, rows: np.ndarray | slice) -> np.ndarray:
        """The images of some rows as float32 [n, height, width, channels] in [0, 1]."""
        return np.asarray(self.images[rows], np.float32) / np.float32(self.white)


def find(name: str, candidates: Sequence[str], what: str) -> Path:
    """The first of some files in ``$LRN_DATA_DIR/<name>/``.

    Args:
        name: the name of the set. candidates: names of files. what: where a person gets the file.

    Raises:
        DataNotFoundError: none of the files is there, or the variable is not set.
        DataFolderError: ``$LRN_DATA_DIR`` is no folder.
    """
    value = os.environ.get("LRN_DATA_DIR", "")
    if not value:
        raise DataNotFoundError(
            f"{name} was not found, because LRN_DATA_DIR is not set; get {what}, put {candidates[0]} into a "
            f"folder {name} and set LRN_DATA_DIR to the folder above it."
        )
    root = Path(value).expanduser()
    if not root.is_dir():
        raise DataFolderError(f"LRN_DATA_DIR is {value}, which is not a folder; correct it or unset it.")
    for candidate in candidates:
        if (root / name / candidate).is_file():
            return root / name / candidate
    looked = " or ".join(str(root / name / candidate) for candidate in candidates)
    raise DataNotFoundError(f"{name} was not found: looked for {looked}; get {what} and put it there.")


def member(path: Path, name: str) -> np.ndarray:
    """One array of an npz file, mapped from a copy in the cache that the first call makes.

    Raises:
        DataError: the file is damaged or has no such array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{name}.npy" not in archive.namelist():
                has = ", ".join(sorted(archive.namelist()))
                raise DataError(f"{path} has no array {name!r} but {has}; it is another file.")
            kept = integrity.cache_dir() / "decoded" / f"{integrity.verify(path)[:32]}-{name}.npy"
            size = archive.getinfo(f"{name}.npy").file_size
            with contextlib.suppress(OSError):  # a cache that cannot be written only costs memory
                if not kept.is_file() or kept.stat().st_size != size:
                    files.write_with(kept, lambda temporary: _unpack(archive, f"{name}.npy", temporary))
                return np.load(kept, mmap_mode="r", allow_pickle=False)
            with archive.open(f"{name}.npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}).") from error


def _unpack(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    with archive.open(name) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def grid(sizes: Sequence[int]) -> np.ndarray:
    """All combinations of values int32 [rows, factors]; the last factor changes fastest."""
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1).astype(np.int32)


def numbered(labels: np.ndarray) -> np.ndarray:
    """Labels [rows, factors] of any numbers as int32 numbers from 0, in the order of each column's values."""
    columns = [np.unique(column, return_inverse=True)[1] for column in labels.T]
    return np.stack(columns, axis=1).astype(np.int32)


def made(
    name: str,
    path: Path,
    images: np.ndarray,
    factors: np.ndarray,
    names: tuple[str, ...],
    white: int = 255,
    sizes: tuple[int, ...] | None = None,
) -> FactorSet:
    """A `FactorSet`, once its parts are checked.

    Raises:
        DataError: the images are no uint8 [rows, height, width(, channels)] or brighter than white, or the
            factors do not fit them.
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{path} has images of {images.dtype} and shape {list(images.shape)}, expected uint8 [rows, "
            "height, width] or [rows, height, width, channels]; it is another file."
        )
    if not len(images) or images[0].max() > white:
        raise DataError(
            f"{path} has no images, or pixels above {white}, which is white in {name}; it is another file."
        )
    if factors.shape != (len(images), len(names)) or factors.min() < 0:
        raise DataError(
            f"{path} has {len(images)} images and factors of shape {list(factors.shape)}, expected "
            f"[{len(images)}, {len(names)}] of numbers from 0; it is cut or another file."
        )
    images = images if images.ndim == 4 else images[..., None]
    sizes = tuple(int(n) + 1 for n in factors.max(axis=0)) if sizes is None else sizes
    return FactorSet(name, images, factors, names, sizes, white, str(path))
