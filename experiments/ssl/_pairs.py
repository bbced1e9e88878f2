"""Images and texts of the cross-modal study: sets, networks, trainings, and alignments of frozen features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ssl._tasks import Task, divided, floats
from lrn import data, nets
from lrn.config import config
from lrn.data.augment import random_crop
from lrn.data.captions import TOKENS
from lrn.data.captions import pairs as sprite_pairs
from lrn.data.emoji_pairs import emoji_pairs
from lrn.data.sampler import permute
from lrn.ssl.cross_modal import Modality
from lrn.ssl.matching import distances, gromov_wasserstein, procrustes_wasserstein
from lrn.ssl.pretraining import encode, weights
from lrn.ssl.retrieval import retrieval
from lrn.ssl.semi_paired import SemiPairedConfig, semi_paired
from lrn.ssl.similarity import unit
from lrn.ssl.text_views import dropped_tokens
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Key, Learner, Sampler

SPRITES, EMOJI = "sprites and captions", "emoji and names"
SIDE, DIM, KS, NOISE = 16, 32, (1, 10), 0.05
EPSILONS, STARTS, SHARP = (0.005, 0.02, 0.08), 4, 0.05  # of Gromov-Wasserstein; of Procrustes-Wasserstein
METRICS = tuple(f"recall@{k} beyond chance{way}" for way in ("", ", image to text") for k in KS)
ONE, TEN, ONE_BACK, _ = METRICS


def pair_task(name: str, seeds: Sequence[int], sizes: Sequence[int]) -> tuple[Task, int]:
    """Pairs that each seed divides anew, and the number of token ids."""
    if name == SPRITES:
        columns, tokens = sprite_pairs(jax.random.key(0), sum(sizes), SIDE), TOKENS
    else:
        columns, tokens = emoji_pairs(data.load("emoji"))
        blocks = columns["image"].reshape(-1, SIDE, 48 // SIDE, SIDE, 48 // SIDE, 3)
        columns["image"] = np.round(blocks.mean((2, 4))).astype(np.uint8)
    return divided({c: columns[c] for c in ("image", "text", "label")}, seeds, sizes), tokens


def view(key: Key, x: Array) -> Array:
    """Images shifted by up to an eighth of their side, brighter or darker, with noise.

    The view is weak, because captions name place and color.
    """
    shift, gain, noise = jax.random.split(key, 3)
    light = jax.random.uniform(gain, (x.shape[0], 1, 1, 1), minval=0.7, maxval=1.3)
    return jnp.clip(
        random_crop(SIDE, SIDE // 8)(shift, x) * light + 0.05 * jax.random.normal(noise, x.shape), 0, 1
    )


def modalities(tokens: int) -> tuple[Modality, Modality]:
    """The networks and views of images and of texts."""
    image = Modality(nets.cnn(DIM, (8, 16), (64,), kernel=4, down="stride"), nets.mlp(DIM, (64,)), view)
    text = nets.ngram_bag(DIM, tokens, width=32, hidden=(64,))
    return image, Modality(text, nets.mlp(DIM, (64,)), dropped_tokens(0.2))


@config
class Lane:
    """One training: the settings, and the place among the levels of pairs from which it draws."""

    settings: SemiPairedConfig
    level: float = 0.0


def lane(rate: float, level: int = 0, alone: float = 1.0) -> Lane:
    """A training at a rate. alone: the weight of SimCLR's losses; without them this is CLIP."""
    return Lane(SemiPairedConfig(OptimizerConfig(learning_rate=rate), alone_weight=alone), float(level))


def learner(both: tuple[Modality, Modality], own: Lane) -> Learner:
    """`semi_paired`, on the pairs of one level."""
    whole = semi_paired(*both, own.settings)

    def of(batch: Batch) -> dict[str, Array]:
        level = jnp.asarray(own.level, jnp.int32)
        alone = {k: x for k, x in batch.items() if k.endswith("alone")}
        return alone | {k: jnp.take(x, level, axis=1) for k, x in batch.items() if k not in alone}

    return Learner(
        lambda key, batch: whole.init(key, of(batch)),
        lambda key, state, batch: whole.step(key, state, of(batch)),
    )


