"""Metrics by group and intersection against loops over the cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fair_rows import GROUP, SCORE, WEIGHT, D, Y
from sklearn.metrics import log_loss

from lrn.check import InputError
from lrn.fair.by_group import by_group, rates_by_group
from lrn.fair.rate_sample import RateSample, wilson
from lrn.fair.simultaneous import simultaneous_rates

HALF = (np.arange(len(Y)) % 2).astype(int)
EMPTY = np.where(GROUP == 2, HALF + 1, GROUP)  # with HALF some intersections are empty
EMPTY[(EMPTY == 1) & (HALF == 1)] = 2


def nll(y, p, weight):
    return -(weight * (y * jnp.log(p) + (1 - y) * jnp.log1p(-p))).sum() / weight.sum()


@jax.jit
def ours(y, d, score, group, half, weight):
    one = by_group("accuracy", y, d, group, 3, weight)
    return {
        "one": one,
        "table": by_group("accuracy", y, d, (group, half), (3, 2), weight),
        "balanced": by_group("balanced_accuracy", y, d, (group, half), (3, 2), weight),
        "nll": by_group(nll, y, jnp.clip(score, 0.01, 0.99), (group, half), (3, 2), weight),
        "rates": rates_by_group("accuracy", y, d, (group, half), (3, 2), weight),
    }


def test_tables_are_loops_over_cells_and_empty_cells_are_nan():
    with jax.enable_x64(True):
        found = ours(Y, D, SCORE, EMPTY, HALF, WEIGHT)
    score = np.clip(SCORE, 0.01, 0.99)
    assert found["table"].shape == (3, 2)
    empty = 0
    for g in range(3):
        rows = g == EMPTY
        assert float(found["one"][g]) == pytest.approx(np.average(Y[rows] == D[rows], weights=WEIGHT[rows]))
        for h in range(2):
            rows = np.equal(EMPTY, g) & np.equal(HALF, h)
            empty += not rows.any()
            if not rows.any():
                cells = [found[name][g, h] for name in ("table", "balanced", "nll")]
                cells += [value[g, h] for name, value in found["rates"]._asdict().items() if name != "trials"]
                assert np.isnan(cells).all()
                continue
            y, d, w = Y[rows], D[rows], WEIGHT[rows]
            assert float(found["table"][g, h]) == pytest.approx(np.average(y == d, weights=w), abs=1e-12)
            balanced = [np.average(d[y == c] == c, weights=w[y == c]) for c in (0, 1)]
            assert float(found["balanced"][g, h]) == pytest.approx(np.mean(balanced), abs=1e-12)
            wanted = log_loss(y, score[rows], sample_weight=w)
            assert float(found["nll"][g, h]) == pytest.approx(wanted, abs=1e-12)
            assert float(found["rates"].trials[g, h]) == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert empty == 2
    sample = RateSample(found["rates"].rate.reshape(6), found["rates"].trials.reshape(6))
    with jax.enable_x64(True):
        joint = jax.jit(simultaneous_rates)(sample)
        single = wilson(sample, 1.959963984540054)
    np.testing.assert_allclose(found["rates"].joint_low.reshape(6), joint.low, atol=1e-6)
    np.testing.assert_allclose(found["rates"].high.reshape(6), single.high, atol=1e-9)
    wider = found["rates"].joint_high > found["rates"].high
    assert (wider | np.isnan(found["rates"].rate)).all()


def test_wrong_values_are_nan_under_jit():
    for changes in ({"group": GROUP + 1}, {"weight": -WEIGHT}, {"half": HALF + 1}):
        given = {"y": Y, "d": D, "score": SCORE, "group": GROUP, "half": HALF, "weight": WEIGHT} | changes
        found = ours(**given)
        if "half" in changes:
            found.pop("one")
        assert all(np.isnan(v).all() for v in jax.tree.leaves(found)), changes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("recall", Y, D, GROUP, 3), "did you mean|choose from"),
        (("accuracy", Y, D, (GROUP, HALF), 3), "both be tuples"),
        (("accuracy", Y, D, GROUP, (3, 2)), "both be tuples"),
        (("accuracy", Y, D, GROUP, 2), "group must lie"),
        (("accuracy", Y, D, (GROUP, HALF), (3, 1)), "group must lie"),
        ((nll, Y, D[:-1], GROUP, 3), "prediction must be numbers"),
        ((nll, Y, D, GROUP, 2), "group must lie"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        by_group(*arguments)
