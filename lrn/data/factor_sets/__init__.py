"""Image sets with known factors: dSprites, 3D Shapes, MPI3D and smallNORB, read from their authors' files.

    from lrn.data import factor_sets

    sprites = factor_sets.load("dsprites")
    rows = np.arange(64)
    images, factors = sprites.pixels(rows), sprites.factors[rows]

The files are large, so nothing is downloaded: `load` looks in ``$LRN_DATA_DIR/<name>/`` and says what it
looked for. Each file of this folder is one set. Images are memory-mapped where that is possible.
"""

from __future__ import annotations

import importlib
import pkgutil

from lrn import check
from lrn.data.factor_sets._factor_set import FactorSet

__all__ = ["FactorSet", "load", "names"]


def names() -> tuple[str, ...]:
    """The names of the known sets, which are the modules of this package."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def load(name: str, split: str = "train") -> FactorSet:
    """Load an image set with known factors.

    Args:
        name: one of `names`.
        split: "train", or "test" for smallNORB; the other sets have one split. For MPI3D "train" is the
            set of real pictures, and "toy", "realistic" and "real_complex" are the others.

    Raises:
        InputError: the name or the split is not known.
        DataNotFoundError: the file is not there; a FileNotFoundError.
        DataError: the file is damaged or of another form; a ValueError.
    """
    check.choice("image set", name, names())
    module = importlib.import_module(f"{__name__}.{name}")
    check.choice(f"split of {name}", split, module.SPLITS)
    return module.read(split)
