"""The audit by an oracle, its permutation test, and multiaccuracy boosting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.stats import binom, kstest
from sklearn.tree import DecisionTreeClassifier

from lrn.check import InputError
from lrn.fair.audit import _p_values, audit, audit_on_host
from lrn.fair.logistic import LogisticConfig, logistic
from lrn.fair.model import decide, from_sklearn
from lrn.fair.multiaccuracy import BoostConfig, boosted_score, multiaccuracy_boost
from lrn.fair.subgroups import subgroup_discrimination

KEY = jax.random.key(0)


def _side(coef, x):
    return (jnp.dot(x, coef[:-1]) + coef[-1] > 0).astype(x.dtype)


def halfspace(x, y, weights):
    """A cheap oracle: weighted least squares on signs."""
    z = jnp.concatenate([x, jnp.ones((x.shape[0], 1), x.dtype)], axis=1)
    gram = jnp.dot(z.T, weights[:, None] * z) + 1e-3 * jnp.eye(z.shape[1], dtype=x.dtype)
    return Partial(_side, jnp.linalg.solve(gram, jnp.dot(z.T, weights * (2 * y - 1))))


def _first(x):
    return (x[:, 0] > 0).astype(x.dtype)


def planted(n=800, seed=0):
    """Decisions more frequent on one side of a plane that no attribute shows alone."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    inside = x[:, 0] + x[:, 1] > 0.4
    decision = (rng.uniform(size=n) < 0.25 + 0.35 * inside).astype(np.float32)
    return x, inside, decision, np.arange(n) % 2 == 0


PLANTED = jax.jit(
    lambda key, x, r, held, among: audit(
        key, logistic(LogisticConfig()), x, r, held, among=among, permutations=49
    )
)


def test_a_planted_subgroup_is_found():
    x, inside, decision, held = planted()
    everyone = np.ones(len(x), bool)
    found = PLANTED(KEY, x, decision, held, everyone)
    member = np.asarray(decide(found.predict(x))) > 0
    assert (member == inside).mean() > 0.85
    assert float(found.p_value) == pytest.approx(1 / 50)
    # size * gap = share * (1 - share) * .35 for the planted side.
    share = inside.mean()
    assert float(found.value) == pytest.approx(share * (1 - share) * 0.35, abs=0.03)
    assert float(found.excess) == pytest.approx(float(found.value) - np.asarray(found.null).mean(), abs=1e-6)
    assert abs(np.asarray(found.null).mean()) < 0.01
    outside = decision + np.where(np.arange(len(x)) % 4 < 2, 0, 7 * x[:, 2]).astype(np.float32)
    some = np.arange(len(x)) % 4 < 2
    one, other = (PLANTED(KEY, x, r, held, some) for r in (decision, outside))
    np.testing.assert_array_equal(one.null, other.null)
    assert float(one.value) == float(other.value)


def test_value_and_gap_are_those_of_the_subgroup():
    x, _, decision, held = planted(200, 1)
    y = (np.arange(200) % 3 > 0).astype(np.float32)
    run = jax.jit(
        lambda r, among: audit(KEY, lambda *_: Partial(_first), x, r, held, among=among, permutations=1)
    )
    found = run(decision, y == 0)
    member = x[:, 0] > 0
    wanted = subgroup_discrimination(y[held], decision[held], np.stack([member, ~member])[:, held])
    np.testing.assert_allclose(np.abs(found.value), wanted, atol=1e-6)
    rows = held & (y == 0)
    gap = decision[rows & member].mean() - decision[rows].mean()
    rest = decision[rows & ~member].mean() - decision[rows].mean()
    np.testing.assert_allclose([found.gap, found.rest_gap], [gap, rest], atol=1e-6)
    assert float(found.size) == pytest.approx((rows & member).sum() / held.sum())
    turned = run(1 - decision, y == 0)
    assert float(turned.value) == pytest.approx(-float(found.value), abs=1e-6)


class Stump:
    """The exact minimizer of the weighted error over thresholds of single features, both ways."""

    def fit(self, x, y, sample_weight):
        tried = [(j, c, s) for j in range(x.shape[1]) for c in x[:, j] for s in (1, -1)]
        error = [np.sum(sample_weight * ((s * (x[:, j] - c) > 0) != y)) for j, c, s in tried]
        self.best = tried[int(np.argmin(error))]

    def predict(self, x):
        j, c, s = self.best
        return (s * (x[:, j] - c) > 0).astype(float)


def test_the_search_maximizes_size_times_gap_on_its_rows():
    rng = np.random.default_rng(2)
    x, residual = rng.normal(size=(60, 2)).astype(np.float32), rng.normal(size=60).astype(np.float32)
    held = np.arange(60) % 2 == 0
    found = audit_on_host(KEY, from_sklearn(Stump), x, residual, held, permutations=1)
    own, r = x[~held], residual[~held] - residual[~held].mean()
    every = [np.sum(r[s * (own[:, j] - c) > 0]) for j in range(2) for c in own[:, j] for s in (1, -1)]
    member = np.asarray(decide(found.predict(own))) > 0
    assert np.sum(r[member]) == pytest.approx(max(every), abs=1e-4)


@pytest.mark.slow
def test_trees_find_the_planted_subgroup_on_the_host():
    x, _, decision, held = planted(400, 3)
    oracle = from_sklearn(lambda: DecisionTreeClassifier(max_depth=3, random_state=0))
    found = audit_on_host(KEY, oracle, x, decision, held, permutations=19)
    assert float(found.p_value) == pytest.approx(0.05)
    assert float(found.value) > 0.03


