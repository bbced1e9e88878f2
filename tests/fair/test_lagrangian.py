"""Constrained training: steps by hand, players against brute force, and the reduction's stored results.

`references/fairlearn.npz` has error and violation of fairlearn's exponentiated gradient on the same data.
"""

from pathlib import Path

import jax
import numpy as np
import pytest
from linear_net import GROUP, PARAMS, PLAIN_SGD, WEIGHT, Y, batch, linear, logit, loss, moved, sigmoid
from scipy.optimize import linprog, minimize

from lrn.check import InputError
from lrn.fair import training
from lrn.fair.iterates import best_model, chosen, expected_decision, fit_lagrangian
from lrn.fair.lagrangian import LagrangianConfig, lagrangian, parity, proxy_violations, true_violations
from lrn.fair.lipschitz import similar_treatment
from lrn.fair.multipliers import multiplied, player, stationary, within
from lrn.fair.penalized import PenalizedConfig, fit_penalized
from lrn.supervised.optimizers import OptimizerConfig
from tests import plain
from tests.fair.references.peer_data import named


def gaps(decision, constraint, weights=WEIGHT, y=Y, group=GROUP, groups=2):
    """Each group's mean minus that of all, for each event, by plain means."""
    events = [y == 0, y == 1] if constraint == "equalized_odds" else [y == y]
    mean = lambda kept: np.average(decision[kept], weights=weights[kept])  # noqa: E731
    return np.array([[mean(e & (group == g)) - mean(e) for g in range(groups)] for e in events])


def both(each):
    return np.stack([each, -each])


def hinges(z, constraint):
    """The proxies by hand: each sign of each row's factor takes its own hinge."""
    found = []
    for sign in (1, -1):
        rows = []
        for event in [Y == 0, Y == 1] if constraint == "equalized_odds" else [Y == Y]:
            cells = []
            for g in range(2):
                own, whole = event & (g == GROUP), WEIGHT[event].sum()
                factor = sign * WEIGHT * (own / WEIGHT[own].sum() - event / whole)
                above, below = np.maximum(1 + z, 0), 1 - np.maximum(1 - z, 0)
                cells.append(np.sum(np.where(factor > 0, factor * above, factor * below)))
            rows.append(cells)
        found.append(rows)
    return np.array(found)


@pytest.mark.parametrize("constraint", ["demographic_parity", "equalized_odds"])
def test_proxies(constraint):
    people, z = jax.jit(training.read, static_argnums=1)(batch(), 2), logit(PARAMS)

    @jax.jit
    def run(z):
        given = parity(constraint, people, 2)
        found = [proxy_violations(given, z, people, proxy) for proxy in ("sigmoid", "hinge")]
        return *found, true_violations(given, (z > 0).astype(z.dtype), people)

    smooth, hinge, true = run(z.astype(np.float32))
    np.testing.assert_allclose(true, both(gaps((z > 0).astype(float), constraint)), atol=1e-6)
    np.testing.assert_allclose(smooth, both(gaps(sigmoid(z), constraint)), atol=1e-6)
    np.testing.assert_allclose(hinge, hinges(z, constraint), atol=1e-5)
    assert (hinge >= true - 1e-6).all()


PRICES = np.array([[[0.3, 0.0]], [[0.0, 0.8]]])


@pytest.mark.parametrize("proxy", ["sigmoid", "hinge"])
def test_a_step_descends_on_proxies_and_ascends_on_decisions(proxy):
    config = LagrangianConfig(PLAIN_SGD, bound=0.02, proxy=proxy, rate=0.5, radius=3.0)
    learner = lagrangian(linear(params=PARAMS), 2, config)
    before = jax.jit(learner.init)(jax.random.key(0), batch())._replace(
        multipliers=PRICES.ravel().astype(np.float32)
    )
    after, metrics = jax.jit(learner.step)(jax.random.key(1), before, batch())

    def unfair(p):
        z = logit(p)
        return both(gaps(sigmoid(z), "")) if proxy == "sigmoid" else hinges(z, "")

    gradient = plain.gradient(lambda p: loss(p) + np.sum(PRICES * unfair(p)), PARAMS)
    plain.assert_trees_close(moved(before.model.params, after.model.params), gradient, 1e-3, 2e-5)
    true = both(gaps((logit(PARAMS) > 0).astype(float), ""))
    wanted = np.maximum(PRICES + 0.5 * (true - 0.02), 0)
    assert wanted.sum() < 3
    np.testing.assert_allclose(after.multipliers, wanted.ravel(), atol=1e-6)
    assert metrics["loss"] == pytest.approx(loss(PARAMS), rel=1e-5)
    assert metrics["violation"] == pytest.approx(true.max(), rel=1e-5)
    assert metrics["proxy_violation"] == pytest.approx(unfair(PARAMS).max(), rel=1e-4)
    assert metrics["multipliers"] == pytest.approx(1.1, rel=1e-5)


