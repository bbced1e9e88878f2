"""Garments and digits at random places, two labels for each, views with and without crops, and probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ssl._tasks import PARTS, Task, divided, floats
from lrn import data, nets
from lrn.config import config
from lrn.data import mnist1d
from lrn.data.augment import compose, crop_in_time, random_resized_crop
from lrn.data.resize import mean_of_blocks
from lrn.data.sampler import minibatch
from lrn.ssl.joint_embedding import joint_embedding
from lrn.ssl.pretraining import pretrain_on
from lrn.ssl.simclr import nt_xent
from lrn.ssl.views import View
from lrn.study.context import Context
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.probes.linear import linear_probe
from lrn.types import Array, Key, Learner, Net

IMAGES, SEQUENCES = "images", "sequences"
CLASS, PLACE = "class", "place"
ROOM = {IMAGES: 7, SEQUENCES: 26}  # pixels or points over which an object moves, along each axis
INNER = "place test at the embeddings"
CELLS, CLASSES = {IMAGES: 3, SEQUENCES: 9}, {CLASS: 10, PLACE: 9}  # places along each axis; numbers of labels
TINY = 1e-12  # a learning rate that changes no weight
SIDE = 7  # of a garment, in pixels
SCALED, NOISE = 0.4, 0.1  # standard deviations of the scale and of the noise in every view
PENALTIES, FITS, FEW = (1e-3, 1e-2), 50, 64  # of the probe; rows on which views are compared


@config
class Crop:
    """Settings of a lane: the smallest share of a side that a crop keeps (1 for no crop), the temperature."""

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    share: float = 1.0
    temperature: float = 0.15


def lane(rate: float, share: float, temperature: float = 0.15) -> Crop:
    """The settings with a learning rate."""
    return Crop(OptimizerConfig(learning_rate=rate), AverageConfig(), share, temperature)


class Scene(NamedTuple):
    """task: "label" is the class, "place" another column. encoder, head: the networks."""

    name: str
    task: Task
    encoder: Net
    head: Net


def scene(name: str, seeds: Sequence[int], sizes: Sequence[int]) -> Scene:
    """Images of 14 x 14 pixels with a garment of 7 x 7, or sequences of 40 points with a digit."""
    rng, count, head = np.random.default_rng(0), 2 * sum(sizes), nets.projector(32, (64,))
    room, cells = ROOM[name], CELLS[name]
    axes = 2 if name == IMAGES else 1
    shift = rng.integers(0, room + 1, (count, axes))
    cell = shift * cells // (room + 1)
    place = cell @ cells ** np.arange(axes)
    if name == IMAGES:
        whole = data.load("fashion_mnist", "train")
        rows = rng.permutation(len(whole["label"]))[:count]
        small, label = mean_of_blocks(np.asarray(whole["image"])[rows], 4), np.asarray(whole["label"])[rows]
        x = np.zeros((count, room + SIDE, room + SIDE, 1), np.uint8)
        for one, garment, (down, right) in zip(x, small, shift):
            one[down : down + SIDE, right : right + SIDE] = garment
        encoder = nets.cnn(None, (8, 16), (64,), kernel=4, down="stride")
    else:
        label = rng.integers(0, mnist1d.CLASSES, count).astype(np.int32)
        still = mnist1d.Mnist1dConfig(translation=1, shear=0.0)  # all digits at the first place
        x = np.asarray(mnist1d.sample(jax.random.key(0), label, still))
        x = np.stack([np.roll(one, by, axis=0) for one, (by,) in zip(x, shift)])
        encoder = nets.cnn1d(64, (16, 32, 32))
    column = "image" if name == IMAGES else "x"
    of = divided({column: x, "label": label, PLACE: place.astype(np.int32)}, seeds, sizes)
    return Scene(name, of, encoder, head)


def crop(name: str, share: Any) -> View:
    """Crops that keep at least a share of each side, and are resized; nothing changes with a share of 1."""
    if name == IMAGES:
        return random_resized_crop(scale=(share * share, 1.0), ratio=(1.0, 1.0))
    return crop_in_time((share, 1.0))


def view(name: str, share: Any) -> View:
    """A crop, another scale of the values, and noise."""

    def other(key: Key, x: Array) -> Array:
        scale_key, key = jax.random.split(key)
        scale = 1 + SCALED * jax.random.normal(scale_key, (x.shape[0], *(1,) * (x.ndim - 1)))
        return x * scale + NOISE * jax.random.normal(key, x.shape)

    return compose(crop(name, share), other)


def learner(of: Scene, config: Crop) -> Learner:
    """SimCLR with the crops of a lane."""

    def pair_loss(a: Array, b: Array) -> tuple[Array, dict[str, Array]]:
        return nt_xent(a, b, config.temperature), {}

    return pretrain_on(joint_embedding(of.encoder, of.head, view(of.name, config.share), pair_loss), config)


def probed(h: dict[str, Array], y: dict[str, Array], classes: int) -> dict[str, Array]:
    """The accuracies of a linear probe, its penalty chosen on validation rows."""
    probe = linear_probe(
        h["train"], y["train"], h["validation"], y["validation"], classes, l2=PENALTIES, steps=FITS
    )
    right = jnp.mean(jnp.argmax(probe.logits(h["test"]), 1) == y["test"], dtype=jnp.float32)
    return {"validation": probe.accuracy[probe.chosen], "test": right}


def judged(of: Scene, shares: Sequence[float]) -> Callable[[Any, Any], dict[str, Array]]:
    """A function of one seed that probes its networks for both labels.

    It maps ``own``, {"params", "states": leaves [lanes, ...], "rows", "seed"}, and the data to {"class
    validation", "class test", "place validation", "place test", and `INNER`: accuracies [lanes]; "changed":
    the mean change of an input by the crops of each share, [shares]; "mixed": the accuracy of a probe of the
    first lane's features for classes in random order}.
    """

    def each(own: Any, arrays: Any) -> dict[str, Array]:
        rows, key = own["rows"], jax.random.key(own["seed"] + 1)
        x = {part: floats(arrays[of.task.column][rows[part]]) for part in PARTS}
        labels = {CLASS: arrays["label"], PLACE: arrays[PLACE]}
        y = {what: {part: labels[what][rows[part]] for part in PARTS} for what in labels}

        def embed(params: Any, states: Any) -> dict[str, Array]:
            return {part: of.encoder.apply(params, states, v)[0] for part, v in x.items()}

        def one(run: tuple[Any, Any]) -> dict[str, Array]:
            h, found = embed(run[0]["encoder"], run[1]["encoder"]), {}
            for what in labels:
                values = probed(h, y[what], CLASSES[what])
                found |= {f"{what} {part}": value for part, value in values.items()}
            z = {part: of.head.apply(run[0]["head"], run[1]["head"], v)[0] for part, v in h.items()}
            return found | {INNER: probed(z, y[PLACE], CLASSES[PLACE])["test"]}

        found = jax.lax.map(one, (own["params"], own["states"]))
        few = x["test"][:FEW]
        found["changed"] = jnp.stack(
            [jnp.mean(jnp.abs(crop(of.name, share)(key, few) - few)) for share in shares]
        )
        parts = zip(PARTS, jax.random.split(key, len(PARTS)))
        mixed = {part: jax.random.permutation(each, y[CLASS][part]) for part, each in parts}
        first = jax.tree.map(lambda leaf: leaf[0], (own["params"]["encoder"], own["states"]["encoder"]))
        return found | {"mixed": probed(embed(*first), mixed, CLASSES[CLASS])["test"]}

    return each


def trained(
    context: Context,
    name: str,
    sizes: Sequence[int],
    batch: int,
    steps: int,
    rate: float,
    shares: Sequence[float],
    temperatures: Sequence[float],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The rows of each seed, and what `judged` finds [seeds, lanes]; the first lane is not trained.

    The other lanes are the shares, each with every temperature. `scene`, `lane` and `lrn.train.fit` explain
    the arguments.
    """
    of = scene(name, context.seeds, sizes)
    lanes = {f"{name}, not trained": lane(TINY, 1.0)}
    lanes |= {f"{name}, share {s}, T={t}": lane(rate, s, t) for s in shares for t in temperatures}
    fit = context.fit(
        partial(learner, of),
        lanes,
        name=name,
        steps=steps,
        data=of.task.data,
        per_seed=of.task.rows,
        sampler=minibatch(batch, rows="train", columns=(of.task.column,)),
    )
    parts = {"params": fit.state.training.params, "states": fit.state.training.net_state}
    own = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), parts)
    own |= {"rows": of.task.rows, "seed": np.asarray(context.seeds, np.uint32)}
    return of.task.rows, context.per_seed(f"judged {name}", judged(of, shares), own, of.task.data)
