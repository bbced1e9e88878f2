"""The stratified bootstrap against the multinomial law, and against a loop of NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fair_rows import GROUP, WEIGHT, D, Y

from lrn.check import InputError
from lrn.fair.bootstrap import bootstrap_counts, bootstrap_rows, percentile_interval
from lrn.fair.confusion import Confusion, confusion, total
from lrn.fair.gaps import equalized_odds_max
from lrn.fair.rates import rate

COUNTS = Confusion(
    *(jnp.asarray(v, jnp.float32) for v in ([30, 0, 5, 0], [10, 0, 0, 0], [40, 0, 3, 7], [20, 0, 2, 0]))
)
DRAW = jax.jit(lambda seed, counts: bootstrap_counts(jax.random.key(seed), counts, 4000))


def test_counts_are_multinomial_and_groups_keep_their_size():
    drawn = DRAW(0, COUNTS)
    np.testing.assert_array_equal(total(drawn), np.broadcast_to([100, 0, 10, 7], (4000, 4)))
    cells = np.stack(drawn, 2)  # [resamples, groups, cells]
    for g, n in ((0, 100), (2, 10)):
        p = np.stack(COUNTS, 1)[g] / n
        np.testing.assert_allclose(cells[:, g].mean(0), n * p, atol=4 * np.sqrt(n / 4 / 4000))
        wanted = n * (np.diag(p) - np.outer(p, p))
        np.testing.assert_allclose(np.cov(cells[:, g].T), wanted, atol=0.09 * wanted.max())
    assert (cells >= 0).all()
    assert (cells[:, 1] == 0).all()
    np.testing.assert_array_equal(cells[0, 3], [0, 0, 7, 0])
    assert np.isnan(rate(drawn, "accuracy")[:, 1]).all()


def test_counts_with_weights_are_refused():
    half = COUNTS._replace(tp=COUNTS.tp + jnp.array([0, 0, 0.5, 0]))
    with pytest.raises(InputError, match="whole numbers"):
        bootstrap_counts(jax.random.key(0), half, 10)
    found = np.stack(DRAW(0, half))
    assert np.isnan(found[:, :, 2]).all()
    assert np.isfinite(found[:, :, [0, 1, 3]]).all()


def statistic(y, d, group, weight):
    counts = confusion(y, d, group, 3, weight)
    return {"odds": equalized_odds_max(counts), "size": total(counts), "rate": rate(counts, "selection_rate")}


def test_rows_and_counts_give_one_law():
    rows = jax.jit(lambda key: bootstrap_rows(key, statistic, Y, D, GROUP, 3, resamples=3000, batch_size=500))
    found = rows(jax.random.key(1))
    sizes = np.bincount(GROUP)
    np.testing.assert_array_equal(found["size"], np.broadcast_to(sizes, (3000, 3)))
    drawn = jax.jit(lambda c: equalized_odds_max(bootstrap_counts(jax.random.key(2), c, 3000)))(
        confusion(Y, D, GROUP, 3)
    )
    # A resample without positives in the small group has no odds.
    rows_odds, counts_odds = np.asarray(found["odds"]), np.asarray(drawn)
    assert 0 < np.isnan(rows_odds).mean() < 0.02
    assert np.nanmean(rows_odds) == pytest.approx(np.nanmean(counts_odds), abs=0.01)
    assert np.nanstd(rows_odds) == pytest.approx(np.nanstd(counts_odds), rel=0.06)
    p = np.array([D[g == GROUP].mean() for g in range(3)])
    np.testing.assert_allclose(np.std(found["rate"], axis=0), np.sqrt(p * (1 - p) / sizes), rtol=0.06)


def test_rows_keep_their_weight_and_their_values_together():
    weight = 1 + 2 * Y + 4 * D + 8 * GROUP  # tells each kind of row

    def all_fit(y, d, group, weight):
        return (weight == 1 + 2 * y + 4 * d + 8 * group).all()

    run = jax.jit(lambda w: bootstrap_rows(jax.random.key(0), all_fit, Y, D, GROUP, 3, w, resamples=20))
    assert run(weight).all()
    spread = jax.jit(
        lambda w: bootstrap_rows(
            jax.random.key(0), lambda y, d, g, w: (w * d).sum() / w.sum(), Y, D, GROUP, 3, w, resamples=2000
        )
    )(WEIGHT)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(2000):
        rows = np.concatenate([rng.choice(np.flatnonzero(g == GROUP), np.sum(g == GROUP)) for g in range(3)])
        draws.append(np.average(D[rows], weights=WEIGHT[rows]))
    assert np.std(spread) == pytest.approx(np.std(draws), rel=0.07)
    assert np.mean(spread) == pytest.approx(np.mean(draws), abs=0.005)


def test_wrong_rows_are_nan_under_jit_and_refused_outside():
    run = jax.jit(lambda g: bootstrap_rows(jax.random.key(0), statistic, Y, D, g, 3, resamples=20)["odds"])
    assert np.isnan(run(GROUP + 1)).all()
    with pytest.raises(InputError, match="group must lie"):
        bootstrap_rows(jax.random.key(0), statistic, Y, D, GROUP + 1, 3)
    with pytest.raises(InputError, match="resamples"):
        bootstrap_rows(jax.random.key(0), statistic, Y, D, GROUP, 3, resamples=0)


def test_percentile_interval_leaves_nan_out():
    replicates = np.append(np.arange(101.0), np.nan)
    low, high = percentile_interval(replicates, 0.9)
    assert (float(low), float(high)) == pytest.approx((5, 95))
    with pytest.raises(InputError, match="level"):
        percentile_interval(jnp.ones(3), 1.5)