def test_projection_of_multipliers():
    rng = np.random.default_rng(0)
    run = jax.jit(within)
    for radius in (0.5, 4.0):
        value = rng.normal(size=4)
        wanted = minimize(
            lambda m, v=value: np.sum((m - v) ** 2), np.full(4, 0.1), bounds=[(0, None)] * 4, method="SLSQP",
            constraints={"type": "ineq", "fun": lambda m, r=radius: r - m.sum()}, tol=1e-12,
        ).x  # fmt: skip
        np.testing.assert_allclose(run(value.astype(np.float32), radius), wanted, atol=1e-4)


def test_multiplicative_player():
    rng = np.random.default_rng(0)
    matrix = rng.dirichlet(np.ones(5), size=5).T
    values, vectors = np.linalg.eig(matrix)
    wanted = np.real(vectors[:, np.argmax(np.real(values))])
    wanted = wanted / wanted.sum()
    excess = rng.normal(size=4)
    found, raised = jax.jit(lambda m, e: (stationary(m), multiplied(m, e, 0.7)))(np.log(matrix), excess)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    after = matrix * np.exp(0.7 * np.outer(np.append(0, excess), wanted))
    np.testing.assert_allclose(np.exp(raised), after / after.sum(0), atol=1e-5)

    # A fixed game: of a loss, a violated constraint and a kept one, the violated one gets all the price. It
    # gets it soon too where the other one was violated for long.
    other, excess = player("multiplicative", 2, 1.0, 1.0), np.array([0.5, -0.5], np.float32)
    play = jax.jit(lambda s, e, n: jax.lax.fori_loop(0, n, lambda i, s: other.ascend(s, e), s))
    first = play(other.start, excess, 400)
    np.testing.assert_allclose(other.prices(first), [0, 1, 0], atol=1e-4)
    np.testing.assert_allclose(other.prices(play(first, -excess, 150)), [0, 0, 1], atol=1e-4)
    np.testing.assert_allclose(other.prices(other.start), [1 / 3] * 3, rtol=1e-5)


def test_a_batch_without_an_event_has_finite_steps():
    config = LagrangianConfig(PLAIN_SGD, constraint="equalized_odds", proxy="hinge", ascent="multiplicative")
    learner = lagrangian(linear(params=PARAMS), 2, config)
    state, few = jax.jit(learner.init)(jax.random.key(0), batch()), batch(Y == 0)
    after, metrics = jax.jit(learner.step)(jax.random.key(1), state, few)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after, metrics)))
    wrong = jax.jit(learner.step)(jax.random.key(1), state, few | {"group": few["group"] + 1})
    assert np.isnan(wrong[1]["loss"])
    assert np.isnan(wrong[1]["violation"])
    assert np.isnan(wrong[0].model.params["w"]).all()


