"""An audit for unfair treatment of a subgroup that nobody named, with a permutation test.

An oracle, any model of `lrn.fair.model`, searches the features for the subgroup with the largest
``size * |gap|``: its share of the rows times the distance of its mean residual from the mean of all audited
rows. The search is a weighted classification (Kearns et al. 2018, section 4): the label is whether a residual
exceeds the mean, the weight by how much it differs. Some rows find the subgroup, and others measure it.

A subgroup that a flexible oracle finds has a gap by chance. So the residuals are permuted among the audited
rows, and the search is done again each time: this is the null of residuals independent of the features.

| audit | residual | among |
|---|---|---|
| statistical parity | the decision | all rows |
| false-positive rate | the decision | rows with label 0 |
| true-positive rate | the decision | rows with label 1 |
| multiaccuracy (Hebert-Johnson et al. 2018) | label minus score | all rows |

Features are what fairness is asked about: for statistical parity the protected attributes only, since
decisions depend on other features by design. Residuals of scores have a variance that depends on the score,
so that the test of multiaccuracy is approximate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import readable
from lrn.fair import arguments
from lrn.fair.model import Fit, Predict, decide
from lrn.fair.rates import divide
from lrn.types import Array, Key


class Audit(NamedTuple):
    """The subgroup that the oracle found, measured on the rows held out; scalars but for two fields.

    predict: ``decide(predict(x))`` is membership in the subgroup, whose residuals the oracle expects to lie
        above the mean. The other rows are a subgroup too: their value is minus this one.
    value: ``size * gap``, signed: below 0 where the held-out rows contradict the search. Its largest possible
        value is a quarter of the range of the residuals.
    size: the subgroup's audited rows, as a share of all held-out rows.
    gap: its mean residual minus that of all audited rows. rest_gap: the same for the other audited rows; the
        smaller of both subgroups has the larger gap. NaN for a subgroup without rows.
    null: [permutations], the values after permutation.
    p_value: the share of null values at least as large, the value itself counted; one-sided. It is rounded
        down, so that a share of exactly 1/20 is at most .05.
    excess: the value minus the mean of the null.
    """

    predict: Predict
    value: Array
    size: Array
    gap: Array
    rest_gap: Array
    null: Array
    p_value: Array
    excess: Array


class _Rows(NamedTuple):
    x: Array  # [n, dim]
    residual: Array  # [n], NaN where a trace hid a wrong value
    train: Array  # [n], 1 for the audited rows of the search
    held: Array  # [n], 1 for the audited rows that are held out
    audited: Array  # bools [n]
    held_out: Array  # how many rows are held out, audited or not


def audit(
    key: Key, fit: Fit, x: Any, residual: Any, held_out: Any, *, among: Any = None, permutations: int = 199
) -> Audit:
    """The worst subgroup by a pure oracle, and its p-value; jit and vmap safe. All fits run at once.

    The class of subgroups should contain the complement of each, as those of linear models and of trees do;
    otherwise audit minus the residual too.

    Args:
        key: a key, for the permutations.
        fit: a pure model, such as ``logistic(LogisticConfig())`` for halfspaces.
        x: features [n, dim]. residual: what is audited [n], of any unit.
        held_out: bools [n], the rows that measure the subgroup; the others find it.
        among: bools [n], the audited rows; None: all.
        permutations: their number; the smallest p-value is ``1 / (permutations + 1)``.

    Raises:
        InputError: an argument is wrong, or the audited residuals of a part are too few or all equal. (Under
            jit wrong values give NaN.)
    """
    rows = _prepared(x, residual, held_out, among, permutations)

    def one(residual: Array) -> Array:
        again = rows._replace(residual=residual)
        return _measured(again, decide(_search(fit, again)(rows.x)))[0]

    predict = _search(fit, rows)
    found = _measured(rows, decide(predict(rows.x)))
    permuted = jax.vmap(lambda k: _permuted(k, rows))(jax.random.split(key, permutations))
    return _result(predict, found, jax.vmap(one)(permuted))


def audit_on_host(
    key: Key, fit: Fit, x: Any, residual: Any, held_out: Any, *, among: Any = None, permutations: int = 199
) -> Audit:
    """`audit` for oracles that run on the host, outside of jit, such as trees of `from_sklearn`.

    Arguments and errors are the same. The oracle is fitted once a permutation.
    """
    rows = _prepared(x, residual, held_out, among, permutations)
    measure = jax.jit(_measured)
    predict = _search(fit, rows)
    found = measure(rows, decide(predict(rows.x)))
    null = []
    for draw in jax.jit(jax.vmap(_permuted, in_axes=(0, None)))(jax.random.split(key, permutations), rows):
        again = rows._replace(residual=draw)
        null.append(measure(again, decide(_search(fit, again)(rows.x)))[0])
    return _result(predict, found, jnp.stack(null))


def _search(fit: Fit, rows: _Rows) -> Predict:
    """The model that separates audited rows of the search above the mean from those below."""
    apart = rows.residual - divide(jnp.sum(rows.train * rows.residual), jnp.sum(rows.train))
    return fit(rows.x, (apart > 0).astype(rows.x.dtype), rows.train * jnp.abs(apart))


def _measured(rows: _Rows, member: Array) -> tuple[Array, Array, Array, Array]:
    """Value, size, gap, and the gap of the rest, of a subgroup [n] on the rows held out."""
    mean = divide(jnp.sum(rows.held * rows.residual), jnp.sum(rows.held))
    apart = rows.held * (rows.residual - mean)
    value = jnp.sum(member * apart) / rows.held_out
    size, rest = (
        jnp.sum(member * rows.held) / rows.held_out,
        jnp.sum((1 - member) * rows.held) / rows.held_out,
    )
    return value, size, divide(value, size), divide(-value, rest)


def _permuted(key: Key, rows: _Rows) -> Array:
    """The residuals [n], permuted among the audited rows."""
    last = jnp.where(rows.audited, 0, 1)
    draw = jax.random.uniform(key, last.shape)
    source = jnp.lexsort((draw, last))  # the audited rows in random order, then the others
    place = jnp.argsort(last, stable=True)
    moved = rows.residual.at[place].set(rows.residual[source])
    return jnp.where(rows.audited, moved, rows.residual)


def _result(predict: Predict, found: tuple[Array, Array, Array, Array], null: Array) -> Audit:
    value = found[0]
    larger = jnp.sum(~(null < value))  # a null value that is NaN counts against the finding
    p_value = jnp.where(jnp.isnan(value), jnp.nan, jnp.asarray(_p_values(null.size, value.dtype))[larger])
    return Audit(predict, *found, null, p_value, value - jnp.mean(null))


def _p_values(permutations: int, dtype: Any) -> np.ndarray:
    """The p-value for 0, 1, ... larger null values, [permutations + 1], rounded down.

    The float32 nearest to 1/20 is larger than .05, so that a test at .05 would miss the rank that meets it.
    """
    exact = np.arange(1, permutations + 2) / (permutations + 1)
    near = exact.astype(dtype)
    return np.where(near > exact, np.nextafter(near, np.zeros_like(near)), near)


def _prepared(x: Any, residual: Any, held_out: Any, among: Any, permutations: int) -> _Rows:
    check.integer("permutations", permutations, 1)
    x = arguments.features("x", x)
    n = x.shape[0]
    residual = arguments.floats("residual", residual, n).astype(x.dtype)
    held_out = arguments.split("held_out", held_out, n)
    audited = jnp.ones(n, bool) if among is None else arguments.mask("among", among, n)
    for name, part in (("found", audited & ~held_out), ("measured", audited & held_out)):
        _enough(name, residual, part)
    residual = jnp.where(jnp.all(jnp.isfinite(residual)), residual, jnp.nan)
    train, held = (audited & ~held_out).astype(x.dtype), (audited & held_out).astype(x.dtype)
    return _Rows(x, residual, train, held, audited, jnp.sum(held_out).astype(x.dtype))


def _enough(name: str, residual: Array, part: Array) -> None:
    """Raise InputError where a part has too few audited rows to search or measure."""
    if not (readable(residual) and readable(part)):
        return
    kept = np.asarray(residual)[np.asarray(part)]
    if len(kept) < 2 or kept.min() == kept.max():
        what = f"only {len(kept)} rows" if len(kept) < 2 else "residuals that are all equal"
        raise check.InputError(
            f"the audited rows on which a subgroup is {name} have {what}; give rows whose residuals differ."
        )
