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
from lrn.representation.codes import Autoencoder
from lrn.representation.factor_regression import FactorRegressionConfig, factor_regression
from lrn.representation.factor_vae import FactorVAEConfig, factor_vae
from lrn.supervised.learner import SupervisedConfig, supervised
from lrn.supervised.losses import squared_error
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Key, Learner

LEVELS = (("scale", 5), ("x", 8), ("y", 8))
FACTORS, SIZES = tuple(name for name, _ in LEVELS), tuple(count for _, count in LEVELS)
SCORE, MIDDLE, HALF = "intervention score", "middle of the scores", "half of the supervised score"
MIG, DCI, NUISANCE, FACTOR = "MIG", "DCI", "with the nuisance", "with a factor"
ACROSS, READER, RATIO = "metric and score across models", "reader", "least ratio of variances"
CALLED, SUPERVISED, UNTRAINED, PCA, ROTATED = (
    "called disentangled", "supervised", "untrained", "PCA", "rotated",
)  # fmt: skip
STRENGTHS = {
    "beta-VAE": (1.0, 2.0, 3.0, 4.0, 6.0, 8.0),
    "beta-TCVAE": (2.0, 4.0, 6.0, 8.0, 12.0),
    "FactorVAE": (2.0, 4.0, 8.0, 16.0, 32.0),
}
SIZE, CODES, SCALE = 16, 6, 0.2
BACKGROUND = NUISANCES.index("brightness")
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
        the name itself, "... levels" int32, "... factors" float32 (standardized), "... nuisance" float32,
        and "... all" float32, factors and nuisance, standardized.
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
            nuisance = each["nuisances"][:, BACKGROUND]
            found[f"{name} nuisance"] = nuisance
            standard = (nuisance[:, None] - 0.5) * np.float32(12**0.5)
            found[f"{name} all"] = jnp.concatenate([found[f"{name} factors"], standard], axis=1)
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
    """A regressor of factors and nuisance, trained on pictures in which all is independent."""
    return partial(supervised, reading(width), squared_error), SupervisedConfig(ADAM)


def reading(width: int) -> Any:
    return nets.mlp(len(FACTORS) + 1, (2 * width, width))


def untrained(width: int, seeds: Sequence[int]) -> Any:
    """Parameters [1, seeds, ...] of an untrained model for each seed."""
    factory, settings = with_labels(width)
    batch = {"image": np.zeros((2, SIZE, SIZE, 1), np.float32), "factors": np.zeros((2, 3), np.float32)}

    def fresh(seed: Array) -> Any:
        return factory(settings).init(jax.random.fold_in(jax.random.key(seed), CODES), batch).params

    return jax.tree.map(lambda x: x[None], jax.jit(jax.vmap(fresh))(jnp.asarray(seeds, jnp.uint32)))


def population() -> list[tuple[str, float]]:
    """The models without labels: method and strength."""
    return [(method, strength) for method, menu in STRENGTHS.items() for strength in menu]