def test_the_mixture_is_that_of_scipy():
    rng, run = np.random.default_rng(0), jax.jit(chosen)
    errors, half = rng.uniform(0.1, 0.4, 20), rng.normal(scale=0.2, size=(20, 1, 2))
    violations = np.stack([half, -half], axis=1)
    for bound, shift in ((0.05, 0.0), (0.2, 0.0), (0.05, 0.6)):  # in the last case nothing keeps the bound
        moved = violations + shift
        flat = moved.reshape(20, 4)
        top = np.concatenate([flat.T - bound, -np.ones((4, 1))], axis=1)
        whole = np.append(np.ones(20), 0)[None]
        wanted = linprog(np.append(errors, 100), top, np.zeros(4), whole, [1], method="highs").fun
        found = run((), errors.astype(np.float32), moved.astype(np.float32), bound)
        q = np.asarray(found.q, np.float64)
        assert q @ errors + 100 * max((q @ flat).max() - bound, 0) == pytest.approx(wanted, rel=1e-4)
        assert float(found.error) == pytest.approx(q @ errors, abs=1e-5)
        assert float(found.violation) == pytest.approx((q @ flat).max(), abs=1e-5)
        np.testing.assert_allclose(found.violations, flat.max(axis=1), atol=1e-6)
        kept = flat.max(axis=1) <= bound
        best = np.argmin(np.where(kept, errors, np.inf)) if kept.any() else np.argmin(flat.max(axis=1))
        assert found.best == best


PEERS = [
    ("two", "demographic_parity", 0.05, "sigmoid", "projected"),
    pytest.param("two", "demographic_parity", 0.01, "sigmoid", "multiplicative", marks=pytest.mark.slow),
    pytest.param("two", "equalized_odds", 0.05, "sigmoid", "projected", marks=pytest.mark.slow),
    pytest.param("three", "demographic_parity", 0.05, "hinge", "multiplicative", marks=pytest.mark.slow),
    pytest.param("three", "equalized_odds", 0.05, "sigmoid", "multiplicative", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "constraint", "bound", "proxy", "ascent"), PEERS)
def test_the_mixture_is_as_good_as_the_reductions(name, constraint, bound, proxy, ascent):
    with np.load(Path(__file__).parent / "references" / "fairlearn.npz") as file:
        error, violation, *_ = file[f"eg/{name}/{constraint}/{bound}"]
    x, y, group, groups = named(name)
    x = x.astype(np.float32)
    config = LagrangianConfig(
        OptimizerConfig("adam", 0.02), constraint=constraint, bound=bound, proxy=proxy, ascent=ascent,
        rate=0.2 if ascent == "projected" else 1.0,
    )  # fmt: skip

    @jax.jit
    def run(key):
        found = fit_lagrangian(key, linear(), x, y, group, groups, config, steps=2000, iterates=100)
        return found, expected_decision(found, x), best_model(found)(x)

    found, p, best = run(jax.random.key(0))
    p = np.asarray(p, np.float64)
    ours = np.mean(y * (1 - p) + (1 - y) * p)
    largest = np.abs(gaps(p, constraint, np.ones(len(y)), y, group, groups)).max()
    assert float(found.error) == pytest.approx(ours, abs=1e-5)
    assert float(found.violation) == pytest.approx(largest, abs=1e-5)
    assert ours < error + 0.01
    assert largest < max(violation, bound) + 0.01
    assert (np.asarray(found.q) > 1e-6).sum() <= 1 + 2 * groups * (1 + (constraint == "equalized_odds"))
    single = np.asarray(best > 0.5, float)
    i = int(found.best)
    assert float(found.errors[i]) == pytest.approx(np.mean(single != y), abs=1e-6)
    assert float(found.violations[i]) == pytest.approx(
        np.abs(gaps(single, constraint, np.ones(len(y)), y, group, groups)).max(), abs=1e-6
    )
    kept = np.asarray(found.violations) <= bound
    if kept.any():
        assert kept[i]
        assert found.errors[i] == np.asarray(found.errors)[kept].min()
        assert ours < found.errors[i] + 1e-4  # the bound is used up


@pytest.mark.slow
def test_lanes_and_copies_of_rows():
    x, y, group, _ = named("two")
    x, y, group = x[:300].astype(np.float32), y[:300], group[:300]
    w = np.random.default_rng(0).integers(0, 3, 300)

    def one(bound, x, y, group, w):
        config = LagrangianConfig(OptimizerConfig("adam", 0.05), bound=bound)
        found = fit_lagrangian(jax.random.key(0), linear(), x, y, group, 2, config, w, steps=60, iterates=6)
        return found.errors, found.violations, found.error

    bounds = np.array([0.02, 0.2], np.float32)
    together = jax.jit(jax.vmap(one, in_axes=(0, *[None] * 4)))(bounds, x, y, group, w.astype(np.float32))
    copies = np.repeat(np.arange(300), w)
    alone = jax.jit(one)
    doubled = alone(bounds[1], x[copies], y[copies], group[copies], np.ones(len(copies), np.float32))
    for lanes, again in zip(together, doubled):
        np.testing.assert_allclose(lanes[1], again, atol=1.1 / len(copies))
    assert np.isnan(
        alone(bounds[1], x[copies], y[copies] + 1, group[copies], np.ones(len(copies), np.float32))[2]
    )


