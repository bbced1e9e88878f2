"""Attacks on networks that draw random numbers: expectation over transformation (Athalye et al. 2018).

A random network is ``logits_fn(key, x) -> logits``. An attack that follows the gradient under one draw of the
noise is weak: it fits that draw. The attacks here average over several new draws at every point. The accuracy
of a random network is a mean over draws too, and the draws that judge an attack are none that it saw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.robust.attack import Attack, LogitsFn, check_examples
from lrn.robust.losses import is_correct, loss_function
from lrn.robust.pgd import PGDConfig, RandomObjective, ascend
from lrn.types import Array, Key

RandomLogitsFn = Callable[[Key, Array], Array]  # key, [batch, ...] -> [batch, classes]


class RandomAttack(Protocol):
    """An `Attack` on a network that draws random numbers."""

    def __call__(self, key: Key, logits_fn: RandomLogitsFn, x: Array, y: Array, /) -> Array:
        """Attack one batch; [batch, ...]."""
        ...


def expectation_pgd(config: PGDConfig, samples: int) -> RandomAttack:
    """PGD on the mean loss over ``samples`` new draws of the noise at every point of the ascent.

    Its gradient is the mean of the gradients under the draws. With keep="best" an example is fooled where the
    network is wrong under half of the draws or more. The points compete under few draws, so the best of many
    points is partly the luckiest; `expected_accuracy` judges it by other draws.
    """
    check.integer("samples", samples, 1)

    def attack(key: Key, logits_fn: RandomLogitsFn, x: Array, y: Array) -> Array:
        start_key, noise_key = jax.random.split(key)
        x, y = check_examples(lambda z: logits_fn(noise_key, z), x, y)
        objective = expectation_objective(logits_fn, y, config.loss, samples)
        return ascend(start_key, objective, x, config, noise_key)[0]

    return attack


def expectation_objective(logits_fn: RandomLogitsFn, y: Array, loss: str, samples: int) -> RandomObjective:
    """The mean loss over draws, and whether the network is wrong under half of the draws or more.

    Args:
        logits_fn: the random network.
        y: labels [batch].
        loss: one of `lrn.robust.losses.LOSSES`.
        samples: the number of draws, which are evaluated at once: memory grows with this number.
    """
    function = loss_function(loss)

    def objective(x: Array, key: Key) -> tuple[Array, Array]:
        def one(key: Key) -> tuple[Array, Array]:
            logits = logits_fn(key, x)
            return function(logits, y), ~is_correct(logits, y)

        losses, wrong = jax.vmap(one)(jax.random.split(key, samples))
        return jnp.mean(losses, axis=0), jnp.mean(wrong, axis=0) >= 0.5

    return objective


def expected(key: Key, logits_fn: RandomLogitsFn, samples: int) -> LogitsFn:
    """The mean of a random network's logits over ``samples`` draws, as a network that any attack can take.

    The draws are a function of ``key`` and of the pixels of the batch, so that every new iterate of an
    attack meets new draws, while one batch always has the same logits. No gradient flows through that choice.
    An attack on this network follows the mean gradient of the loss of mean logits; `expectation_pgd` follows
    that of the mean loss. A last bit that differs between two compilations changes the draws, hence
    the attack's path; jit and eager agree in distribution only.
    """
    check.integer("samples", samples, 1)

    def mean(x: Array) -> Array:
        keys = jax.random.split(jax.random.fold_in(key, _fingerprint(x)), samples)
        return jnp.mean(jax.vmap(lambda k: logits_fn(k, x))(keys), axis=0)

    return mean


def with_expected(attack: Attack, samples: int) -> RandomAttack:
    """``attack`` on the `expected` network."""

    def random_attack(key: Key, logits_fn: RandomLogitsFn, x: Array, y: Array) -> Array:
        attack_key, noise_key = jax.random.split(key)
        return attack(attack_key, expected(noise_key, logits_fn, samples), x, y)

    return random_attack


def share_correct(key: Key, logits_fn: RandomLogitsFn, x: Array, y: Array, draws: int) -> Array:
    """The share of draws under which each example is classified correctly, [batch] in [0, 1]."""
    check.integer("draws", draws, 1)
    keys = jax.random.split(key, draws)
    return jnp.mean(jax.lax.map(lambda k: is_correct(logits_fn(k, x), y), keys), axis=0, dtype=jnp.float32)


def expected_accuracy(
    key: Key,
    logits_fn: RandomLogitsFn,
    x: Array,
    y: Array,
    attack: RandomAttack,
    draws: int,
    batch_size: int = 256,
) -> Array:
    """The accuracy of a random network under an attack: the mean over examples and new draws, scalar.

    Args:
        key: the key of the attack and of the draws that judge it.
        logits_fn: the random network.
        x: test inputs [n, ...] in [0, 1].
        y: labels [n].
        attack: the attack.
        draws: the number of draws for each example.
        batch_size: the number of examples attacked at once.

    Raises:
        ValueError: the numbers are below 1, or `check_examples` refuses ``x`` and ``y``. (Under jit an
            example out of range counts as wrong.)
    """
    check.integer("draws", draws, 1)
    check.integer("batch_size", batch_size, 1)
    x, y = check_examples(lambda z: logits_fn(key, z), x, y)
    n = x.shape[0]
    batches = -(-n // min(batch_size, n))
    size = -(-n // batches)
    index = np.minimum(np.arange(batches * size), n - 1).reshape(batches, size)  # copies fill the last batch

    def judge(args: tuple[Array, Array]) -> Array:
        i, members = args
        attack_key, judge_key = jax.random.split(jax.random.fold_in(key, i))
        x_adv = attack(attack_key, logits_fn, x[members], y[members])
        return share_correct(judge_key, logits_fn, x_adv, y[members], draws)

    return jnp.mean(jax.lax.map(judge, (jnp.arange(batches), jnp.asarray(index))).reshape(-1)[:n])


def _fingerprint(x: Array) -> Array:
    """A number that changes with any pixel of the batch, uint32."""
    x = jax.lax.stop_gradient(x).astype(jnp.float32).reshape(-1)
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    # Odd weights: a change of one pixel always changes the sum, and equal changes of two do not cancel.
    weights = 2 * jnp.arange(x.size, dtype=jnp.uint32) + 1
    return jnp.sum((bits ^ (bits >> 15)) * (weights * jnp.uint32(2654435761)), dtype=jnp.uint32)
