"""Worlds with a nuisance, models of them, and what codes know and do, for the study of illusions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import nets
from lrn.data.nuisance_sprites import NUISANCES, NuisanceConfig, sample, standardized
from lrn.representation.beta_tcvae import BetaTCVAEConfig, beta_tcvae
from lrn.representation.beta_vae import BetaVAEConfig, beta_vae
from lrn.representation.codes import Autoencoder, Codec, codec
from lrn.representation.dci_trees import dci_trees
from lrn.representation.factor_regression import FactorRegressionConfig, factor_regression
from lrn.representation.factor_vae import FactorVAEConfig, factor_vae
from lrn.representation.intervention_score import interventions
from lrn.representation.linear_codes import pca, rotated
from lrn.representation.mig import mig
from lrn.supervised.learner import SupervisedConfig, SupervisedState, supervised
from lrn.supervised.losses import squared_error
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Key, Learner

LEVELS = (("scale", 5), ("x", 8), ("y", 8))
FACTORS, SIZES = tuple(name for name, _ in LEVELS), tuple(count for _, count in LEVELS)
SIZE, CODES, SCALE = 16, 6, 0.2
NUISANCE = NUISANCES.index("brightness")
ADAM = OptimizerConfig("adam", 2e-3)


class Place(NamedTuple):
    """A world. brightness: the strength of its nuisance. correlation: of the nuisance with the scale."""

    brightness: float
    correlation: float


def world(place: Place) -> NuisanceConfig:
    """White squares of three factors before a background of random brightness."""
    return NuisanceConfig(
        LEVELS,
        SIZE,
        brightness=place.brightness,
        nuisance_correlation=place.correlation,
        correlated=("x", "y"),
        confounded=("scale", "brightness"),
    )


def data(place: Place, seeds: Sequence[int], rows: int, judged: int) -> dict[str, np.ndarray]:
    """Pictures of each seed: of the world to train on, and with all independent, for readers and judges.

    Returns:
        For "train" [seeds, rows], "reader" [seeds, rows] and "test" [seeds, judged]: pictures uint8 under
        the name itself, "... factors" float32 (standardized), "... levels" int32, "... nuisance" float32.
    """
    free = world(place._replace(correlation=0.0))

    def drawn(key: Key) -> dict[str, Array]:
        found = {}
        parts = {"train": (world(place), rows), "reader": (free, rows), "test": (free, judged)}
        for (name, (config, count)), own in zip(parts.items(), jax.random.split(key, 3)):
            each = sample(own, count, config)
            found[name] = jnp.round(each["image"] * 255).astype(jnp.uint8)
            found[f"{name} levels"] = each["factors"]
            found[f"{name} factors"] = standardized(each["factors"], config)
            found[f"{name} nuisance"] = each["nuisances"][:, NUISANCE]
        return found

    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    return jax.tree.map(np.asarray, jax.jit(partial(jax.lax.map, drawn))(keys))


def model(width: int) -> Autoencoder:
    """Two hidden layers each way, and a Gaussian likelihood."""
    hidden = (width, width)
    return Autoencoder(nets.mlp(2 * CODES, hidden), nets.mlp_decoder((SIZE, SIZE, 1), hidden), "gaussian")


def methods(width: int) -> dict[str, tuple[Callable[[Any], Learner], Callable[[float], Any]]]:
    """From a method to its factory, and to its config for a strength."""
    net, rival = model(width), nets.mlp(1, (width, width), activation="leaky_relu")
    own = OptimizerConfig("adam", 1e-3, b1=0.5, b2=0.9)
    return {
        "beta-VAE": (partial(beta_vae, net), lambda s: BetaVAEConfig(ADAM, beta=s, scale=SCALE)),
        "beta-TCVAE": (partial(beta_tcvae, net), lambda s: BetaTCVAEConfig(ADAM, beta=s, scale=SCALE)),
        "FactorVAE": (
            partial(factor_vae, net, rival),
            lambda s: FactorVAEConfig(ADAM, discriminator=own, gamma=s, scale=SCALE),
        ),
    }


def with_labels(width: int) -> tuple[Callable[[Any], Learner], FactorRegressionConfig]:
    """The supervised reference."""
    return partial(factor_regression, model(width)), FactorRegressionConfig(ADAM, weight=200.0, scale=SCALE)


def reader(width: int) -> tuple[Callable[[Any], Learner], SupervisedConfig]:
    """A regressor of the factors, trained on pictures in which all is independent."""
    return partial(supervised, _reading(width), squared_error), SupervisedConfig(ADAM)


def _reading(width: int) -> Any:
    return nets.mlp(len(FACTORS), (2 * width, width))


def ranks(x: Array) -> Array:
    """The ranks of each column of [n, k], as floats."""
    return jnp.argsort(jnp.argsort(x, axis=0), axis=0).astype(jnp.float32)


def rank_correlations(a: Array, b: Array) -> Array:
    """The absolute rank correlations [k, m] of columns [n, k] and [n, m]; 0 with a constant column."""
    a, b = (ranks(x) - (x.shape[0] - 1) / 2 for x in (a, b))
    norms = jnp.linalg.norm(a, axis=0)[:, None] * jnp.linalg.norm(b, axis=0)[None]
    return jnp.abs(a.T @ b) / norms


def variances(images: Array, values: Array, bins: int) -> Array:
    """The variance over pixels that one variable [n], an index below ``bins``, explains: of group means."""
    flat = images.reshape(images.shape[0], -1)
    group = jax.nn.one_hot(values, bins)
    means = group.T @ flat / jnp.maximum(jnp.sum(group, axis=0), 1)[:, None]
    share = jnp.mean(group, axis=0)
    return share @ jnp.sum(jnp.square(means - jnp.mean(flat, axis=0)[None]), axis=1)


def explained(images: Array, levels: Array, nuisance: Array) -> Array:
    """The pixels' variance that each factor and the nuisance explain, [factors + 1]."""
    own = [variances(images, levels[:, i], size) for i, size in enumerate(SIZES)]
    return jnp.stack([*own, variances(images, jnp.floor(nuisance * 8).astype(jnp.int32), 8)])


