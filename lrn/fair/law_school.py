"""The law-school model of counterfactual fairness (Kusner et al. 2017, section 5).

Knowledge K is latent and does not depend on the protected attributes A, such as race and sex:

    K ~ N(0, 1)
    ugpa ~ N(g0 + gK K + gA A, sd)              undergraduate grades
    lsat ~ Poisson(exp(l0 + lK K + lA A))       the admission test
    zfya ~ N(f0 + fK K + fA A, 1)               standardized first-year grades, the outcome

The authors fit the model by Markov chains under weak priors: each coefficient is N(0, 1), and the variance
of ugpa is inverse gamma (1, 1). Here the posterior density is maximized, K integrated out by quadrature,
which is deterministic. The prior of the variance matters: on the real data, where lsat varies less than a
Poisson count does, the likelihood alone is largest at a variance of 0, where K is the residual of ugpa. The
sign of K is that lK is 0 or more. The authors have no intercept f0, since their columns of A for race have
the sum 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import gammaln
from jax.scipy.stats import norm, poisson

from lrn import check
from lrn.arrays import readable
from lrn.config import config
from lrn.fair import arguments
from lrn.fair.mechanisms import additive, binary, ordinal
from lrn.fair.quadrature import Quadrature, quadrature
from lrn.fair.scm import SCM, Values, scm
from lrn.types import Array


@config
class LawConfig:
    """Settings of the fit.

    prior: the weight of the log prior, 0 or more; 1 is the authors' prior, 0 the maximum of the likelihood.
    nodes: the number of nodes of the quadrature.
    tolerance: the fit ends when no entry of the gradient of the objective exceeds this.
    steps: the largest number of steps of L-BFGS.
    """

    prior: float = 1.0
    nodes: int = 12
    tolerance: float = 1e-5
    steps: int = 300

    def __post_init__(self):
        check.non_negative("prior", self.prior)
        check.between("nodes", self.nodes, 2, 128)
        check.positive("tolerance", self.tolerance)
        check.counts(self, "steps")


class LawModel(NamedTuple):
    """The parameters. ugpa, lsat, zfya: [2 + p], the intercept and the effects of K and of the p protected
    attributes. sd: the standard deviation of ugpa given its causes, a scalar.
    """

    ugpa: Array
    lsat: Array
    zfya: Array
    sd: Array


class LawFit(NamedTuple):
    """A fitted model.

    model: the parameters. objective: the log prior plus the log marginal likelihood, in nats, divided by the
        sum of the weights. gradient: the largest entry of its gradient; above the tolerance where the fit has
        not converged.
    """

    model: LawModel
    objective: Array
    gradient: Array


class LawRow(NamedTuple):
    """What is observed: ugpa, lsat [n]; protected [n, p]; zfya [n], or None where it is not to be used."""

    ugpa: Array
    lsat: Array
    protected: Array
    zfya: Any = None


def law_rows(ugpa: Any, lsat: Any, protected: Any, zfya: Any = None) -> LawRow:
    """The rows after all checks.

    Args:
        ugpa: grades [n]. lsat: whole numbers, 0 or more [n]; round the halves of the raw data.
        protected: protected attributes [n, p], such as 0 or 1 for race and sex. zfya: the outcome [n].

    Raises:
        InputError: an argument is wrong. (Under jit an lsat that is no count gives NaN.)
    """
    protected = arguments.features("protected", protected)
    n = protected.shape[0]
    lsat = arguments.floats("lsat", lsat, n, 0)
    whole = lsat == jnp.floor(lsat)
    if readable(whole) and not np.asarray(whole).all():
        raise check.InputError(
            f"lsat must be whole numbers, got {np.asarray(lsat)[~np.asarray(whole)][0]:g}; round them."
        )
    lsat = jnp.where(whole & (lsat >= 0), lsat, jnp.nan)
    zfya = None if zfya is None else arguments.floats("zfya", zfya, n)
    return LawRow(arguments.floats("ugpa", ugpa, n), lsat, protected, zfya)


def log_likelihood(model: LawModel, knowledge: Array, row: LawRow) -> Array:
    """The log of the chance of one row given its knowledge, a scalar; zfya counts if the row has it."""

    def level(coef: Array) -> Array:
        return coef[0] + coef[1] * knowledge + jnp.sum(coef[2:] * row.protected)

    rate = level(model.lsat)
    found = norm.logpdf(row.ugpa, level(model.ugpa), model.sd)
    found = found + row.lsat * rate - jnp.exp(rate) - gammaln(row.lsat + 1)
    return found if row.zfya is None else found + norm.logpdf(row.zfya, level(model.zfya))


def log_prior(model: LawModel) -> Array:
    """The log of the authors' prior density of coefficients and of the variance of ugpa, a scalar.

    They are given up to a constant; the intercept of zfya, which the authors have not, is N(0, 1) too.
    """
    coef = jnp.concatenate(model[:3])
    return -jnp.sum(jnp.square(coef)) / 2 - 4 * jnp.log(model.sd) - 1 / jnp.square(model.sd)


def knowledge_posterior(model: LawModel, rows: LawRow, nodes: int = 12) -> Quadrature:
    """The posterior of knowledge for each row, by `lrn.fair.quadrature`; level 2 uses its mean.

    Without zfya in the rows it rests on ugpa, lsat and the protected attributes, as a predictor must.
    """
    return quadrature(lambda u, row: log_likelihood(model, u, row), rows, nodes)


def fit_law_school(rows: LawRow, weights: Any = None, config: LawConfig = LawConfig()) -> LawFit:  # noqa: B008
    """The parameters of the largest posterior density, by L-BFGS; jit and vmap safe.

    Args:
        rows: the result of `law_rows`, with zfya. weights: [n], 0 or more; None: all 1. config: the settings.

    Raises:
        InputError: zfya is missing, or a weight is wrong. (Under jit wrong values give NaN.)
    """
    if rows.zfya is None:
        raise check.InputError("the fit needs zfya, got None; give it to law_rows.")
    n, p = rows.protected.shape
    weights = arguments.weights(weights, n).astype(rows.ugpa.dtype)
    valid = jnp.all(weights >= 0) & jnp.isfinite(jnp.sum(rows.lsat))
    share = jnp.where(valid, weights / jnp.sum(weights), jnp.nan)

    def objective(theta: tuple) -> Array:
        evidence = knowledge_posterior(_model(theta), rows, config.nodes).log_evidence
        return -jnp.sum(share * evidence) - config.prior * log_prior(_model(theta)) / jnp.sum(weights)

    theta, loss, gradient = _minimize(objective, _start(rows, share, p), config)
    model = _model(theta)
    sign = jnp.where(model.lsat[1] < 0, -1, 1).astype(share.dtype)
    ugpa, lsat, zfya = (coef.at[1].multiply(sign) for coef in model[:3])
    model = LawModel(ugpa, lsat, zfya, model.sd)
    known = jnp.where(valid & jnp.isfinite(loss), 1, jnp.nan).astype(share.dtype)
    return jax.tree.map(lambda leaf: leaf * known, LawFit(model, -loss, gradient))


def law_scm(model: LawModel, shares: Mapping[str, float], highest: int = 100) -> SCM:
    """The causal model with the variables of ``shares``, and knowledge, ugpa, lsat and zfya.

    ugpa and zfya are additive in their noise. lsat is `lrn.fair.mechanisms.ordinal`: the counterfactual of an
    individual keeps the quantile of the noise.

    Args:
        model: the parameters. shares: from each protected attribute, in the order of the model, to its chance
            of 1; the attributes are independent of each other.
        highest: the largest lsat that has a chance.

    Raises:
        InputError: the number of attributes is not that of the model.
    """
    names = _named(model, shares)
    causes = ("knowledge", *names)

    def level(coef: Array, values: Values) -> Array:
        found = coef[0] + coef[1] * values["knowledge"]
        for i, name in enumerate(names):
            found = found + coef[2 + i] * values[name]
        return found

    def chances(values: Values) -> Array:
        count = jnp.arange(highest + 1)[None]
        return poisson.pmf(count, jnp.exp(level(model.lsat, values))[:, None])

    return scm(
        *(binary(name, (), lambda _, share=share: jnp.asarray(share)) for name, share in shares.items()),
        additive("knowledge", (), lambda _: 0.0),
        additive("ugpa", causes, lambda values: level(model.ugpa, values), model.sd),
        ordinal("lsat", causes, chances),
        additive("zfya", causes, lambda values: level(model.zfya, values)),
    )


def _named(model: LawModel, shares: Mapping[str, float]) -> Sequence[str]:
    p = model.ugpa.shape[0] - 2
    if len(shares) != p:
        raise check.InputError(
            f"the model has {p} protected attributes, got shares of {len(shares)}; give one share for each."
        )
    return tuple(shares)


def _model(theta: tuple) -> LawModel:
    ugpa, lsat, zfya, log_sd = theta
    return LawModel(ugpa, lsat, zfya, jnp.exp(log_sd))


def _start(rows: LawRow, share: Array, p: int) -> tuple:
    """Means and spreads of the data, and small effects of knowledge."""

    def spread(value: Array) -> tuple[Array, Array]:
        mean = jnp.sum(share * value)
        return mean, jnp.sqrt(jnp.sum(share * jnp.square(value - mean)))

    def coef(mean: Array, effect: Array) -> Array:
        return jnp.concatenate([jnp.stack([mean, effect]), jnp.zeros(p, mean.dtype)])

    (grade, sd), (test, test_sd), (year, year_sd) = (spread(v) for v in (rows.ugpa, rows.lsat, rows.zfya))
    effects = coef(grade, sd / 3), coef(jnp.log(test), test_sd / test / 3), coef(year, year_sd / 3)
    return *effects, jnp.log(sd)


def _minimize(objective: Any, theta: tuple, config: LawConfig) -> tuple[tuple, Array, Array]:
    """The minimum, its value, and the largest entry of the gradient there."""
    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def going(carry: tuple) -> Array:
        _, _, count, largest = carry
        return (count < config.steps) & (largest > config.tolerance)

    def step(carry: tuple) -> tuple:
        theta, state, count, _ = carry
        value, gradient = value_and_grad(theta, state=state)
        updates, state = solver.update(gradient, state, theta, value=value, grad=gradient, value_fn=objective)
        theta = optax.apply_updates(theta, updates)
        return theta, state, count + 1, optax.tree.norm(optax.tree.get(state, "grad"), ord=jnp.inf)

    start = theta, solver.init(theta), 0, jnp.asarray(jnp.inf, theta[0].dtype)
    theta, state, _, largest = jax.lax.while_loop(going, step, start)
    return theta, optax.tree.get(state, "value"), largest
