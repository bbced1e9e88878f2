"""Group metrics against fairlearn, AIF360 and counts by a loop."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fair_rows import GROUP, REFERENCES, WEIGHT, D, Y, count, over

from lrn.check import InputError
from lrn.fair import gaps
from lrn.fair.confusion import Confusion, confusion
from lrn.fair.inputs import check_groups
from lrn.fair.rates import RATES, balanced_accuracy, error_ratio, rate

GAPS = {
    "demographic_parity_difference": gaps.demographic_parity_difference,
    "demographic_parity_ratio": gaps.demographic_parity_ratio,
    "equal_opportunity_difference": gaps.equal_opportunity_difference,
    "equal_opportunity_ratio": gaps.equal_opportunity_ratio,
    "equalized_odds_max": gaps.equalized_odds_max,
    "equalized_odds_mean": gaps.equalized_odds_mean,
    "equalized_odds_ratio": gaps.equalized_odds_ratio,
    "predictive_parity_difference": gaps.predictive_parity_difference,
    "accuracy_difference": gaps.accuracy_difference,
    "balanced_accuracy_difference": gaps.balanced_accuracy_difference,
    "treatment_equality_difference": gaps.treatment_equality_difference,
}


def everything(y, d, group, weight, groups=3):
    counts = confusion(y, d, group, groups, weight)
    found = {name: gap(counts) for name, gap in GAPS.items()}
    found["demographic_parity_difference_overall"] = gaps.difference(counts, "selection_rate", "overall")
    found["demographic_parity_ratio_overall"] = gaps.ratio(counts, "selection_rate", "overall")
    rates = {name: rate(counts, name) for name in RATES}
    rates |= {"balanced_accuracy": balanced_accuracy(counts), "error_ratio": error_ratio(counts)}
    return counts, found, rates


JITTED = jax.jit(everything, static_argnums=4)


@pytest.mark.parametrize(("key", "weight"), [("fairlearn", None), ("fairlearn_weighted", WEIGHT)])
def test_metrics_equal_fairlearn(key, weight):
    with jax.enable_x64(True):
        _, found, rates = JITTED(Y, D, GROUP, np.ones(len(Y)) if weight is None else weight)
    for name, value in REFERENCES[key].items():
        if name != "by_group":
            assert float(found[name]) == pytest.approx(value, abs=1e-12), name
    for name, values in REFERENCES[key]["by_group"].items():
        np.testing.assert_allclose(rates[name], values, atol=1e-12, rtol=0, err_msg=name)


def test_metrics_equal_aif360():
    wanted = REFERENCES["aif360"]
    with jax.enable_x64(True):
        _, found, rates = JITTED(Y, D, np.minimum(GROUP, 1), np.ones(len(Y)), 2)
    pairs = [
        (found["equalized_odds_mean"], wanted["average_abs_odds_difference"]),
        (found["demographic_parity_difference"], abs(wanted["statistical_parity_difference"])),
        (found["equal_opportunity_difference"], abs(wanted["equal_opportunity_difference"])),
        (found["demographic_parity_ratio"], min(wanted["disparate_impact"], 1 / wanted["disparate_impact"])),
        (found["predictive_parity_difference"], abs(wanted["false_discovery_rate_difference"])),
        (np.diff(rates["selection_rate"])[0], wanted["statistical_parity_difference"]),
    ]
    for ours, theirs in pairs:
        assert float(ours) == pytest.approx(theirs, abs=1e-12)


def test_metrics_equal_counts_by_a_loop():
    with jax.enable_x64(True):
        counts, found, rates = JITTED(Y, D, GROUP, WEIGHT)
    by_hand = [count(Y[g == GROUP], D[g == GROUP], WEIGHT[g == GROUP]) for g in range(3)]
    np.testing.assert_allclose(np.stack(counts, 1), by_hand, atol=1e-12)
    for g, (tp, fp, fn, tn) in enumerate(by_hand):
        wanted = {
            "selection_rate": over(tp + fp, tp + fp + fn + tn),
            "base_rate": over(tp + fn, tp + fp + fn + tn),
            "true_positive_rate": over(tp, tp + fn),
            "false_positive_rate": over(fp, fp + tn),
            "true_negative_rate": over(tn, fp + tn),
            "false_negative_rate": over(fn, tp + fn),
            "positive_predictive_value": over(tp, tp + fp),
            "negative_predictive_value": over(tn, tn + fn),
            "accuracy": over(tp + tn, tp + fp + fn + tn),
            "balanced_accuracy": (over(tp, tp + fn) + over(tn, tn + fp)) / 2,
            "error_ratio": over(fn, fp),
        }
        assert {name: float(r[g]) for name, r in rates.items()} == pytest.approx(wanted, abs=1e-12)
    ppv = [over(tp, tp + fp) for tp, fp, _, _ in by_hand]
    treatment = [over(fn, fp) for _, fp, fn, _ in by_hand]
    assert float(found["predictive_parity_difference"]) == pytest.approx(max(ppv) - min(ppv), abs=1e-12)
    assert float(found["treatment_equality_difference"]) == pytest.approx(max(treatment) - min(treatment))


def test_groups_may_be_permuted_and_weights_are_equal_rows():
    times = (4 * WEIGHT).astype(int)
    base = JITTED(Y, D, GROUP, times)
    repeated = jax.jit(lambda: everything(*(np.repeat(v, times) for v in (Y, D, GROUP)), weight=None))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), base, repeated)
    new = np.array([2, 0, 1])
    _, found, rates = JITTED(Y, D, new[GROUP], times)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, base[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[new], b, rtol=1e-6), rates, base[2])


def test_vmap_over_predictions_is_a_loop_and_eager_is_jit():
    several = np.stack([D, 1 - D, Y, np.roll(D, 7)])
    swept = jax.jit(jax.vmap(lambda d: everything(Y, d, GROUP, None)[1]))(several)
    for i, d in enumerate(several):
        alone = JITTED(Y, d, GROUP, np.ones(len(Y)))[1]
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-6), swept, alone)
    eager = gaps.equalized_odds_max(confusion(Y, D, GROUP, 3))
    np.testing.assert_allclose(eager, swept["equalized_odds_max"][0], rtol=1e-6)


def test_a_probability_counts_as_the_mean_of_its_decisions():
    y, group, p = np.array([1, 0, 1]), np.array([0, 0, 1]), np.array([0.25, 0.5, 0.9])
    found = np.stack(JITTED(y, p, group, np.ones(3), 2)[0], 1)
    wanted = np.zeros((2, 4))
    for d in itertools.product([0, 1], repeat=3):
        chance = math.prod(q if one else 1 - q for q, one in zip(p, d))
        wanted += chance * np.array([count(y[group == g], np.array(d)[group == g]) for g in range(2)])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_an_empty_cell_is_nan_and_never_zero():
    y, d, group = np.array([0, 0, 1, 1, 0]), np.array([0, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 3])
    _, found, rates = jax.tree.map(np.asarray, JITTED(y, d, group, np.ones(5), 4))
    np.testing.assert_array_equal(rates["selection_rate"], [0.5, 1, np.nan, 0])
    np.testing.assert_array_equal(rates["true_positive_rate"], [np.nan, 1, np.nan, np.nan])
    np.testing.assert_array_equal(rates["positive_predictive_value"], [0, 1, np.nan, np.nan])
    assert all(np.isnan(v) for name, v in found.items())
    skip = jax.jit(lambda c: (
        gaps.demographic_parity_difference(c, "skip"),
        gaps.equal_opportunity_difference(c, "skip"),  # one group alone has positives
        gaps.difference(c, "selection_rate", "overall", "skip"),
    ))  # fmt: skip
    parity, opportunity, from_all = skip(confusion(y, d, group, 4))
    assert parity == 1
    assert np.isnan(opportunity)
    assert from_all == pytest.approx(0.6)


def test_equalized_odds_takes_the_larger_gap_and_the_smaller_ratio():
    # True-positive rates .8 and .9, false-positive rates .2 and .6.
    counts = Confusion(*(jnp.asarray(v, jnp.float32) for v in ([8, 9], [2, 6], [2, 1], [8, 4])))
    assert gaps.equalized_odds_max(counts) == pytest.approx(0.4)
    assert gaps.equalized_odds_mean(counts) == pytest.approx(0.25)
    assert gaps.equalized_odds_ratio(counts) == pytest.approx(1 / 3)


def test_ratios_at_zero():
    def counts(selected):
        selected = jnp.asarray(selected, jnp.float32)
        return Confusion(selected, jnp.zeros_like(selected), 10 - selected, jnp.zeros_like(selected))

    assert gaps.demographic_parity_ratio(counts([0, 5])) == 0
    assert np.isnan(gaps.demographic_parity_ratio(counts([0, 0])))


def test_gradients_are_those_of_finite_differences():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.1, 0.9, len(Y))
    weights = {"equalized_odds_mean": 1.0, "demographic_parity_difference": 2.0}

    def loss(p):
        found = everything(Y, p, GROUP, None)[1]
        return sum(w * found[name] for name, w in weights.items())

    with jax.enable_x64(True):
        run, grad = jax.jit(loss), np.asarray(jax.jit(jax.grad(loss))(p))
        for i in (0, 17, 80):
            step = np.eye(len(Y))[i] * 1e-6
            assert grad[i] == pytest.approx(float(run(p + step) - run(p - step)) / 2e-6, abs=1e-7)


WRONG = {
    "y": {"y": np.array([0, 2, 1])},
    "missing": {"y": np.array([0, np.nan, 1])},
    "prediction": {"prediction": np.array([0, 1.5, 1])},
    "nan": {"prediction": np.array([0, np.nan, 1])},
    "group": {"group": np.array([0, 3, 1])},
    "negative": {"group": np.array([0, -1, 1])},
    "weight": {"weight": np.array([1.0, -1, 1])},
    "infinite": {"weight": np.array([1.0, np.inf, 1])},
}
RIGHT = {
    "y": np.array([0, 1.0, 1]), "prediction": np.array([0, 1.0, 1]), "group": np.array([0, 0, 1]),
    "weight": np.ones(3),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_values_are_refused_and_nan_under_jit(case):
    name = next(iter(WRONG[case]))
    with pytest.raises(InputError, match=f"^{name} must"):
        confusion(**(RIGHT | WRONG[case]), groups=2)
    given = RIGHT | WRONG[case]
    found = JITTED(given["y"], given["prediction"], given["group"], given["weight"], 2)
    assert all(np.isnan(v).all() for v in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.zeros((3, 1))}, "y must be numbers"),
        ({"y": np.zeros(0)}, "y must be numbers"),
        ({"y": np.array(["a", "b", "c"])}, "y must be numbers"),
        ({"prediction": np.zeros(4)}, "for each of the 3 rows"),
        ({"group": np.zeros(3)}, "group must be integers"),
        ({"groups": 0}, "groups must be at least 1"),
    ],
)
def test_wrong_forms_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        confusion(**({**RIGHT, "groups": 2} | changes))


def test_wrong_names_are_refused():
    counts = Confusion(*(jnp.ones(2) for _ in range(4)))
    with pytest.raises(InputError, match="true_positive_rate"):
        rate(counts, "true_positive")
    with pytest.raises(InputError, match="against"):
        gaps.difference(counts, "accuracy", "all")
    with pytest.raises(InputError, match="empty"):
        gaps.spread(counts.tp, "zero")


def test_groups_that_cannot_be_judged_are_named():
    y = np.array([0, 1, 1, 1, 0])
    check_groups(y[:2], np.array([0, 0]), 1)
    with pytest.raises(InputError, match="'b' has 1 row"):
        check_groups(y, np.array([0, 0, 0, 0, 1]), 2, ["a", "b"])
    with pytest.raises(InputError, match="group 1 has labels of class 1 only"):
        check_groups(y, np.array([0, 0, 1, 1, 0]), 2)
    with pytest.raises(InputError, match="outside jit"):
        jax.jit(lambda y: check_groups(y, np.array([0, 0, 1, 1, 0]), 2))(y)


HIDDEN = jax.jit(lambda y, d, g: confusion(y > 0.5, d > 0.5, g, 2))


@pytest.mark.parametrize("chosen", [0, 1])
def test_a_wrong_group_makes_counts_nan_also_where_no_row_is_decided_so(chosen):
    """XLA turns weight * float(decision) into a choice, in which a weight of NaN becomes 0."""
    y, d, group = np.array([0, 1, 0, 1]), np.full(4, chosen), np.array([0, 0, 1, 1])
    assert np.isfinite(HIDDEN(y, d, group)).all()
    for wrong in ([0, 0, 1, 2], [-1, 0, 1, 1], [5, 5, 5, 5]):
        assert np.isnan(HIDDEN(y, d, np.array(wrong))).all()


def test_group_names_are_sent_to_frames():
    with pytest.raises(InputError, match=r"lrn\.fair\.frames, which takes names"):
        confusion(**(RIGHT | {"group": np.array(["a", "b", "b"]), "groups": 2}))
