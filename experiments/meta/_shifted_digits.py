"""Environments of a classifier: pictures of digits under one kind of shift, for training and deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.meta._deployed_arms import KINDS
from lrn import data
from lrn.data.few_shot import by_class, shrink
from lrn.meta.episode import Episode, draw, joined
from lrn.meta.families.shifted import rotated, shifted
from lrn.study.context import Context

CLASSES = 10
HALF = 0.5  # the strength of the shifts in training, as a part of those at deployment
# The largest shift of a deployment, in the order of KINDS; see `lrn.meta.families.shifted`.
DIALS = {
    "turn": (0.0, 60.0, 0.0, 0.0),
    "brightness": (0.0, 0.3, 0.0, 0.0),
    "contrast": (0.0, 0.6, 0.0, 0.0),
    "noise": (0.0, 0.3, 0.0, 0.0),
    "imbalance": (0.0, 0.0, 3.0, 0.0),
    "renamed": (0.0, 0.0, 0.0, 0.6),
}


def pictures(dataset: str, size: int) -> dict[str, np.ndarray]:
    """Digits for training, validation and test, uint8 [classes, examples, size, size, 1] of equal size."""
    if dataset == "mnist":
        known, new = (data.load("mnist", part) for part in ("train", "test"))
        tables = [by_class(x["image"], x["label"], n) for x, n in ((known, 1000), (new, 500))]
        every = np.concatenate(tables, 1)
    else:
        rows = data.load(dataset, "all")
        every = by_class(rows["image"], rows["label"])
    part = every.shape[1] // 3
    every = shrink(every, size)
    return {p: every[:, i * part : (i + 1) * part] for i, p in enumerate(("train", "validation", "test"))}


def environments(count: int, support: int, queries: int, seed: Any, shared: Any) -> dict[str, Any]:
    """Environments of every kind, leaves [kinds, count, support + queries, ...].

    Args:
        count: environments of a kind. support, queries: pictures of an environment.
        seed: of the environments.
        shared: the pictures by class, the strength of the shifts in [0, 1], and the stream of keys.

    Returns:
        "x", uint8 [..., pixels], and "y"; for who is told the shift, "told x", in which brightness, contrast
        and rotation are undone, "told y", the class, and "prior", the log frequencies of the classes.
    """
    images, strength, stream = shared
    key = jax.random.fold_in(jax.random.key(stream), seed)

    def of_kind(kind: Any) -> Any:
        dials = {name: strength * jnp.array(values)[kind] for name, values in DIALS.items()}
        family = shifted(images, support, queries, **dials)
        return jax.vmap(_told)(draw(family, jax.random.fold_in(key, kind), count))

    return jax.lax.map(of_kind, jnp.arange(len(KINDS)))


def _told(episode: Episode) -> dict[str, Any]:
    both, code = joined(episode), episode.code
    x, angle, brightness, contrast = both["x"], 180 * code[0], code[1], code[2]
    names = code[-(CLASSES**2) :].reshape(CLASSES, CLASSES)  # [class, label]
    often = code[-(CLASSES**2) - CLASSES : -(CLASSES**2)]
    plain = jnp.clip((x - brightness - 0.5) / (1 - contrast) + 0.5, 0, 1)
    plain = jax.vmap(lambda picture: rotated(picture, -angle))(plain)
    return {
        "x": _stored(x),
        "y": both["y"],
        "told x": _stored(plain),
        "told y": names.argmax(0)[both["y"]],
        "prior": jnp.log(jnp.maximum(often, 1e-4)),
    }


def _stored(x: Any) -> Any:
    return jnp.round(255 * x.reshape(len(x), -1)).astype(jnp.uint8)


def seen(x: Any) -> Any:
    """Stored pictures as a network sees them."""
    return x.astype(jnp.float32) / 255


Draw = Callable[[str, float, int], dict[str, np.ndarray]]


def drawer(
    context: Context, images: Mapping[str, np.ndarray], count: int, support: int, queries: int
) -> Draw:
    """``draw(part, strength, stream)``: `environments` with pictures of a part, leaves [seeds, ...]."""
    mapped = context.over_seeds(partial(environments, count, support, queries))
    seeds = np.asarray(context.seeds, np.uint32)
    return lambda part, strength, stream: mapped(
        seeds, (images[part], np.float32(strength), np.uint32(stream))
    )


def pool_of(draw: Draw, rounds: int) -> dict[str, np.ndarray]:
    """Training environments, leaves [seeds, environments, ...]; those of the oracle have the full shift."""
    found: dict[str, np.ndarray] = {}
    for stream, strength, names in ((610, HALF, ("x", "y")), (640, 1.0, ("told x", "told y"))):
        each = [draw("train", strength, stream + i) for i in range(rounds)]
        for k in names:
            found[k] = np.concatenate([x[k].reshape(len(x[k]), -1, *x[k].shape[3:]) for x in each], 1)
    return found


def some_of_each(x: np.ndarray, every: int) -> np.ndarray:
    """The pictures [seeds, n, pixels] of one in ``every`` environments of `pool_of`."""
    return x[:, ::every].reshape(len(x), -1, x.shape[-1])
