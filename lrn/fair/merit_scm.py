"""A causal model of merit with a binary group, whose counterfactuals and posteriors are known exactly.

Variables, each with standard normal noise e of its own:

    group ~ Bernoulli(share)        merit ~ N(0, 1), latent and independent of the group
    school = base_gap * group + loading * merit + spread * e      a mediator
    test = bias * group + merit + spread * e                      a measure of merit
    proxy = proxy * group + e                                     says only who belongs to group 1
    outcome = 1 if merit_slope * merit + school_slope * school + direct * group + e > threshold, else 0

All variables but the group and the outcome are linear and Gaussian, so chances and posteriors have closed
forms. ``base_gap`` moves the base rate of group 1 by way of the mediator, ``direct`` moves it directly.
``bias`` is the error of measurement that depends on the group, and ``proxy`` lets a predictor find the group.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import nan_where, readable
from lrn.config import config
from lrn.fair import arguments
from lrn.fair.mechanisms import additive, binary, normal_noise
from lrn.fair.scm import SCM, Mechanism, Values, draw_noise, intervene, observe, scm
from lrn.types import Array, Key

FEATURES = ("school", "test", "proxy")  # what a predictor may read beside the group


@config
class MeritConfig:
    """Dials of the model, in units of the standard deviation of merit; see the module's docstring.

    share: the chance of group 1, in [0, 1].
    base_gap: the effect of the group on school. direct: its effect on the outcome's latent score.
    bias: its effect on test. proxy: its effect on proxy, in units of the proxy's noise.
    loading: the effect of merit on school. spread: the standard deviation of the noise of school and test.
    merit_slope, school_slope: the effects of merit and school on the outcome's latent score.
    threshold: the latent score above which the outcome is 1.
    """

    share: float = 0.5
    base_gap: float = -1.0
    direct: float = -0.5
    bias: float = -0.5
    proxy: float = 2.0
    loading: float = 0.5
    spread: float = 0.5
    merit_slope: float = 1.0
    school_slope: float = 0.5
    threshold: float = 0.0

    def __post_init__(self) -> None:
        check.between("share", self.share, 0, 1)
        check.positive("spread", self.spread)
        effects = ("base_gap", "direct", "bias", "proxy", "loading", "merit_slope", "school_slope")
        for name in (*effects, "threshold"):
            check.finite(name, getattr(self, name))


class MeritRows(NamedTuple):
    """Individuals with all that is known of them.

    factual: the variables, floats [n] by name. counterfactual: the variables of the same individuals in the
        other group.
    chance: P(outcome = 1 | merit, group), [n].
    posterior_mean, posterior_sd: of merit given group, school and test, [n].
    """

    factual: dict[str, Array]
    counterfactual: dict[str, Array]
    chance: Array
    posterior_mean: Array
    posterior_sd: Array


def merit_scm(config: MeritConfig) -> SCM:
    """The causal model; every variable but the group and the outcome is additive in its noise."""
    c = config

    def cut(parents: Values) -> Array:
        level = c.merit_slope * parents["merit"] + c.school_slope * parents["school"]
        return c.threshold - level - c.direct * parents["group"]

    def outcome(parents: Values, noise: Array) -> Array:
        return (noise > cut(parents)).astype(noise.dtype)

    def draw(key: Key, parents: Values, value: Array) -> Array:
        limit = cut(parents)
        low, high = jnp.where(value > 0, limit, -jnp.inf), jnp.where(value > 0, jnp.inf, limit)
        return jax.random.truncated_normal(key, low, high, limit.shape, limit.dtype)

    causes = ("group", "merit", "school")
    return scm(
        binary("group", (), lambda parents: c.share),
        additive("merit", (), lambda parents: 0.0),
        additive(
            "school",
            ("group", "merit"),
            lambda parents: c.base_gap * parents["group"] + c.loading * parents["merit"],
            c.spread,
        ),
        additive(
            "test", ("group", "merit"), lambda parents: c.bias * parents["group"] + parents["merit"], c.spread
        ),
        additive("proxy", ("group",), lambda parents: c.proxy * parents["group"]),
        Mechanism("outcome", causes, outcome, normal_noise, None, draw),
    )


def draw_merit(key: Key, n: int, config: MeritConfig) -> MeritRows:
    """n individuals with their true counterfactuals; jit and vmap safe over the config's floats.

    Raises:
        InputError: ``n`` is no whole number of 1 or more.
    """
    model = merit_scm(config)
    noise = draw_noise(model, key, n)
    factual = observe(model, noise)
    counterfactual = observe(intervene(model, {"group": 1 - factual["group"]}), noise)
    mean, sd = merit_posterior(config, factual["group"], factual["school"], factual["test"])
    chance = outcome_chance(config, factual["merit"], factual["group"])
    return MeritRows(factual, counterfactual, chance, mean, sd)


def outcome_chance(config: MeritConfig, merit: ArrayLike, group: ArrayLike) -> Array:
    """P(outcome = 1 | merit, group), the school integrated out; shapes as ``merit`` and ``group``."""
    c = config
    merit_effect = c.merit_slope + c.school_slope * c.loading
    group_effect = c.direct + c.school_slope * c.base_gap
    level = merit_effect * jnp.asarray(merit) + group_effect * jnp.asarray(group) - c.threshold
    return norm.cdf(level / jnp.sqrt(1 + jnp.square(c.school_slope * c.spread)))


def chance_given_merit(config: MeritConfig, merit: ArrayLike) -> Array:
    """P(outcome = 1 | merit), the group integrated out too; shape as ``merit``."""
    return (1 - config.share) * outcome_chance(config, merit, 0) + config.share * outcome_chance(
        config, merit, 1
    )


def base_rates(config: MeritConfig) -> Array:
    """P(outcome = 1 | group), [2]."""
    c = config
    group_effect = c.direct + c.school_slope * c.base_gap
    variance = 1 + jnp.square(c.school_slope * c.spread)
    variance = variance + jnp.square(c.merit_slope + c.school_slope * c.loading)
    return norm.cdf((group_effect * jnp.arange(2.0) - c.threshold) / jnp.sqrt(variance))


def merit_posterior(config: MeritConfig, group: Any, school: Any, test: Any) -> tuple[Array, Array]:
    """The mean and the standard deviation, [n], of the normal posterior of merit; exact.

    The outcome is not used, and the proxy says nothing more.

    Args:
        config: the dials. group: 0 or 1. school, test: numbers. Each [n] or a number.

    Raises:
        InputError: an argument is wrong. (Under jit the mean is NaN for a group other than 0 and 1.)
    """
    c = config
    given = {"group": group, "school": school, "test": test}
    group, school, test = (arguments.numbers(name, value) for name, value in given.items())
    if len({v.shape for v in (group, school, test) if v.ndim}) > 1:
        shapes = [v.shape for v in (group, school, test)]
        raise check.InputError(f"group, school and test must have one length, got shapes {shapes}.")
    fine = ((group == 0) | (group == 1)) & jnp.isfinite(school + test)
    if readable(fine) and not np.asarray(fine).all():
        raise check.InputError(
            "group must be 0 or 1, and school and test finite, in every row; leave out the other rows."
        )
    school = nan_where(~fine, school + jnp.zeros(jnp.shape(fine)))
    noise = jnp.square(c.spread)
    precision = 1 + (jnp.square(c.loading) + 1) / noise
    evidence = c.loading * (school - c.base_gap * group) + (test - c.bias * group)
    mean = evidence / noise / precision
    return mean, jnp.broadcast_to(1 / jnp.sqrt(precision), mean.shape)
