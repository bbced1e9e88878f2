"""The separated attribute predictability score (Kumar, Sattigeri and Balakrishnan 2018, section 3).

The classifier of a code and a factor is scikit-learn's ``LinearSVC(C=.01, class_weight="balanced")``: for
each value against the others, a squared hinge loss, and a penalty on weight and bias. Such a problem has two
unknowns. Where its code is sorted, the rows inside of the margin are a prefix or a suffix, and the sums over
them are differences of running sums, so a step of Newton's method costs two binary searches.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, nan_where
from lrn.representation import factors as given
from lrn.representation.mcc import correlations
from lrn.representation.sorted_codes import first_true, groups, ordered, take
from lrn.types import Array

STEPS = 40
_SHARES = (1.0, 0.5, 0.25, 0.1)  # of Newton's step; the first that does not climb is taken


class SAP(NamedTuple):
    """How well single codes predict each factor.

    score: scalar, the mean over factors of the difference of the best and the second best code.
    table: [dim, factors], accuracies on test rows, or R^2.
    """

    score: Array
    table: Array


def sap(
    codes: Any,
    factors: Any,
    test_codes: Any,
    test_factors: Any,
    penalty: ArrayLike = 0.01,
    sizes: Any = None,
) -> SAP:
    """SAP of discrete factors, as disentanglement_lib computes it.

    Args:
        codes, test_codes: floats [n, dim] and [n_test, dim], two codes or more.
        factors, test_factors: whole numbers [n, factors] and [n_test, factors].
        penalty: scikit-learn's C, the weight of the losses, above 0; may be traced.
        sizes: the number of values of each factor, needed where the factors are traced.

    Raises:
        InputError: codes, factors or the penalty are wrong.
    """
    check.positive("penalty", penalty)
    train, test, sizes = given.train_and_test(codes, factors, test_codes, test_factors, sizes)
    given.several("SAP", train.codes.shape[1], "codes")
    bad = train.bad | jnp.isnan(above_zero(penalty))
    return of_table(nan_where(bad, accuracies(train, test, sizes, penalty)))


def sap_continuous(codes: Any, factors: Any) -> SAP:
    """SAP of factors that are numbers: R^2 of each factor with each code, on the same rows.

    Args:
        codes: floats [n, dim], two codes or more.
        factors: numbers [n, factors].

    Raises:
        InputError: codes or factors are wrong.
    """
    x, bad = given.as_codes(codes)
    y, bad_factors = given.numbers(factors, x.shape[0])
    given.several("SAP", x.shape[1], "codes")
    return of_table(_squares(x, y, bad | bad_factors))


@jax.jit
def of_table(table: Array) -> SAP:
    """The score of predictabilities [dim, factors]."""
    top = jax.lax.top_k(table.T, 2)[0]
    return SAP(jnp.mean(top[:, 0] - top[:, 1]), table)


@functools.partial(jax.jit, static_argnames="sizes")
def accuracies(train: given.Rows, test: given.Rows, sizes: given.Sizes, penalty: ArrayLike) -> Array:
    """The accuracy [dim, factors] on test rows of a linear classifier of each factor by each code."""
    mean = jnp.mean(train.codes, axis=0)
    scale = jnp.std(train.codes, axis=0)
    scale = jnp.where(scale > 1e-6 * jnp.max(jnp.abs(train.codes), axis=0), scale, 1.0)
    values, order = ordered((train.codes - mean[None]) / scale[None])
    x = ((test.codes - mean[None]) / scale[None]).T
    every = [groups(order, train.factors[:, j], size) for j, size in enumerate(sizes)]
    places = jnp.concatenate([of.place for of in every], axis=1)
    problem = Problem(
        values,
        jnp.take_along_axis(values, places, axis=1),
        jnp.concatenate([of.start + j * values.shape[1] for j, of in enumerate(every)]),
        jnp.concatenate([of.length for of in every]),
        jnp.asarray(np.repeat(sizes, sizes), jnp.float32),
    )
    weight, bias = machines(problem, mean / scale, 1 / scale, penalty)
    known = problem.length > 0

    def right(each: tuple[Array, Array, Array]) -> Array:
        z, w, b = each
        margin = jnp.where(known[None], z[:, None] * w[None] + b[None], -jnp.inf)
        each_factor = given.blocks(margin, sizes, axis=1)
        guess = jnp.stack([jnp.argmax(block, axis=1) for block in each_factor], axis=1)
        return jnp.mean(guess == test.factors, axis=0)

    return jax.lax.map(right, (x, weight, bias))


@jax.jit
def _squares(x: Array, y: Array, bad: Array) -> Array:
    return nan_where(bad, jnp.square(correlations(x, y)))


class Problem(NamedTuple):
    """One value of a factor against its others, for each value of each factor and each code.

    values: standardized codes in order, [dim, n].
    grouped: for each factor, the same within the groups of its values, [dim, factors * n].
    start, length: the first place and the number of rows of each value's group, int32 [problems].
    size: the number of values of each value's factor, [problems].
    """

    values: Array
    grouped: Array
    start: Array
    length: Array
    size: Array


def machines(
    problem: Problem, shift: Array, slope: Array, penalty: ArrayLike, steps: int = STEPS
) -> tuple[Array, Array]:
    """Weights and biases [dim, problems] of linear support vector machines with a squared hinge loss.

    Args:
        problem: the codes and values.
        shift, slope: [dim]; the raw weight is ``slope w``, the raw bias ``b - shift w``. The penalty is on
            the raw ones, as scikit-learn's is.
        penalty: scikit-learn's C.
        steps: the number of Newton's steps.
    """
    dim, n = problem.values.shape
    shape = (dim, problem.start.shape[0])
    nowhere, everywhere = jnp.zeros(shape, jnp.int32), jnp.full(shape, n, jnp.int32)
    begin, end = (jnp.broadcast_to(x[None], shape) for x in (problem.start, problem.start + problem.length))
    own = problem.length.astype(jnp.float32)
    heavy, balanced = (penalty * n / (problem.size * jnp.maximum(x, 1))[None] for x in (own, n - own))
    # With two values scikit-learn's one problem weighs both sides; with more, the others have weight 1.
    light = jnp.where(problem.size[None] == 2, balanced, penalty)
    sums, group_sums = ([_running(x**power) for power in range(3)] for x in (problem.values, problem.grouped))
    ridge = (jnp.square(slope) + jnp.square(shift))[:, None], -shift[:, None]

    def within(ordered: Array, low: Array, high: Array, w: Array, b: Array, sign: float) -> list[Array]:
        """The first and the last place, of those in [low, high), of rows with ``sign * (w x + b) < 1``."""
        rising = sign * w > 0

        def past(k: Array) -> Array:  # false and then true along the places
            inside = sign * (w * take(ordered, k) + b) < 1
            return jnp.where(rising, ~inside, inside)

        edge = first_true(past, low, high, n)
        return [jnp.where(rising, low, edge), jnp.where(rising, edge, high)]

    def moments(of: list[Array], ends: list[Array]) -> list[Array]:
        """Counts, sums and sums of squares of the codes between two places."""
        return [take(s, ends[1]) - take(s, ends[0]) for s in of]

    def loss(w: Array, b: Array) -> tuple[Array, ...]:
        """w, b, the objective, its gradient (w, b) and its Hessian (ww, wb, bb), each [dim, problems]."""
        mine = moments(group_sums, within(problem.grouped, begin, end, w, b, 1.0))
        inside = moments(group_sums, within(problem.grouped, begin, end, w, b, -1.0))
        others = moments(sums, within(problem.values, nowhere, everywhere, w, b, -1.0))
        others = [a - c for a, c in zip(others, inside)]
        h0, h1, h2 = (heavy * p + light * q for p, q in zip(mine, others))
        t0, t1 = (heavy * p - light * q for p, q in zip(mine[:2], others[:2]))
        penalties = (ridge[0] * w * w + 2 * ridge[1] * w * b + b * b) / 2
        value = penalties + w * w * h2 + 2 * w * b * h1 + b * b * h0 - 2 * (w * t1 + b * t0) + h0
        gw = ridge[0] * w + ridge[1] * b + 2 * (w * h2 + b * h1 - t1)
        gb = ridge[1] * w + b + 2 * (w * h1 + b * h0 - t0)
        return w, b, value, gw, gb, ridge[0] + 2 * h2, ridge[1] + 2 * h1, jnp.asarray(1 + 2 * h0)

    def step(_: Array, at: tuple[Array, ...]) -> tuple[Array, ...]:
        w, b, value, gw, gb, ww, wb, bb = at
        determinant = ww * bb - wb * wb
        dw, db = (wb * gb - bb * gw) / determinant, (wb * gw - ww * gb) / determinant
        new = jax.lax.map(lambda share: loss(w + share * dw, b + share * db), jnp.asarray(_SHARES))
        # Steps that climb by no more than rounding pass, so that the last digits still converge.
        fine = new[2] <= (value + 1e-6 * jnp.abs(value))[None]
        pick, moves = jnp.argmax(fine, axis=0)[None], jnp.any(fine, axis=0)
        return tuple(
            jnp.where(moves, jnp.take_along_axis(x, pick, axis=0)[0], old) for x, old in zip(new, at)
        )

    zero = jnp.zeros(shape, problem.values.dtype)
    w, b, *_ = jax.lax.fori_loop(0, steps, step, loss(zero, zero))
    return w, b


def _running(x: Array) -> Array:
    """Sums [dim, n + 1] of the first k entries of each row."""
    return jnp.pad(jnp.cumsum(x, axis=1), ((0, 0), (1, 0)))