def test_no_key_is_used_twice(key_reuse_checks):
    x, config, plainly = batch()["x"], LagrangianConfig(), linear()

    def noisy(params, state, x, *, key=None, train=False):
        noise = 0 if key is None else jax.random.normal(key, (len(x), 1))
        return plainly.apply(params, state, x)[0] + noise, state

    net = plainly._replace(apply=noisy)

    def run(key):
        first, second = jax.random.split(key)
        pairs = similar_treatment(0.1, 10)
        given = net, pairs, x, Y, GROUP, 2, PenalizedConfig()
        fair = fit_penalized(first, *given, steps=2, batch_size=8)(x)
        found = fit_lagrangian(second, net, x, Y, GROUP, 2, config, steps=2, iterates=1, batch_size=8)
        return fair, found.error

    jax.jit(run)(jax.random.key(0))


def test_bad_input():
    key = jax.random.key(0)
    with pytest.raises(InputError, match="proxy 'relu' is not known"):
        LagrangianConfig(proxy="relu")
    with pytest.raises(InputError, match="ascent 'newton' is not known"):
        LagrangianConfig(ascent="newton")
    with pytest.raises(InputError, match="rate must be a finite number above 0"):
        LagrangianConfig(rate=0.0)
    with pytest.raises(InputError, match="radius must be a finite number above 0"):
        LagrangianConfig(radius=0.0)
    with pytest.raises(InputError, match="bound must lie"):
        LagrangianConfig(bound=2.0)
    with pytest.raises(InputError, match="groups must be at least 2"):
        lagrangian(linear(), 1, LagrangianConfig())
    rows = batch()
    with pytest.raises(InputError, match="steps must be a multiple of iterates"):
        fit_lagrangian(key, linear(), rows["x"], Y, GROUP, 2, LagrangianConfig(), steps=10, iterates=3)
    with pytest.raises(InputError, match="fewer than two groups"):
        fit_lagrangian(key, linear(), rows["x"], Y, 0 * GROUP, 2, LagrangianConfig(), steps=2, iterates=1)
    with pytest.raises(InputError, match="constraint"):
        LagrangianConfig(constraint="parity")


def test_prices_are_kept_where_the_matrix_is_nearly_the_identity():
    """1 minus a diagonal entry near 1 is 0 in float32, and the last price would be lost."""
    near = np.where(np.eye(3, dtype=bool), 0.0, -20.0)
    near = near - np.log(np.exp(near).sum(axis=0))
    np.testing.assert_allclose(jax.jit(stationary)(near.astype(np.float32)), np.full(3, 1 / 3), atol=1e-5)


def test_wrong_rows_make_metrics_and_multipliers_nan_and_an_empty_batch_lets_them_rest():
    learner, rows = lagrangian(linear(), 2, LagrangianConfig()), batch()
    rows = rows | {"weight": np.ones(len(rows["y"]), np.float32)}
    state, step = learner.init(jax.random.key(0), rows), jax.jit(learner.step)
    first = np.arange(len(rows["y"])) == 0
    for name, wrong in [("group", 2), ("group", -1), ("y", 2), ("weight", np.inf)]:
        broken = rows | {name: np.where(first, wrong, rows[name]).astype(rows[name].dtype)}
        after, metrics = step(jax.random.key(1), state, broken)
        assert np.isnan(after.multipliers).all(), name
        assert all(np.isnan(metrics[m]) for m in ("loss", "accuracy", "violation", "proxy_violation")), name
    after, metrics = step(jax.random.key(1), state, rows | {"weight": 0 * rows["weight"]})
    np.testing.assert_array_equal(after.multipliers, state.multipliers)
    assert np.isfinite(metrics["violation"])
