"""Masked tokens on sequences of a hidden Markov model, whose best predictions are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lrn import nets
from lrn.data import hmm
from lrn.ssl.masked_tokens import MaskedTokensConfig, masked_tokens, predict
from lrn.ssl.masking import as_mask, take, token_mask
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Key

STATES, SYMBOLS, TIME, HIDDEN, TESTS, RATE = 3, 6, 12, 3, 2000, 3e-3


def chain() -> hmm.HMM:
    """Three states that stay with probability .8, of two common symbols each; single symbols are uniform."""
    stay, emit = 0.7 * jnp.eye(STATES) + 0.1, jnp.repeat(jnp.eye(STATES) / 2, 2, axis=1)
    return hmm.HMM(jnp.full((STATES,), 1 / STATES), stay, 0.9 * emit + 0.1 / SYMBOLS)


def gap(steps: int, batch: int) -> Callable[[Any, Any], dict[str, Array]]:
    """A function of one seed: how far masked prediction ends above the Bayes optimum.

    Args:
        steps, batch: of the training, on fresh sequences.

    Returns:
        ``measure(own, _)``, where ``own`` has the "seed"; it gives "gap", the expected cross-entropy at
        hidden places of fresh sequences over the optimum's, less 1, and "left", the excess as a share of that
        of a prediction without context.
    """
    encoder, head = nets.token_transformer(SYMBOLS, 32, 2, 4, hidden=64), nets.mlp(SYMBOLS, ())
    optimizer = OptimizerConfig(learning_rate=RATE, schedule="cosine", steps=steps, warmup=steps / 10)
    learner = masked_tokens(
        encoder, head, MaskedTokensConfig(SYMBOLS, HIDDEN, optimizer, replaced=1.0, random=0.0)
    )

    def batch_of(key: Key, n: int) -> Array:
        return hmm.sample(key, chain(), n, TIME)[0]

    def measure(own: Any, _: Any) -> dict[str, Array]:
        init_key, first_key, train_key, sample_key, mask_key = jax.random.split(
            jax.random.key(own["seed"]), 5
        )
        state = learner.init(init_key, {"x": batch_of(first_key, batch)})

        def step(state: Any, key: Key) -> tuple[Any, None]:
            draw_key, step_key = jax.random.split(key)
            state, _ = learner.step(step_key, state, {"x": batch_of(draw_key, batch)})
            return state, None

        state, _ = jax.lax.scan(step, state, jax.random.split(train_key, steps))
        x = batch_of(sample_key, TESTS)
        given, hidden = token_mask(mask_key, x, HIDDEN, SYMBOLS, 1.0, 0.0)
        params, states = state.training.params, state.training.net_state
        guess = jax.nn.log_softmax(predict(encoder, head, params, states, given, hidden))
        best = take(hmm.predict(chain(), x, as_mask(hidden, TIME)), hidden)
        everywhere = jnp.ones(hidden.shape, bool)
        excess, optimum = hmm.gap(best, guess, everywhere)
        blind, _ = hmm.gap(best, jnp.full_like(best, -jnp.log(SYMBOLS)), everywhere)
        return {"gap": excess / optimum, "left": excess / blind}

    return measure