def simulated(key, fit, n, permutations):
    """A p-value where decisions among the audited rows do not depend on features, but elsewhere do."""
    kx, kd, ka, kp = jax.random.split(key, 4)
    x = jax.random.normal(kx, (n, 3))
    among = jax.random.bernoulli(ka, 0.7, (n,))
    decision = jax.random.bernoulli(kd, 0.4, (n,)).astype(x.dtype)
    residual = jnp.where(among, decision, 5 * x[:, 0])
    held = jnp.arange(n) % 2 == 0
    return audit(kp, fit, x, residual, held, among=among, permutations=permutations).p_value


def uniform(p, permutations):
    size = np.mean(p <= 0.05 + 1e-6)
    low, high = binom.interval(0.999, len(p), 0.05)
    assert low <= len(p) * size <= high
    jitter = np.random.default_rng(0).uniform(size=len(p)) / (permutations + 1)
    assert kstest(p - jitter, "uniform").pvalue > 0.01


def test_p_values_are_uniform_for_fair_decisions():
    run = jax.jit(jax.vmap(lambda k: simulated(k, halfspace, 120, 39)))
    uniform(np.asarray(run(jax.random.split(jax.random.key(1), 200)), np.float64), 39)


@pytest.mark.slow
def test_p_values_of_the_logistic_oracle_are_uniform_for_fair_decisions():
    run = jax.jit(lambda k: simulated(k, logistic(LogisticConfig()), 200, 99))
    p = [run(k) for k in jax.random.split(jax.random.key(2), 200)]
    uniform(np.asarray(p, np.float64), 99)


BOOST = jax.jit(
    lambda x, y, s, held, w, c: multiaccuracy_boost(logistic(LogisticConfig()), x, y, s, held, c, weights=w)
)


def test_boosting_mends_the_scores_of_a_subgroup_and_lowers_the_error_as_promised():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1200, 2)).astype(np.float32)
    chance = np.where(x[:, 0] > 0.3, 0.8, 0.3)
    y = (rng.uniform(size=1200) < chance).astype(np.float32)
    score, held = np.full(1200, 0.5, np.float32), np.arange(1200) % 3 == 0
    new = np.arange(1200) % 3 == 1
    ones = np.ones(1200, np.float32)
    settings = BoostConfig(tolerance=0.01, rounds=8)
    found = BOOST(x, y, score, held | new, np.where(new, 0, ones), settings)
    correlation, size = np.asarray(found.correlation), np.asarray(found.size)
    assert correlation[0] > 0.05
    assert correlation[-1] <= 0.01
    assert size[-1] == 0
    error = lambda s: np.mean((y[held] - np.asarray(s)[held]) ** 2)  # noqa: E731
    promised = np.sum(correlation[size != 0] ** 2)
    assert error(score) - error(found.score) >= promised - 1e-5
    side = new & (x[:, 0] > 0.3)
    assert abs(np.mean(y[side] - np.asarray(found.score)[side])) < 0.15
    assert abs(np.mean(y[side] - score[side])) > 0.25
    np.testing.assert_allclose(jax.jit(boosted_score)(found, x, score), found.score, atol=1e-6)
    small = BOOST(x, y, score, held | new, np.where(new, 0, ones), BoostConfig(tolerance=1.0, rounds=8))
    np.testing.assert_array_equal(small.score, score)


def test_keys_are_used_once(key_reuse_checks):
    x, _, decision, held = planted(40)
    run = jax.jit(lambda k: audit(k, lambda *_: Partial(_first), x, decision, held, permutations=2).null)
    assert run(jax.random.key(3)).shape == (2,)


def test_bad_input():
    x, _, decision, held = planted(40)
    fit = logistic(LogisticConfig())
    for call, message in [
        (lambda: audit(KEY, fit, x, decision[:-1], held), "residual must be numbers"),
        (lambda: audit(KEY, fit, x, decision * np.nan, held), "residual must be finite"),
        (lambda: audit(KEY, fit, x, decision, held.astype(int)), "held_out must be bools"),
        (lambda: audit(KEY, fit, x, decision, held | True), "true for some rows"),
        (lambda: audit(KEY, fit, x, decision * 0, held), "residuals that are all equal"),
        (lambda: audit(KEY, fit, x, decision, held, among=held), "is found have only 0 rows"),
        (lambda: audit(KEY, fit, x, decision, held, permutations=0), "permutations"),
        (lambda: multiaccuracy_boost(fit, x, decision, decision + 1, held), "between 0 and 1"),
        (lambda: multiaccuracy_boost(fit, x, decision, decision[:-1], held), "one for each of the 40 rows"),
        (lambda: BoostConfig(step=1.5), "step"),
    ]:
        with pytest.raises(InputError, match=message):
            call()


def test_wrong_values_give_nan_under_jit():
    x, _, decision, held = planted()
    everyone = np.ones(len(x), bool)
    broken = np.where(np.arange(len(x)) == 5, np.nan, decision).astype(np.float32)
    for r, h in [(broken, held), (decision, held & False), (decision * 0, held)]:
        found = PLANTED(KEY, x, r, h, everyone)
        assert np.isnan(found.p_value)
        assert np.isnan(found.value)


def test_a_rank_of_one_in_twenty_meets_the_level_of_five_percent():
    for permutations in (1, 19, 39, 99, 199):
        found = _p_values(permutations, np.float32)
        exact = np.arange(1, permutations + 2) / (permutations + 1)
        assert (found.astype(float) <= exact).all()
        np.testing.assert_allclose(found, exact, rtol=1e-6)
    assert float(_p_values(19, np.float32)[0]) <= 0.05
    x, _, decision, held = planted(400, 3)
    assert float(audit_on_host(KEY, halfspace, x, decision, held, permutations=19).p_value) <= 0.05
