"""The law-school model of counterfactual fairness (Kusner et al. 2017, section 5): its parameters and rows.

The equations, and the fit, are those of `lrn.fair.law_school`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jax.scipy.stats import norm, poisson

from lrn import check
from lrn.arrays import readable
from lrn.fair import arguments
from lrn.fair.mechanisms import additive, binary, ordinal
from lrn.fair.quadrature import Quadrature, quadrature
from lrn.fair.scm import SCM, Values, scm
from lrn.types import Array


class LawModel(NamedTuple):
    """The parameters. ugpa, lsat, zfya: [2 + p], the intercept and the effects of K and of the p protected
    attributes. sd: the standard deviation of ugpa given its causes, a scalar.
    """

    ugpa: Array
    lsat: Array
    zfya: Array
    sd: Array


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

    Raises:
        InputError: the rows are wrong, as for `law_rows`, or have other protected attributes than the model.
    """
    rows = law_rows(*rows)
    p = np.shape(model.ugpa)[0] - 2
    if rows.protected.shape[1] != p:
        raise check.InputError(
            f"the model has {p} protected attributes, got rows with {rows.protected.shape[1]}; give its own."
        )
    return posterior(model, rows, nodes)


def posterior(model: LawModel, rows: LawRow, nodes: int) -> Quadrature:
    """`knowledge_posterior` of rows that were checked, for a fit that calls it often."""
    return quadrature(lambda u, row: log_likelihood(model, u, row), rows, nodes)


def law_scm(model: LawModel, shares: Mapping[str, float], highest: int = 100) -> SCM:
    """The causal model with the variables of ``shares``, and knowledge, ugpa, lsat and zfya.

    ugpa and zfya are additive in their noise. lsat is `lrn.fair.mechanisms.ordinal`: the counterfactual of an
    individual keeps the quantile of the noise.

    Args:
        model: the parameters. shares: from each protected attribute, in the order of the model, to its chance
            of 1; the attributes are independent of each other.
        highest: the largest lsat that has a chance.

    Raises:
        InputError: the number of attributes is not that of the model, a share lies outside of [0, 1], or
            ``highest`` is no whole number of 1 or more.
    """
    check.integer("highest", highest, 1)
    for name, share in shares.items():
        check.between(f"the share of {name!r}", share, 0, 1)
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
