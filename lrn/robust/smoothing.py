"""Randomized smoothing: a certified L2 radius around an input (Cohen, Rosenfeld & Kolter 2019).

The smoothed classifier g gives each input x the class that the base classifier f gives most often under
noise: ``argmax_c P(f(x + noise) = c)``, noise from N(0, sigma^2 I). If the top class has the chance p >= .5,
then g is constant in the L2 ball of radius ``sigma * Phi^-1(p)`` around x (theorem 1 with p_B = 1 - p_A).

The noise is added to the pixels, before any normalization in the network, and the noisy inputs are not
clipped to [0, 1], as in the trainings (`lrn.robust.noise_training`). The noise has the rounding of float32,
which the theorem does not cover (Voracek & Hein 2023).

Each certificate is false with probability alpha at most, on its own. Among n certificates alpha * n may be
false on average, so a certified accuracy is an estimate that may be too high by about alpha. A claim that all
n certificates hold together needs alpha / n for each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import as_array
from lrn.config import config
from lrn.robust.attack import LogitsFn, check_box, check_logits, in_box
from lrn.robust.clopper_pearson import MOST_DRAWS, check_alpha, failure_bound, majority
from lrn.robust.norms import widen
from lrn.types import Array, Key

ABSTAIN = -1  # the label of an input without a prediction or certificate


@config
class SmoothingConfig:
    """Settings of predictions and certificates; the defaults are those of Cohen et al., with 1/10 of their n.

    sigma: the standard deviation of the noise, in the unit of the pixels, which lie in [0, 1].
    selection: the number of noisy inputs that select the class of a certificate (n0 in the paper).
    estimation: the number of further noisy inputs that bound the chance of this class, or that decide a
        prediction (n). With n = 10,000 and alpha = .001 the largest possible radius is 3.20 sigma.
    alpha: the chance that the certificate or the prediction of an input is wrong, above 0 and at most .5.
    batch_size: the number of noisy inputs that the network gets at once, of one image or of several.
    """

    sigma: float = 0.25
    selection: int = 100
    estimation: int = 10_000
    alpha: float = 0.001
    batch_size: int = 1000

    def __post_init__(self) -> None:
        check.positive("sigma", self.sigma)
        check.counts(self, "selection", "estimation", "batch_size")
        check.between("estimation", self.estimation, 1, MOST_DRAWS)
        check_alpha(self.alpha)


class Certificate(NamedTuple):
    """What is certain of the smoothed classifier at each input.

    label: int32 [batch], the class, or `ABSTAIN`.
    radius: float32 [batch], the radius of the L2 ball around the input in which the class is constant, in the
        unit of the pixels; 0 for `ABSTAIN`.
    """

    label: Array
    radius: Array


def counts(
    key: Key, logits_fn: LogitsFn, x: Array, sigma: ArrayLike, n: int, batch_size: int = 1000
) -> Array:
    """How often the base classifier gives each class under noise, int32 [batch, classes].

    All noisy inputs, [batch * n, ...], pass the network in flat batches of ``batch_size`` in a loop, so
    memory does not grow with n. The function may be used under jit, and under vmap over keys, sigma or
    parameters. The noise depends on the batch size.

    A noisy input whose logits contain NaN counts for no class, so a row may sum to less than n. Ties go to
    the lowest class. Under jit, where pixels cannot be read, the row of an input outside of [0, 1] is 0.

    Args:
        key: the key of the noise.
        logits_fn: the base classifier in evaluation mode, [batch, ...] -> [batch, classes].
        x: inputs [batch, ...] in [0, 1]. Half-precision inputs get float32 noise before they are rounded.
        sigma: the standard deviation of the noise; may be traced.
        n: the number of noisy inputs for each input.
        batch_size: the number of noisy inputs at once.

    Raises:
        InputError: an argument is out of its range, or the logits are not [batch, classes].
    """
    check.positive("sigma", sigma)
    check.integer("n", n, 1)
    check.integer("batch_size", batch_size, 1)
    x = _inputs(x)
    images, total = x.shape[0], x.shape[0] * n
    size = min(batch_size, total)
    steps = -(-total // size)
    if steps * size >= 2**31:
        raise check.InputError(
            f"{images} inputs with {n} noisy copies each are more than 32 bits can number; give fewer inputs."
        )
    shape = jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype)
    classes = check_logits(jax.eval_shape(logits_fn, shape), size)
    valid = in_box(x)

    def add(i: Array, found: Array) -> Array:
        index = i * size + jnp.arange(size)
        image = jnp.minimum(index // n, images - 1)
        original = widen(x[image])
        noise = jax.random.normal(jax.random.fold_in(key, i), original.shape, original.dtype)
        logits = logits_fn((original + jnp.asarray(sigma, original.dtype) * noise).astype(x.dtype))
        counted = (index < total) & valid[image] & ~jnp.isnan(logits).any(axis=1)
        return found.at[image, jnp.argmax(logits, axis=1)].add(counted.astype(jnp.int32))

    return jax.lax.fori_loop(0, steps, add, jnp.zeros((images, classes), jnp.int32))


def predict(key: Key, logits_fn: LogitsFn, x: Array, config: SmoothingConfig) -> Array:
    """The class of the smoothed classifier at each input, or `ABSTAIN`; int32 [batch].

    A class is given if the two-sided binomial test rejects at level alpha that the two most frequent classes
    are equally likely (Cohen et al., PREDICT; Hung & Fithian 2019). The class is wrong with probability
    alpha at most. Arguments and errors are those of `certify`.
    """
    found = counts(key, logits_fn, x, config.sigma, config.estimation, config.batch_size)
    return prediction(found, config.estimation, config.alpha)


def certify(key: Key, logits_fn: LogitsFn, x: Array, config: SmoothingConfig) -> Certificate:
    """The class of the smoothed classifier at each input, and a radius in which it is constant.

    ``selection`` noisy inputs select a class. ``estimation`` further ones, independent of the first, bound
    its chance (Cohen et al., CERTIFY).

    Args:
        key: the key of the noise.
        logits_fn: the base classifier in evaluation mode, [batch, ...] -> [batch, classes].
        x: inputs [batch, ...] in [0, 1].
        config: the settings; sigma and alpha may be swept.

    Raises:
        InputError: as `counts`. (Under jit an input out of range gets `ABSTAIN`.)
    """
    select_key, estimate_key = jax.random.split(key)
    selected = counts(select_key, logits_fn, x, config.sigma, config.selection, config.batch_size)
    estimated = counts(estimate_key, logits_fn, x, config.sigma, config.estimation, config.batch_size)
    return certificate(selected, estimated, config.estimation, config.sigma, config.alpha)


def prediction(found: ArrayLike, n: int, alpha: ArrayLike) -> Array:
    """`predict` from counts.

    Args:
        found: counts [..., classes].
        n: the number of noisy inputs of each row; those of no class count as a class of their own.
        alpha: the level of the test.

    Returns:
        int32 [...].
    """
    found = jnp.asarray(found)
    top = jax.lax.top_k(found, 2)[0]
    first, second = top[..., 0], jnp.maximum(top[..., 1], n - found.sum(axis=-1))
    return jnp.where(majority(first, second, alpha), jnp.argmax(found, axis=-1), ABSTAIN).astype(jnp.int32)


def certificate(
    selected: ArrayLike, estimated: ArrayLike, n: int, sigma: ArrayLike, alpha: ArrayLike
) -> Certificate:
    """`certify` from counts; the radius is at most the exact one, and less than 1e-5 sigma below it.

    Args:
        selected: counts [..., classes] that select the class.
        estimated: counts [..., classes] of other noisy inputs. Counts that also selected the class would give
            too large radii.
        n: the number of noisy inputs in each row of ``estimated``, those of no class included.
        sigma: the standard deviation of the noise.
        alpha: the chance that a certificate is false.
    """
    label = jnp.argmax(jnp.asarray(selected), axis=-1).astype(jnp.int32)
    hits = jnp.take_along_axis(jnp.asarray(estimated), label[..., None], axis=-1)[..., 0]
    failure = failure_bound(hits, n, alpha)
    # The factor exceeds the error of ndtri in float32, which is below 4e-7.
    quantile = jnp.where(failure < 0.5, -jax.scipy.special.ndtri(failure), 0) * (1 - 5e-7)
    label = jnp.where(failure <= 0.5, label, ABSTAIN)
    return Certificate(label, jnp.asarray(sigma, jnp.float32) * quantile)


def certified_accuracy(radius: ArrayLike, correct: ArrayLike, at: ArrayLike) -> Array:
    """The share of inputs that are certified as correct at a radius or at several, in [0, 1].

    Args:
        radius: certified radii [n]. correct: bool [n], whether the certified label is the true one.
        at: a radius, or radii [radii], in the unit of ``radius``; the result has the shape of ``at``.
    """
    radius, correct, at = jnp.asarray(radius), jnp.asarray(correct, bool), jnp.asarray(at)
    within = correct[None] & (radius[None] >= at.reshape(-1, 1))
    return jnp.mean(within, axis=1, dtype=jnp.float32).reshape(at.shape)


def average_certified_radius(radius: ArrayLike, correct: ArrayLike) -> Array:
    """The mean radius, 0 where the label is wrong or `ABSTAIN` (ACR; Zhai et al. 2020); a scalar.

    Arguments are those of `certified_accuracy`.
    """
    return jnp.mean(jnp.where(jnp.asarray(correct, bool), jnp.asarray(radius), 0), dtype=jnp.float32)


def _inputs(x: Any) -> Array:
    x = as_array(x)
    if not jnp.issubdtype(x.dtype, jnp.floating) or x.ndim < 2 or x.size == 0:
        raise check.InputError(
            f"x must hold floats [batch, ...] of one input or more, got shape {x.shape} and dtype {x.dtype}; "
            "add the batch axis, and divide images by 255."
        )
    return check_box(x)
