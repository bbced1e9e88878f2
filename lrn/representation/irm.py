"""Invariant risk minimization (Arjovsky et al. 2019, IRMv1).

The penalty of an environment is the squared derivative of its risk by a factor on the outputs, at factor 1:
it is positive where a rescaling of the outputs would lower this environment's risk. Three estimates:

- "squared": the square of the derivative on the batch, as in the authors' code, which takes all rows of an
  environment at once. On small batches it is too large by the variance of the derivative over n.
- "halves": the product of the derivatives on two halves (appendix D of the paper), drawn anew at each step.
  Rows that are drawn independently make the product unbiased. The halves are random because rows in order
  of their classes would give each half classes of its own.
- "pairs": the mean product over all pairs of different rows, which is the mean of "halves" over all halvings,
  and has less variance.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.representation.environments import Seen
from lrn.representation.penalized import PenaltyConfig, example_of, example_optimizer, penalized
from lrn.supervised.averages import AverageConfig
from lrn.supervised.losses import Loss
from lrn.types import Array, Example, Key, Learner, Net

ESTIMATES = ("halves", "pairs", "squared")


def irm(net: Net, loss: Loss, config: PenaltyConfig, *, estimate: str = "squared") -> Learner:
    """Minimize the mean risk plus IRMv1's penalty, the mean over environments.

    The published protocol has ``penalty=91257``, ``begin=190`` and ``before=1``.

    Args:
        net: the network.
        loss: ``loss(output, target) -> [n]``; its outputs are rescaled, so they are logits, or predictions.
        config: the settings; its floats may be swept.
        estimate: "squared", "halves" or "pairs"; see the module.

    Returns:
        The learner of `lrn.representation.penalized`. The metric ``penalty`` may be negative under "halves"
        and "pairs".

    Raises:
        InputError: there is no such estimate; at trace time, as `penalized`, or if an environment has fewer
            than two rows under "halves" and "pairs".
    """
    check.choice("estimate", estimate, ESTIMATES)

    def penalty(key: Key, seen: Seen) -> Array:
        if seen.output.ndim != 3:
            raise check.InputError(
                f"the network must give outputs [n, dim] for this penalty, got shape "
                f"{list(seen.output.shape)} with the environments in front; reshape them."
            )
        return jnp.mean(squared_slope(key, slopes(loss, seen.output, seen.target), estimate))

    return penalized(net, loss, penalty, config)


def slopes(loss: Loss, output: Array, target: Array) -> Array:
    """The derivative of ``loss(scale * output, target)`` by the scale at 1, for each row, [..., n].

    Args:
        loss: ``loss(output, target) -> [rows]``.
        output: [..., n, dim]. target: [..., n, dim], or without the last axis, as the loss has it.
    """
    lead = output.shape[:-1]
    rows, own = (a.reshape(-1, *a.shape[len(lead) :]) for a in (output, target))
    one = jnp.ones((), output.dtype)
    return jax.jvp(lambda scale: loss(scale * rows, own), (one,), (one,))[1].reshape(lead)


def squared_slope(key: Key, slopes: Array, estimate: str) -> Array:
    """An estimate of the squared mean derivative, [environments], from the derivatives of its rows.

    Args:
        key: draws the halves; unused under the other estimates.
        slopes: [environments, n].
        estimate: one of `ESTIMATES`.

    Raises:
        InputError: there is no such estimate, or there are fewer than two rows where two are needed.
    """
    check.choice("estimate", estimate, ESTIMATES)
    environments, n = slopes.shape
    if estimate == "squared":
        return jnp.square(jnp.mean(slopes, axis=1))
    if n < 2:
        raise check.InputError(
            f"the estimate {estimate!r} needs two rows or more of an environment, got {n}; give more."
        )
    if estimate == "pairs":
        mean, square = jnp.mean(slopes, axis=1), jnp.mean(jnp.square(slopes), axis=1)
        return (n * jnp.square(mean) - square) / (n - 1)
    keys = jax.random.split(key, environments)
    mixed = jax.vmap(jax.random.permutation)(keys, slopes)
    return jnp.mean(mixed[:, : n // 2], axis=1) * jnp.mean(mixed[:, n // 2 :], axis=1)


def example() -> Example:
    """The environments of `lrn.representation.penalized.example_of`, with the unbiased halves."""
    config = PenaltyConfig(example_optimizer(), AverageConfig("ema", 0.9), penalty=3.0, begin=10.0, l2=1e-4)
    return example_of(lambda *given: irm(*given, estimate="halves"), config)
