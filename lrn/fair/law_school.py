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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.fair import arguments
from lrn.fair.law_model import LawModel, LawRow, law_rows, log_prior, posterior
from lrn.fair.law_model import knowledge_posterior as knowledge_posterior
from lrn.fair.law_model import law_scm as law_scm
from lrn.fair.law_model import log_likelihood as log_likelihood
from lrn.supervised import lbfgs
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

    def __post_init__(self) -> None:
        check.non_negative("prior", self.prior)
        check.integer("nodes", self.nodes)
        check.between("nodes", self.nodes, 2, 128)
        check.positive("tolerance", self.tolerance)
        check.counts(self, "steps")


class LawFit(NamedTuple):
    """A fitted model.

    model: the parameters. objective: the log prior plus the log marginal likelihood, in nats, divided by the
        sum of the weights. gradient: the largest entry of its gradient; above the tolerance where the fit has
        not converged.
    """

    model: LawModel
    objective: Array
    gradient: Array


def fit_law_school(rows: LawRow, weights: Any = None, config: LawConfig = LawConfig()) -> LawFit:  # noqa: B008
    """The parameters of the largest posterior density, by L-BFGS; jit and vmap safe.

    Args:
        rows: the result of `law_rows`, with zfya. weights: [n], 0 or more; None: all 1. config: the settings.

    Raises:
        InputError: zfya is missing, or a row or a weight is wrong. (Under jit wrong values give NaN.)
    """
    if rows.zfya is None:
        raise check.InputError("the fit needs zfya, got None; give it to law_rows.")
    rows = law_rows(*rows)
    n, p = rows.protected.shape
    weights = arguments.weights(weights, n).astype(rows.ugpa.dtype)
    valid = arguments.proper(weights) & jnp.isfinite(jnp.sum(rows.lsat))
    share = jnp.where(valid, weights / jnp.sum(weights), jnp.nan)

    def objective(theta: tuple) -> Array:
        evidence = posterior(_model(theta), rows, config.nodes).log_evidence
        return -jnp.sum(share * evidence) - config.prior * log_prior(_model(theta)) / jnp.sum(weights)

    theta, loss, gradient = lbfgs.minimize(objective, _start(rows, share, p), config.steps, config.tolerance)
    model = _model(theta)
    sign = jnp.where(model.lsat[1] < 0, -1, 1).astype(share.dtype)
    ugpa, lsat, zfya = (coef.at[1].multiply(sign) for coef in model[:3])
    model = LawModel(ugpa, lsat, zfya, model.sd)
    known = jnp.where(valid & jnp.isfinite(loss), 1, jnp.nan).astype(share.dtype)
    return jax.tree.map(lambda leaf: leaf * known, LawFit(model, -loss, gradient))


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
