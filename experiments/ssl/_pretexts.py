"""Families of objectives on one trunk, their cost, and what is measured of their features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ssl._interpolation import errors
from experiments.ssl._patches import side_by_side
from experiments.ssl._tasks import PARTS, Task, floats, image_view, probed, sequence_view
from lrn import nets
from lrn.config import config
from lrn.data.sampler import minibatch
from lrn.ssl.deep_cluster import DeepClusterConfig, deep_cluster
from lrn.ssl.mae import MAEConfig, mae
from lrn.ssl.masking import count
from lrn.ssl.moco import MoCoConfig, moco
from lrn.ssl.nce import NCEConfig, nce
from lrn.ssl.simclr import SimCLRConfig, simclr
from lrn.ssl.swav import SwAVConfig, swav
from lrn.ssl.views import View
from lrn.study.context import Context
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.probes.knn import knn_votes
from lrn.types import Array, Key, Learner, MaskedNet, Net

NCE, SIMCLR, MOCO, SWAV, DEEP, MAE = "NCE", "SimCLR", "MoCo", "SwAV", "DeepCluster-v2", "MAE"
RANDOM, STRANGERS, TINY = "random encoder", "SimCLR of strangers", 1e-12
# The rates that each method of a family tries, six candidates a family, by the number of its methods.
RATES = {3: (3e-3, 1e-2), 2: (3e-3, 1e-2, 3e-2), 1: (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)}
CONTRASTIVE, MASKED, CLUSTERING = "contrastive", "masked", "clustering"
FAMILIES = {CONTRASTIVE: (SIMCLR, NCE, MOCO), MASKED: (MAE,), CLUSTERING: (SWAV, DEEP)}
PAIR = 6  # the passes of two views through the trunk, where a backward pass counts as two
SHARE, SLIM = 0.5, 2  # MAE hides so much of a grid; its decoder is narrower by this factor
SEGMENT, TEMPERATURE, HEADS = 5, 0.2, 4
PROTOTYPES, QUEUE, NEIGHBORS, MOMENTUM = 32, 512, 10, 0.98


@config
class Lane:
    """Settings of a training.

    rate: of Adam. strangers: 1 where the two views are of different examples.
    """

    rate: float
    strangers: float = 0.0


class Trunk(NamedTuple):
    """The networks of all methods, and their view.

    encoder: a transformer over places. net: its features: of images the tokens of all places side by side, of
    sequences their mean.
    head: maps features to embeddings. decoder: that of MAE. view: draws a view of a batch.
    places: the number of places.
    """

    encoder: MaskedNet
    net: Net
    head: Net
    decoder: Net
    view: View
    places: int


def trunk(task: Task, width: int, depth: int) -> Trunk:
    """A transformer over 16 patches of an image, or over segments of a sequence.

    Args:
        task: the data. width: of a token and of the features. depth: the number of blocks.
    """
    x = task.data[task.column]
    if task.column == "image":
        side = x.shape[1] // 4
        encoder = nets.masked_vit(side, width, depth, HEADS, hidden=2 * width, mean=0.2, std=0.3)
        net = side_by_side(encoder)
        view, places, values = image_view(), 16, side * side
    else:
        encoder = nets.sequence_transformer(SEGMENT, width, depth, HEADS, hidden=2 * width)
        net = encoder.net
        view, places, values = sequence_view(), x.shape[1] // SEGMENT, SEGMENT
    decoder = nets.mask_decoder(values, places, width // SLIM, 1, HEADS, hidden=2 * width // SLIM)
    return Trunk(encoder, net, nets.projector(32, (64,)), decoder, view, places)


def cost(method: str, depth: int) -> float:
    """The cost of an example, in passes through the trunk; a backward pass counts as two.

    The head is left out. The decoder of MAE is one block over all places, whose matrices have as many fewer
    entries as its width squared.
    """
    if method == MAE:
        return 3 * ((1 - SHARE) * depth + SLIM**-2) / depth
    return 4.0 if method == MOCO else float(PAIR)  # MoCo's second view has no backward pass


def steps_of(method: str, depth: int, pairs: int) -> int:
    """The number of steps that cost as much as ``pairs`` steps of two views."""
    return round(pairs * PAIR / cost(method, depth))


def learner(method: str, of: Trunk, steps: int, lane: Lane) -> Learner:
    """The learner of a method; the rate rises over a tenth of the steps, then falls along a cosine."""
    optimizer = OptimizerConfig(learning_rate=lane.rate, schedule="cosine", steps=steps, warmup=steps / 10)
    net, head = of.net, of.head

    def view(key: Key, x: Array) -> Array:
        key, order_key = jax.random.split(key)
        order = jax.random.permutation(order_key, x.shape[0])
        return of.view(key, jnp.where(lane.strangers > 0, x[order], x))

    if method == MAE:
        return mae(
            of.encoder, of.decoder, lambda key, x: x, MAEConfig(hidden(of), optimizer, normalize=False)
        )
    if method == NCE:
        return nce(net, head, view, NCEConfig(optimizer, temperature=TEMPERATURE))
    if method == SIMCLR:
        return simclr(net, head, view, SimCLRConfig(optimizer, temperature=TEMPERATURE))
    if method == MOCO:
        slow = MoCoConfig(optimizer, temperature=TEMPERATURE, momentum=MOMENTUM, queue=QUEUE)
        return moco(net, head, view, slow)
    if method == SWAV:
        return swav(net, head, view, SwAVConfig(optimizer, prototypes=PROTOTYPES))
    return deep_cluster(net, head, view, DeepClusterConfig(optimizer, prototypes=PROTOTYPES, bank=QUEUE))


def arm(place: str, what: str) -> str:
    """The arm of a family, a method or a reference in a regime."""
    return f"{place}, {what}"


def families(most: int) -> dict[str, tuple[str, ...]]:
    """The first ``most`` methods of each family."""
    return {family: methods[:most] for family, methods in FAMILIES.items()}


def tried(most: int) -> dict[str, dict[str, Lane]]:
    """The trainings of each program, by name.

    SimCLR's begins with a rate that changes no weight, hence a random encoder, and a planted error.
    """
    lanes = {SIMCLR: {RANDOM: Lane(TINY), STRANGERS: Lane(RATES[3][0], strangers=1.0)}}
    for methods in families(most).values():
        for method in methods:
            own = lanes.setdefault(method, {})
            own.update({f"{method}, rate {r:g}": Lane(r) for r in RATES[len(methods)]})
    return lanes


def trained(
    context: Context,
    task: Task,
    of: Trunk,
    place: str,
    lanes: Mapping[str, Mapping[str, Lane]],
    steps: int,
    batch: int,
    depth: int,
) -> dict[str, Any]:
    """Train all of `tried`, at the cost of ``steps`` steps of two views; returns what `judged` takes."""
    params = {}
    for method, own in lanes.items():
        count = steps_of(method, depth, steps)
        fit = context.fit(
            partial(learner, method, of, count),
            {arm(place, what): lane for what, lane in own.items()},
            name=arm(place, method),
            steps=count,
            data=task.data,
            per_seed=task.rows,
            sampler=minibatch(batch, rows="train", columns=(task.column,)),
            log_every=max(1, count // 10),
        )
        params[method] = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), fit.state.training.params)
    encoders = jax.tree.map(lambda *x: np.concatenate(x, 1), *(p["encoder"] for p in params.values()))
    masked = {"masked": params[MAE]["encoder"], "decoders": params[MAE]["decoder"]}
    return {**task.rows, "seed": np.asarray(context.seeds, np.uint32), "encoders": encoders, **masked}


def hidden(of: Trunk) -> int:
    """The number of places that MAE hides."""
    return count(SHARE, of.places)


def judged(of: Trunk, labels: tuple[int, int], classes: int) -> Callable[[Any, Any], dict[str, Array]]:
    """A function of one seed: what linear probes and nearest neighbors find.

    Args:
        of: the networks. labels: numbers of labels: that of the probes, and a larger one.
        classes: the number of labels' values.

    Returns:
        ``measure(own, data)``, where ``own`` has the parameters "encoders", leaves [encoders, ...], those of
        MAE, "masked" and "decoders", leaves [masked, ...], the "seed" and the rows of `PARTS`. It gives
        "validation", "test", "more" (with more labels) and "kNN", each [encoders]; "raw", "raw more" and "raw
        kNN" of the inputs; "shuffled", the first encoder's with shuffled labels; and "error" [masked], the
        error at hidden places of test rows over that of interpolation.
    """

    def measure(own: Any, data: Any) -> dict[str, Array]:
        def features(params: Any, x: Array) -> Array:
            return of.net.apply(params, (), x)[0]

        def one(params: Any) -> dict[str, Array]:
            return probes(partial(features, params), own, data, labels, classes)

        raw = probes(lambda x: x.reshape(x.shape[0], -1), own, data, labels, classes)
        order_key, mask_key = jax.random.split(jax.random.key(own["seed"]))
        order = jax.random.permutation(order_key, data["label"].shape[0])
        wrong = {**data, "label": jnp.asarray(data["label"])[order]}
        first = partial(features, jax.tree.map(lambda x: x[0], own["encoders"]))
        return {
            **jax.lax.map(one, own["encoders"]),
            **{"raw" if k == "test" else f"raw {k}": v for k, v in raw.items()},
            "shuffled": probed(first, {**own, "train": own["train"][: labels[0]]}, wrong, classes)["test"],
            "error": errors(mask_key, of.encoder, of.decoder, hidden(of), own, data),
        }

    return measure


def probes(
    features: Callable[[Array], Array],
    own: Mapping[str, Any],
    data: Mapping[str, Any],
    labels: tuple[int, int],
    classes: int,
) -> dict[str, Array]:
    """Linear probes with fewer and with more labels, and nearest neighbors with fewer; see `judged`."""
    few, more = ({**{p: own[p] for p in PARTS}, "train": own["train"][:n]} for n in labels)
    found = probed(features, few, data, classes)
    column = "image" if "image" in data else "x"
    h = {p: features(floats(data[column][few[p]])).reshape(few[p].shape[0], -1) for p in ("train", "test")}
    y = {p: jnp.asarray(data["label"])[few[p]] for p in h}
    votes = knn_votes(h["train"], y["train"], h["test"], classes, k=NEIGHBORS)
    right = jnp.mean(jnp.argmax(votes, 1) == y["test"], dtype=jnp.float32)
    return {**found, "more": probed(features, more, data, classes)["test"], "kNN": right}
