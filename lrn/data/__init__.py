"""Data sets, each a file of `lrn.data.sets` and loaded by one call, and samplers of batches.

    from lrn import data

    mnist = data.load("mnist", "train")  # "image" uint8 [60000, 28, 28, 1], "label" int32 [60000]
    train, test = data.split(0, mnist.rows, (0.8, 0.2))
    images = data.as_float(mnist["image"][train])

`load` looks in ``$LRN_DATA_DIR/<name>/<split>.parquet``, then in the cache (``~/.cache/lrn/data``), then
downloads from the set's public home. This package imports numpy and no jax; only the samplers
(`lrn.data.sampler`), the augmentations (`lrn.data.augment`) and the generators (`lrn.data.sprites`,
`lrn.data.nuisance_sprites`, `lrn.data.scene`, `lrn.data.captions`, `lrn.data.mnist1d`, `lrn.data.gaussians`,
`lrn.data.content_style`, `lrn.data.hmm`) import jax. Image sets with known factors (dSprites and others) are
large and have readers of their own, `lrn.data.factor_sets`.
"""

from lrn.data.dataset import Dataset, as_float, split
from lrn.data.errors import DataError, DataNotFoundError
from lrn.data.loader import info, load, names

__all__ = ["DataError", "DataNotFoundError", "Dataset", "as_float", "info", "load", "names", "split"]
