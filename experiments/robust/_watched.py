"""Training that keeps the weights which are best on validation images, at several lengths of the training.

One step of the learner is an epoch: some steps of another learner, and then the accuracy on validation images
under an attack. No test image is read. The whole data set is handed through the batch, so that arms with
unequal numbers of training images share one program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.data.loader import load
from lrn.robust.attack import Attack
from lrn.robust.losses import is_correct
from lrn.supervised import early_stopping
from lrn.supervised.early_stopping import EarlyStopping
from lrn.types import Array, Batch, Key, Learner, Metrics, Net, PyTree, Sampler

FOREVER = 2**30  # the patience of a training that never stops; it only remembers


class Images(NamedTuple):
    """Images of a set, and the rows that each seed uses.

    data: "image" uint8 [rows, height, width, channels] and "label" [rows], of all splits.
    train, valid, test: integers [seeds, n], disjoint for each seed.
    """

    data: dict[str, np.ndarray]
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


class Kept(NamedTuple):
    """Weights at each mark, leaves [marks, ...].

    best: the weights until then with the best validation accuracy. last: the weights then.
    accuracy: the best validation accuracy until then [marks].
    """

    best: PyTree
    last: PyTree
    accuracy: Array


class Watched(NamedTuple):
    """The state: that of the learner, the best weights so far, those kept at marks, and the epoch."""

    state: Any
    stop: EarlyStopping
    kept: Kept
    epoch: Array


def images(name: str, seeds: Sequence[int], train: int, valid: int, test: int) -> Images:
    """So many rows for each seed, drawn without replacement; test images of the set's test split.

    A set without a test split is divided anew for each seed.
    """
    splits = ("all",) if name == "digits" else ("train", "test")
    parts = [load(name, split) for split in splits]
    data = {column: np.concatenate([part[column] for part in parts]) for column in ("image", "label")}
    first = parts[0].rows if len(parts) > 1 else train + valid
    rows = []
    for seed in seeds:
        order = np.random.default_rng([seed, 1]).permutation
        own = order(len(data["label"])) if len(parts) == 1 else order(parts[0].rows)
        judged = own[first:] if len(parts) == 1 else first + order(parts[1].rows)
        rows.append((own[:train], own[train : train + valid], judged[:test]))
    return Images(data, *(np.stack(part).astype(np.int32) for part in zip(*rows)))


def take(data: Any, rows: Array) -> tuple[Array, Array]:
    """Images as floats in [0, 1] and labels, of some rows."""
    return jnp.asarray(data["image"])[rows].astype(jnp.float32) / 255, jnp.asarray(data["label"])[rows]


def whole(drawn: int) -> Sampler:
    """A sampler that hands on the whole data, with ``drawn`` uniform numbers "at" which examples lie."""

    def draw(key: Key, data: Any) -> Batch:
        return {"at": jax.random.uniform(key, (drawn,)), **data}

    return Sampler(draw)


def watched(
    learner: Learner, net: Net, attack: Attack, steps: int, marks: Sequence[int], count: Any
) -> Learner:
    """A learner of epochs, each of some steps of ``learner``.

    The metrics are the means of the learner's, and ``validation``, the accuracy under the attack.

    Args:
        learner: a learner of images whose state has ``params`` and ``net_state``.
        net: its network.
        attack: the attack on the validation images.
        steps: the steps of an epoch.
        marks: the epochs, counted from 1, at which weights are kept.
        count: the number of training images, at most those of the seed; may be traced.
    """

    def batch_of(data: Batch, at: Array) -> Batch:
        places = jnp.minimum((at * count).astype(jnp.int32), data["train"].shape[0] - 1)
        x, y = take(data, data["train"][places])
        return {"image": x, "label": y}

    def init(key: Key, batch: Batch) -> Watched:
        state = learner.init(key, batch_of(batch, batch["at"].reshape(steps, -1)[0]))
        weights = state.params, state.net_state
        several = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(marks)), weights)
        kept = Kept(several, several, jnp.zeros(len(marks)))
        return Watched(state, early_stopping.begin(weights), kept, jnp.zeros((), jnp.int32))

    def step(key: Key, watch: Watched, batch: Batch) -> tuple[Watched, Metrics]:
        train_key, valid_key = jax.random.split(key)

        def one(state: Any, item: tuple[Key, Array]) -> tuple[Any, Metrics]:
            return learner.step(item[0], state, batch_of(batch, item[1]))

        draws = jax.random.split(train_key, steps), batch["at"].reshape(steps, -1)
        state, metrics = jax.lax.scan(one, watch.state, draws)
        weights = state.params, state.net_state
        accuracy = _accuracy(valid_key, net, weights, attack, *take(batch, batch["valid"]))
        stop = early_stopping.update(watch.stop, weights, accuracy, FOREVER, larger_is_better=True)
        epoch = watch.epoch + 1
        now = Kept(stop.best, weights, stop.metric)
        kept = jax.tree.map(
            lambda old, new: jnp.where(
                (jnp.asarray(marks) == epoch).reshape(-1, *[1] * new.ndim), new[None], old
            ),
            watch.kept,
            now,
        )
        means = jax.tree.map(jnp.mean, dict(metrics))
        return Watched(state, stop, kept, epoch), {**means, "validation": accuracy}

    return Learner(init, step)


def _accuracy(key: Key, net: Net, weights: PyTree, attack: Attack, x: Array, y: Array) -> Array:
    def logits_fn(z: Array) -> Array:
        return net.apply(weights[0], weights[1], z)[0]

    return jnp.mean(is_correct(logits_fn(attack(key, logits_fn, x, y)), y), dtype=jnp.float32)
