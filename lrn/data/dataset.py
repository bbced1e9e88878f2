"""`Dataset`, the immutable result of `load`, and two helpers: floats from pixels, and splits."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from lrn import check


@dataclass(frozen=True, eq=False)
class Dataset(Mapping[str, np.ndarray]):
    """One split of a data set: named, read-only columns of equal length, and their source.

    Images are uint8 [rows, H, W, C]; labels int32 [rows]; categories and texts numpy strings [rows]; numbers
    int64 or float64 [rows], with NaN for missing numbers.

    Attributes:
        name: the name of the data set.
        split: the name of the split.
        columns: from the name of a column to its array; ``dataset[column]`` is the same array.
        source: the path of the file that was read, or "generated".
        sha256: the SHA-256 of that file, or of the columns if they were generated.
        license: the terms of use of the data.
    """

    name: str
    split: str
    columns: Mapping[str, np.ndarray] = field(repr=False)
    source: str
    sha256: str
    license: str

    def __post_init__(self) -> None:
        for column in self.columns.values():
            column.setflags(write=False)
        object.__setattr__(self, "columns", MappingProxyType(dict(self.columns)))

    @property
    def rows(self) -> int:
        """The number of rows of every column."""
        return len(next(iter(self.columns.values())))

    def take(self, rows: np.ndarray) -> Dataset:
        """The data set with some of its rows.

        Args:
            rows: indices [n], or a boolean mask [self.rows].

        Raises:
            ValueError: an index is out of range, or the mask has another length.
        """
        rows = np.asarray(rows)
        if rows.dtype == bool:
            if rows.shape != (self.rows,):
                raise ValueError(
                    f"the mask has shape {list(rows.shape)}, expected [{self.rows}]: one entry per row."
                )
        elif rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            raise ValueError(
                f"rows must list indices or be a boolean mask, got {rows.dtype} of shape {list(rows.shape)}."
            )
        elif len(rows) and not (rows.min() >= 0 and rows.max() < self.rows):
            raise ValueError(
                f"rows must lie between 0 and {self.rows - 1}, got {rows.min()} to {rows.max()}; "
                f"{self.name}/{self.split} has {self.rows} rows."
            )
        return replace(self, columns={name: column[rows] for name, column in self.columns.items()})

    def __getitem__(self, column: str) -> np.ndarray:
        if column not in self.columns:
            hint = check.nearest(str(column), self.columns)
            raise KeyError(f"{self.name}/{self.split} has no column {column!r}; {hint}")
        return self.columns[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        """The number of columns; `rows` is the number of rows."""
        return len(self.columns)


def as_float(images: Any) -> Any:
    """Pixels as float32 in [0, 1], from uint8 in 0..255.

    Args:
        images: a uint8 array of any shape, of numpy or jax; may be traced.

    Raises:
        ValueError: the array is not uint8; other types have no standard scale.
    """
    dtype = getattr(images, "dtype", None)
    if dtype != np.uint8:
        raise ValueError(
            f"as_float scales uint8 pixels, got {dtype or type(images).__name__}; pass the images as loaded."
        )
    return images.astype(np.float32) / np.float32(255)


def split(seed: Any, rows: int, fractions: Sequence[float]) -> tuple[Any, ...]:
    """Shuffle row indices and cut them into disjoint parts.

    Args:
        seed: an int, with which numpy's PCG64 shuffles and no jax is imported; or a jax key, which may be
            traced or vmapped over, because the sizes of the parts depend only on ``rows`` and
            ``fractions``. An int and the key made from it give different splits.
        rows: the number of rows.
        fractions: the fraction of the rows in each part; with a sum below 1 rows are left out.

    Returns:
        One int32 array of indices for each fraction.

    Raises:
        ValueError: a fraction is not positive, the fractions sum to more than 1, or a part would be empty.
    """
    check.integer("rows", rows, low=1)
    if not len(fractions):
        raise ValueError("split needs at least one fraction, got none; give (0.8, 0.2) for instance.")
    for fraction in fractions:
        check.positive("a fraction", fraction)
    total = float(np.sum(fractions))
    if total > 1 + 1e-9:
        raise ValueError(f"the fractions sum to {total:g}; make them sum to at most 1.")
    cuts = [0, *(round(float(c) * rows) for c in np.cumsum(fractions))]
    sizes = [int(b) - int(a) for a, b in itertools.pairwise(cuts)]
    if 0 in sizes:
        raise ValueError(
            f"fraction {fractions[sizes.index(0)]:g} of {rows} rows is an empty part; "
            "use more rows or a larger fraction."
        )
    order = _permutation(seed, rows)
    return tuple(order[a:b] for a, b in itertools.pairwise(cuts))


def _permutation(seed: Any, rows: int) -> Any:
    if isinstance(seed, numbers.Integral) and not isinstance(seed, bool):
        check.integer("seed", seed)
        return np.random.default_rng(int(seed)).permutation(rows).astype(np.int32)
    if not hasattr(seed, "dtype"):
        raise ValueError(f"the seed of a split must be an int or a jax key, got {seed!r}.")
    import jax

    if not jax.numpy.issubdtype(seed.dtype, jax.dtypes.prng_key) or seed.shape != ():
        raise ValueError(
            f"the seed of a split must be an int or one typed jax key, got {seed.dtype} of shape "
            f"{list(seed.shape)}; make one with jax.random.key(seed)."
        )
    return jax.random.permutation(seed, rows)