def codec_scores(
    key: Key, coder: Codec, read: Callable, test: dict[str, Array], lesser: Array, rows: int
) -> dict[str, Array]:
    """What the codes of one model know, by independent test pictures, and what setting them does.

    MIG, DCI (boosted trees, 20 rounds) and the intervention score, 0 where all codes are constant. "with the
    nuisance", "with a factor": the largest rank correlation of a code with the nuisance, and with a factor of
    lesser variance. "matched codes": the same of the codes with which the factors correlate most.
    """
    codes = coder.encode(test["image"])
    cut = codes.shape[0] // 2
    levels = test["levels"]
    dci = dci_trees(codes[:cut], levels[:cut], codes[cut:], levels[cut:], rounds=20, bins=32, sizes=SIZES)
    known = rank_correlations(codes, jnp.concatenate([levels, test["nuisance"][:, None]], axis=1))
    factors, nuisance = known[:, :-1], known[:, -1]
    chosen = jnp.argmax(factors, axis=0)
    set_codes = interventions(key, coder.decode, read, codes[:rows])
    found = {
        "MIG": mig(codes, levels, sizes=SIZES),
        "DCI": dci.disentanglement,
        "intervention score": set_codes.score,
        "target": jnp.mean(set_codes.target),
        "off-target": jnp.mean(set_codes.off_target),
        "with the nuisance": jnp.max(nuisance),
        "with a factor": jnp.max(jnp.where(lesser[None], factors, 0)),
        "matched codes with the nuisance": jnp.mean(nuisance[chosen]),
        "matched codes with their factor": jnp.mean(jnp.max(factors, axis=0)),
    }
    return {name: jnp.nan_to_num(value) for name, value in found.items()}


def judged(width: int, rows: int, own: Any, shared: Any) -> dict[str, Array]:
    """The scores of all models of one seed, [models + 2] each: PCA and the rotated codes come last.

    Args:
        width: of the networks. rows: the test pictures whose codes are set.
        own: the seed's "params" [models, ...] (the supervised model last), "reader" (its state), "seed" and
            "data". shared: nothing.
    """
    del shared
    net, reading, part = model(width), _reading(width), own["data"]
    test = {"image": part["test"] / jnp.float32(255), "levels": part["test levels"]}
    test["nuisance"] = part["test nuisance"]
    variance = explained(test["image"], test["levels"], test["nuisance"])
    score_key, turn_key = jax.random.split(jax.random.key(own["seed"]))
    linear = pca(part["train"][:1000] / jnp.float32(255), CODES)

    def read(images: Array) -> Array:
        return reading.apply(own["reader"].params, own["reader"].net_state, images)[0]

    def scores(each: tuple[Any, Array, Array]) -> dict[str, Array]:
        params, turn, is_linear = each
        state = SupervisedState(params, {"encoder": (), "decoder": ()}, (), (), jnp.zeros(()))
        network = rotated(codec(net, state), turn)
        either = Codec(
            lambda x: jax.lax.cond(is_linear, linear.encode, network.encode, x),
            lambda z: jax.lax.cond(is_linear, linear.decode, network.decode, z),
        )
        lesser = variance[:-1] < variance[-1]
        return codec_scores(score_key, either, read, test, lesser, rows)

    block = jax.random.orthogonal(turn_key, len(FACTORS))
    turned = jnp.eye(CODES).at[: len(FACTORS), : len(FACTORS)].set(block)
    params = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[-1:], leaf[-1:]]), own["params"])
    count = jax.tree.leaves(params)[0].shape[0]
    turns = jnp.concatenate([jnp.broadcast_to(jnp.eye(CODES), (count - 1, CODES, CODES)), turned[None]])
    found = jax.lax.map(scores, (params, turns, jnp.arange(count) == count - 2))
    errors = jnp.mean(jnp.square(read(test["image"]) - part["test factors"]), axis=0)
    found["reader"] = 1 - jnp.max(errors / jnp.var(part["test factors"], axis=0))
    found["least ratio of variances"] = variance[-1] / jnp.max(variance[:-1])
    return found


def untrained(width: int, seeds: Sequence[int]) -> Any:
    """Parameters [1, seeds, ...] of an untrained model for each seed."""
    factory, settings = with_labels(width)
    batch = {"image": np.zeros((2, SIZE, SIZE, 1), np.float32), "factors": np.zeros((2, 3), np.float32)}

    def fresh(seed: Array) -> Any:
        return factory(settings).init(jax.random.fold_in(jax.random.key(seed), CODES), batch).params

    return jax.tree.map(lambda x: x[None], jax.jit(jax.vmap(fresh))(jnp.asarray(seeds, jnp.uint32)))


def called(scores: dict[str, np.ndarray], names: Sequence[str] = ("MIG", "DCI")) -> np.ndarray:
    """Which models are called disentangled, bool [seeds, models]: the top quarter by one of the metrics."""
    found = []
    for name in names:
        values = scores[name]
        order = np.argsort(np.argsort(-values, axis=1), axis=1)
        found.append(order < max(1, values.shape[1] // 4))
    return np.any(found, axis=0)


def across(scores: dict[str, np.ndarray], metric: str) -> np.ndarray:
    """The rank correlation of a metric with the intervention score across the models of each seed, [seeds]."""
    a, b = (np.argsort(np.argsort(scores[n], axis=1), axis=1) for n in (metric, "intervention score"))
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b)])
