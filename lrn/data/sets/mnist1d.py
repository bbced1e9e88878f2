"""MNIST-1D as published: 5,000 one-dimensional digits of 40 points; it needs no file.

The authors' generation makes the signals, with the authors' random numbers (`lrn.data.mnist1d.published`).
A study that needs more signals, or other arguments, draws its own by `lrn.data.mnist1d.sample`.
"""

from __future__ import annotations

import numpy as np

from lrn.data.columns import Label, Series
from lrn.data.spec import DataSpec, Split

_TRAIN, _TEST = 4000, 1000


def _generate(split: str) -> dict[str, np.ndarray]:
    from lrn.data import mnist1d

    rows = {"train": slice(_TRAIN), "test": slice(_TRAIN, None)}[split]
    x, y = mnist1d.published()
    return {"x": x[rows, :, None].astype(np.float32), "label": y[rows].astype(np.int32)}


SPEC = DataSpec(
    name="mnist1d",
    about="5,000 one-dimensional digits of 40 points; needs no download.",
    columns={"x": Series(40), "label": Label(10, tuple("0123456789"))},
    splits={"train": Split(_TRAIN), "test": Split(_TEST)},
    license="Apache-2.0",
    citation="Greydanus and Kobak, Scaling down deep learning with MNIST-1D, ICML 2024",
    home="https://github.com/greydanus/mnist1d",
    generate=_generate,
)