def drawn(levels: Sequence[str], batch: int, alone: int) -> Sampler:
    """Pairs of each level [batch, levels, ...], without repeats, and texts and images alone.

    The data list the rows of the images and of the texts of each level, so that pairs can be wrong.
    """

    def rows(x: Array, places: Array) -> Array:
        return floats(jnp.take(x, places, axis=0))

    def draw(key: Key, data: Mapping[str, Array]) -> Batch:
        paired_key, *keys = jax.random.split(key, 3)
        out = {}
        if levels:
            places = [permute(paired_key, jnp.arange(batch), data[f"image {n}"].shape[0]) for n in levels]
            for name in ("image", "text"):
                chosen = [data[f"{name} {n}"][p] for n, p in zip(levels, places)]
                out[name] = rows(data[name], jnp.stack(chosen, axis=1))
        for name, each in zip(("image", "text"), keys):
            out[f"{name}_alone"] = rows(data[name], jax.random.choice(each, data["train"], (alone,)))
        return out

    return Sampler(draw)


def beyond(text: Array, image: Array) -> dict[str, Array]:
    """Instance recall minus chance, of texts that look for images, and back."""
    found = [hits.recall - hits.chance for hits in retrieval(text, image, KS)]
    return dict(zip(METRICS, jnp.concatenate(found)))


def outputs(
    both: tuple[Modality, Modality], state: Any, rows: Array, data: Mapping[str, Any], head: bool
) -> tuple[Array, Array]:
    """Features [n, dim] of the texts and of the images of rows: of the heads, or else of the encoders."""
    found = []
    for modality, prefix, column in zip(both, ("", "text_"), ("image", "text")):
        x = floats(jnp.take(data[column], rows, axis=0))
        h = encode(modality.encoder, state, x, name=f"{prefix}encoder")
        found.append(modality.head.apply(*weights(state, f"{prefix}head"), h)[0] if head else h)
    return found[1], found[0]


def linear(text: Array, image: Array, n: Array, penalty: Array) -> Array:
    """The map [dim, dim] from texts to images of ridge regression on the first n pairs of unit features."""
    used = jnp.where(jnp.arange(text.shape[0]) < n, 1 / n, 0.0)[:, None] * text
    return jnp.linalg.solve(text.T @ used + penalty * jnp.eye(text.shape[1]), used.T @ image)


def unpaired(key: Key, text: Array, image: Array, steps: int) -> tuple[Array, Array]:
    """A rotation of texts onto images by Gromov-Wasserstein and Procrustes-Wasserstein, and its loss.

    Of the tries the one with the smallest loss of Procrustes-Wasserstein is kept, whose settings are the same
    in all. No pair is known: text [n, dim] and image [n, dim], unit features, have orders of their own.
    """
    apart, tries = (distances(text), distances(image)), len(EPSILONS) * STARTS

    def one(given: tuple[Key, Array]) -> tuple[Array, Array]:
        start = jnp.exp(jax.random.normal(given[0], (text.shape[0], image.shape[0])))
        match = gromov_wasserstein(*apart, given[1], iterations=steps, inner=20, hot=20.0, start=start)
        return refined(text, image, match.plan, steps)

    every = jnp.asarray(EPSILONS * STARTS, jnp.float32)
    rotations, losses = jax.lax.map(one, (jax.random.split(key, tries), every))
    best = jnp.argmin(losses)
    return rotations[best], losses[best]


def refined(text: Array, image: Array, plan: Array, steps: int) -> tuple[Array, Array]:
    """The rotation of Procrustes-Wasserstein from a plan, and its loss."""
    rotation, match = procrustes_wasserstein(text, image, plan, SHARP, iterations=steps, inner=20)
    return rotation, match.loss


def centered(train: Array, *others: Array) -> list[Array]:
    """Unit features, less the mean over training rows."""
    return [unit(x - jnp.mean(train, axis=0)) for x in (train, *others)]


def turned(key: Key, x: Array) -> Array:
    """A copy of unit features in another rotation, with noise: what matching must find."""
    turn, noise = jax.random.split(key)
    rotation = jnp.linalg.qr(jax.random.normal(turn, (x.shape[1], x.shape[1])))[0]
    return unit(x @ rotation + NOISE * jax.random.normal(noise, x.shape))
