"""Features of masked prediction against those of a random encoder, on the digits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from lrn import data, nets
from lrn.ssl.latent_prediction import LatentPredictionConfig, latent_prediction
from lrn.ssl.mae import MAEConfig, mae
from lrn.ssl.pretraining import encode
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.probes import linear_probe

STEPS = 900


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mae", "latent_prediction"])
def test_features_beat_a_random_encoder(method):
    digits = {part: data.load("digits", part) for part in ("train", "test")}
    images = {part: jnp.asarray(data.as_float(rows["image"])) for part, rows in digits.items()}
    encoder = nets.masked_vit(2, 32, 2, 4, mean=0.305, std=0.376)
    optimizer = OptimizerConfig(
        learning_rate=2e-3, weight_decay=0.05, clip=1.0, schedule="cosine", steps=STEPS, warmup=50.0
    )
    if method == "mae":
        decoder = nets.mask_decoder(4, 16, 32, 1, 4)
        learner = mae(encoder, decoder, lambda key, x: x, MAEConfig(12, optimizer))
    else:
        config = LatentPredictionConfig((2, 2), 8, 2, optimizer, decay=0.99, decay_steps=float(STEPS))
        learner = latent_prediction(encoder, nets.mask_decoder(32, 16, 16, 1, 2), lambda key, x: x, config)

    def step(state, key):
        row_key, key = jax.random.split(key)
        rows = jax.random.randint(row_key, (128,), 0, images["train"].shape[0])
        return learner.step(key, state, {"image": images["train"][rows]})

    @jax.jit
    def train(state, key):
        return jax.lax.scan(step, state, jax.random.split(key, STEPS))[0]

    features = jax.jit(lambda state, x: encode(encoder.net, state, x))

    def accuracy(state) -> float:
        train, test = (features(state, images[part]) for part in ("train", "test"))
        labels = [jnp.asarray(digits[part]["label"]) for part in ("train", "test")]
        return float(linear_probe(train, labels[0], test, labels[1], 10, l2=(1e-3,)).accuracy[0])

    start = jax.jit(learner.init)(jax.random.key(0), {"image": images["train"][:2]})
    assert accuracy(train(start, jax.random.key(1))) > accuracy(start) + 0.05
