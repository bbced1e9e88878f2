"""Recourse against linear programs, bounded least squares, closed forms and grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog, lsq_linear

from lrn.check import InputError
from lrn.fair.logistic import Linear
from lrn.fair.recourse import Terms, group_recourse, linear_recourse, terms
from lrn.fair.recourse_search import RecourseConfig, search_recourse

RNG = np.random.default_rng(0)
COEF, INTERCEPT = np.array([1.0, -2.0, 0.5, 0.0, 3.0]), -1.0
X = RNG.normal(size=(24, 5)) - np.array([1.0, -1.0, 0, 0, 0.3])
COST = np.array([1.0, 3.0, 0.4, 1.0, 2.0])
ACTIONABLE = np.array([True, True, True, True, False])
LOW, HIGH = np.array([-2.0, -1.0, -np.inf, -1.0, -5.0]), np.array([0.5, 2.0, 1.0, 1.0, 5.0])
MARGIN = 0.1
LINEAR = {
    norm: jax.jit(lambda m, x, t, margin, norm=norm: linear_recourse(m, x, t, norm, margin))
    for norm in ("l1", "l2", "linf")
}


def bounds_of(row, low, high):
    return [
        (min(lo - v, 0), max(hi - v, 0)) if a else (0, 0) for v, lo, hi, a in zip(row, low, high, ACTIONABLE)
    ]


def by_program(row, norm, low, high):
    """The least cost by a linear program, or by penalized least squares for the Euclidean norm."""
    missing = MARGIN - (row @ COEF + INTERCEPT)
    box = bounds_of(row, low, high)
    if norm == "l2":
        low, high = np.array(box).T
        free = high > low
        system = np.concatenate([np.diag(COST)[free][:, free], 1e5 * COEF[None, free]])
        goal = np.concatenate([np.zeros(free.sum()), [1e5 * missing]])
        move = lsq_linear(system, goal, (low[free], high[free]), tol=1e-14, lsq_solver="exact").x
        return np.linalg.norm(COST[free] * move) if COEF[free] @ move > missing - 1e-4 else np.inf
    size = len(row)
    if norm == "l1":  # d, and t >= cost |d| each
        goal, extra = np.concatenate([np.zeros(size), np.ones(size)]), np.eye(size)
    else:
        goal, extra = np.concatenate([np.zeros(size), [1]]), np.ones((size, 1))
    sides = [np.concatenate([s * np.diag(COST), -extra], axis=1) for s in (1, -1)]
    reach = np.concatenate([-COEF, np.zeros(extra.shape[1])])[None]
    found = linprog(
        goal,
        A_ub=np.concatenate([*sides, reach]),
        b_ub=np.concatenate([np.zeros(2 * size), [-missing]]),
        bounds=box + [(0, None)] * extra.shape[1],
    )
    return found.fun if found.status == 0 else np.inf


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("bounded", [True, False])
def test_the_linear_cost_is_that_of_a_convex_program(norm, bounded):
    low, high = (LOW, HIGH) if bounded else (np.full(5, -np.inf), np.full(5, np.inf))
    with jax.enable_x64(True):
        allowed = terms(5, COST, ACTIONABLE, low, high)
        found = LINEAR[norm](Linear(jnp.asarray(COEF), jnp.asarray(INTERCEPT)), X, allowed, MARGIN)
        change, cost = np.asarray(found.change), np.asarray(found.cost)
    logit = X @ COEF + INTERCEPT
    wanted = np.array([0 if z > 0 else by_program(row, norm, low, high) for row, z in zip(X, logit)])
    np.testing.assert_allclose(cost, wanted, rtol=1e-5, atol=1e-7)
    assert np.isinf(wanted).any() == bounded
    denied = (logit <= 0) & np.isfinite(cost)
    np.testing.assert_allclose((X + change)[denied] @ COEF + INTERCEPT, MARGIN, atol=1e-9)
    assert (change[logit > 0] == 0).all()
    assert np.isnan(change[np.isinf(cost)]).all()
    assert (change[denied][:, ~ACTIONABLE] == 0).all()
    for row, move in zip(X[denied], change[denied]):
        assert all(a - 1e-9 <= d <= b + 1e-9 for d, (a, b) in zip(move, bounds_of(row, low, high)))
    price = COST * np.abs(change[denied])
    size = {"l1": price.sum(1), "l2": np.sqrt((price**2).sum(1)), "linf": price.max(1)}[norm]
    np.testing.assert_allclose(cost[denied], size, atol=1e-9)


def test_without_terms_the_cost_is_the_distance_to_the_plane_and_margins_are_swept():
    with jax.enable_x64(True):
        model = Linear(jnp.asarray(COEF), jnp.asarray(INTERCEPT))
        run = jax.jit(jax.vmap(lambda margin: linear_recourse(model, X, margin=margin).cost))
        swept = np.asarray(run(np.array([0.0, 0.5])))
    logit = X @ COEF + INTERCEPT
    for i, margin in enumerate((0, 0.5)):
        wanted = np.where(logit > 0, 0, (margin - logit) / np.linalg.norm(COEF))
        np.testing.assert_allclose(swept[i], wanted, atol=1e-9)


def test_gaps_of_groups_by_hand():
    cost = np.array([1.0, 3.0, np.inf, 0.0, 2.0, 4.0, np.inf, np.inf])
    denied = np.array([1, 1, 1, 0, 1, 1, 1, 1], bool)
    group, weight = np.repeat([0, 1], 4), np.array([1.0, 2, 1, 9, 1, 1, 1, 1])
    run = jax.jit(lambda c, d, g, w: group_recourse(c, d, g, 2, w))
    found = run(cost, denied, group, weight)
    np.testing.assert_allclose(found.cost, [7 / 3, 3], rtol=1e-6)
    np.testing.assert_allclose(found.impossible, [1 / 4, 1 / 2], rtol=1e-6)
    np.testing.assert_allclose([found.cost_gap, found.impossible_gap], [2 / 3, 1 / 4], rtol=1e-5)
    none = run(cost, denied & (group == 0), group, weight)
    assert np.isnan(np.asarray(none.cost)).tolist() == [False, True]
    assert np.isnan(none.cost_gap)
    for wrong in [
        (-cost, denied, group, weight),
        (cost, denied, group + 1, weight),
        (cost * np.nan, denied, group, weight),
    ]:
        assert np.isnan(run(*wrong).cost_gap)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_the_search_is_exact_for_a_linear_model(norm):
    with jax.enable_x64(True):
        allowed = terms(5, COST, ACTIONABLE, LOW, HIGH)
        model = Linear(jnp.asarray(COEF), jnp.asarray(INTERCEPT))
        exact = LINEAR[norm](model, X, allowed, 0.0)
        settings = RecourseConfig(norm, steps=2, step=1.0, margin=1e-6, bisections=30)
        found = jax.jit(lambda x: search_recourse(lambda row: row @ COEF + INTERCEPT, x, allowed, settings))(
            X
        )
    np.testing.assert_allclose(found.cost, exact.cost, rtol=1e-4, atol=1e-6)


def test_the_search_leaves_a_ball_the_shortest_way():
    def outside(row):
        return jnp.sum(row**2) - 1

    x = RNG.uniform(-0.5, 0.5, size=(12, 3))
    with jax.enable_x64(True):
        found = jax.jit(lambda x: search_recourse(outside, x, config=RecourseConfig(steps=60)))(x)
    np.testing.assert_allclose(found.cost, 1 - np.linalg.norm(x, axis=1), atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(x + np.asarray(found.change), axis=1), 1, atol=1e-4)


def test_the_search_is_near_the_best_of_a_grid_for_a_curved_model_with_bounds():
    w = np.array([[1.5, -1.0], [0.7, 2.0], [-1.2, 0.4]])

    def logit(row):
        return jnp.sum(jnp.tanh(w @ row) * np.array([1.0, 0.8, -0.6])) - 1.0

    x, cost = RNG.uniform(-1, 0.3, size=(8, 2)), np.array([1.0, 2.0])
    low, high = np.full(2, -1.5), np.full(2, 1.2)
    axis = np.linspace(-1.5, 1.2, 541)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    accepted = grid[(np.tanh(grid @ w.T) @ [1.0, 0.8, -0.6]) - 1.0 > 0]
    with jax.enable_x64(True):
        allowed = terms(2, cost, None, low, high)
        found = jax.jit(lambda x: search_recourse(logit, x, allowed))(x)
    best = np.array([np.sqrt(((cost * (accepted - row)) ** 2).sum(1)).min() for row in x])
    denied = (np.tanh(x @ w.T) @ [1.0, 0.8, -0.6]) - 1.0 <= 0
    assert denied.sum() >= 5
    ratio = np.asarray(found.cost)[denied] / best[denied]
    assert (ratio > 0.98).all()
    assert (ratio < 1.05).all()
    assert (np.asarray(found.cost)[~denied] == 0).all()


def test_bad_input():
    model = Linear(jnp.asarray(COEF.astype(np.float32)), jnp.asarray(np.float32(INTERCEPT)))
    for call, message in [
        (lambda: terms(3, [1.0, 0.0, 1.0]), "cost must be above 0 and finite; .* entry 1"),
        (lambda: terms(3, low=[0.0, 2.0, 0.0], high=[1.0, 1.0, 1.0]), "low must be at most high"),
        (lambda: terms(3, actionable=[1, 0, 1]), "actionable must be bools"),
        (lambda: terms(3, [1.0, 1.0]), r"cost must have shape \[3\]"),
        (lambda: linear_recourse(model, X[:, :3]), "x has 3 features"),
        (lambda: linear_recourse(model, X, norm="l3"), "norm"),
        (lambda: linear_recourse(model, X, margin=-1.0), "margin"),
        (lambda: group_recourse([-1.0, 2.0], [True, True], [0, 1], 2), "cost must be 0 or more"),
        (lambda: group_recourse([1.0, 2.0], [1, 1], [0, 1], 2), "denied must be bools"),
        (lambda: RecourseConfig(norm="l0"), "norm"),
        (lambda: RecourseConfig(step=2.0), "step"),
    ]:
        with pytest.raises(InputError, match=message):
            call()


def test_a_cost_of_nan_gives_nan_under_jit():
    # XLA takes abs(x) >= 0 for true, also where x is NaN.
    run = jax.jit(lambda c: group_recourse(jnp.abs(c), np.ones(4, bool), np.array([0, 0, 1, 1]), 2))
    assert np.isfinite(run(np.array([1.0, 5.0, 2.0, 3.0])).cost).all()
    assert np.isnan(run(np.array([1.0, np.nan, 2.0, 3.0])).cost).all()
    with pytest.raises(InputError, match="cost must hold numbers"):
        group_recourse(["a", "b"], [True, True], [0, 1], 2)


def test_wrong_values_give_nan_under_jit():
    with jax.enable_x64(True):
        model = Linear(jnp.asarray(COEF), jnp.asarray(INTERCEPT))
        allowed = terms(5, COST, ACTIONABLE, LOW, HIGH)
        broken = np.where(np.arange(5) == 1, np.nan, X)
        assert np.isnan(LINEAR["l2"](model, broken, allowed, MARGIN).cost).all()
        run = jax.jit(lambda c: LINEAR["l2"](model, X, Terms(*terms(5, c)), MARGIN).cost)
        cost = np.asarray(run(-COST))
    logit = X @ COEF + INTERCEPT
    np.testing.assert_array_equal(np.isnan(cost), np.ones(len(X), bool))
    assert (logit > 0).any()
