"""dSprites: 737,280 white sprites, 64x64, of five factors (Matthey, Higgins, Hassabis and Lerchner 2017)."""

from __future__ import annotations

import numpy as np

from lrn.data.factor_sets._factor_set import FactorSet, find, made, member

SPLITS = ("train",)
NAMES = ("shape", "scale", "orientation", "x", "y")
FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"


def read(split: str) -> FactorSet:
    """The set, from the authors' npz; the color, which has one value, is left out."""
    del split
    path = find("dsprites", (FILE,), "the file from https://github.com/google-deepmind/dsprites-dataset")
    images = member(path, "imgs")
    classes = np.asarray(member(path, "latents_classes"))
    return made("dsprites", path, images, classes[:, 1:].astype(np.int32), NAMES, white=1)
