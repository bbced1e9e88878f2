"""Digits: 1,797 handwritten digits, 8x8 gray, that come with scikit-learn (Alpaydin and Kaynak 1998).

The split "all" has every row, for studies that draw a split for each seed (`lrn.data.split`). "train" has
the first 1,415 rows, "test" the last 382. The rows are ordered by writer, with about 130 rows each, and
the cut lies between two writers, so "test" is harder than the test part of a shuffled split. Ink levels
0..16 are scaled to 0..255.
"""

from __future__ import annotations

import numpy as np

from lrn.data.columns import Image, Label
from lrn.data.spec import DataSpec, Split

_ROWS, _TRAIN = 1797, 1415


def _generate(split: str) -> dict[str, np.ndarray]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    rows = {"all": slice(None), "train": slice(_TRAIN), "test": slice(_TRAIN, None)}[split]
    images = np.round(np.asarray(pixels).reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    return {"image": images[rows], "label": np.asarray(labels)[rows].astype(np.int32)}


SPEC = DataSpec(
    name="digits",
    about="1,797 handwritten digits, 8x8 gray; needs no download.",
    columns={"image": Image(8, 8, 1), "label": Label(10, tuple("0123456789"))},
    splits={"all": Split(_ROWS), "train": Split(_TRAIN), "test": Split(_ROWS - _TRAIN)},
    license="CC BY 4.0",
    citation="Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI Machine Learning "
    "Repository, 1998, doi:10.24432/C50P49 (its test part, as scikit-learn ships it)",
    home="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    generate=_generate,
)
