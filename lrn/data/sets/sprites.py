"""Sprites: a fixed sample of pictures rendered from known factors (`lrn.data.sprites`); it needs no file.

The splits have 4,096 and 1,024 pictures of 64x64 RGB. The factors were drawn uniformly from dSprites'
values and eight colors; they are the columns besides ``image``. A study that needs other or more factors
renders its own pictures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from lrn.data.columns import Image, Label, Numeric
from lrn.data.spec import DataSpec, Split

_ROWS = {"train": 4096, "test": 1024}
_SEED = {"train": 0, "test": 1}
_SIZE = 64
_BATCH = 512


@functools.cache
def _draw() -> Callable[[Any], Any]:
    """The compiled function from factors [pictures] to uint8 [pictures, H, W, 3]; only this imports jax."""
    import jax
    import jax.numpy as jnp

    from lrn.data import sprites

    def draw(factors: sprites.Factors) -> jax.Array:
        pictures = jax.vmap(lambda one: sprites.render(one, _SIZE))(factors)
        return jnp.round(pictures * 255).astype(jnp.uint8)

    return jax.jit(draw)


def _generate(split: str) -> dict[str, np.ndarray]:
    import jax

    from lrn.data import sprites

    factors = sprites.sample(jax.random.key(_SEED[split]), (_ROWS[split],))
    parts = [jax.tree.map(lambda x, i=i: x[i : i + _BATCH], factors) for i in range(0, _ROWS[split], _BATCH)]
    columns = {"image": np.concatenate([np.asarray(_draw()(part)) for part in parts])}
    for name, value in factors._asdict().items():
        columns[name] = np.asarray(value, np.int32 if name == "shape" else np.float64)
    return columns


SPEC = DataSpec(
    name="sprites",
    about="5,120 rendered sprites with their six factors, 64x64 RGB on black; needs no download.",
    columns={
        "image": Image(_SIZE, _SIZE, 3),
        "color": Numeric(),
        "shape": Label(3, ("square", "ellipse", "heart")),
        "scale": Numeric(),
        "orientation": Numeric(),
        "x": Numeric(),
        "y": Numeric(),
    },
    splits={split: Split(rows) for split, rows in _ROWS.items()},
    license="Apache-2.0, as this library",
    citation="factors after Matthey, Higgins, Hassabis and Lerchner, dSprites, 2017",
    home="https://github.com/google-deepmind/dsprites-dataset",
    generate=_generate,
)
