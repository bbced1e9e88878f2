"""Thresholds under a bound, against a linear program over all mixtures of thresholds."""

import jax
import numpy as np
import pytest
from scipy.optimize import linprog

from lrn.check import InputError
from lrn.fair.thresholds import expected_decision, fit_bounded_thresholds, fit_thresholds
from tests.fair.references.peer_data import scored

SCORE, Y, GROUP, GROUPS = scored("three")
SCORE, Y, GROUP = SCORE[:300], Y[:300], GROUP[:300]
BOUNDS = (0.0, 0.05, 0.15, 1.0)
fit = jax.jit(
    lambda bound, constraint, objective: fit_bounded_thresholds(
        SCORE, Y, GROUP, GROUPS, bound, constraint, objective
    ),
    static_argnums=(1, 2),
)
decide = jax.jit(lambda rule: expected_decision(rule, SCORE, GROUP))


def objective_of(decision, objective):
    """The objective, counted."""
    if objective == "overall_balanced_accuracy":
        return (decision[Y == 1].mean() + 1 - decision[Y == 0].mean()) / 2
    return np.mean(Y * decision + (1 - Y) * (1 - decision))


def rate_of(decision, constraint, g):
    inside = (g == GROUP) & (Y == 1) if constraint == "true_positive_rate_parity" else g == GROUP
    return decision[inside].mean()


def best(bound, constraint, objective):
    """The largest objective over distributions of thresholds for each group, rates within the bound."""
    cuts = [np.inf, *np.unique(SCORE)[::-1]]
    worth, rates = [], []
    for g in range(GROUPS):
        for cut in cuts:
            here = (g == GROUP) & (cut <= SCORE)
            worth.append(objective_of(here.astype(float), objective) - objective_of(0.0 * SCORE, objective))
            rates.append([rate_of(here.astype(float), constraint, g) if g == h else 0 for h in range(GROUPS)])
    rates, of = np.asarray(rates), np.repeat(np.arange(GROUPS), len(cuts))
    pairs = [(a, b) for a in range(GROUPS) for b in range(GROUPS) if a != b]
    found = linprog(
        -np.asarray(worth),
        A_ub=[rates[:, a] - rates[:, b] for a, b in pairs],
        b_ub=np.full(len(pairs), bound),
        A_eq=[(of == g).astype(float) for g in range(GROUPS)],
        b_eq=np.ones(GROUPS),
    )
    return objective_of(0.0 * SCORE, objective) - found.fun


@pytest.mark.parametrize(
    ("constraint", "objective"),
    [
        ("demographic_parity", "accuracy"),
        ("demographic_parity", "overall_balanced_accuracy"),
        ("true_positive_rate_parity", "accuracy"),
    ],
)
def test_the_front_is_the_best_one(constraint, objective):
    for bound in BOUNDS:
        rule = fit(bound, constraint, objective)
        decision = np.asarray(decide(rule))
        rates = [rate_of(decision, constraint, g) for g in range(GROUPS)]
        np.testing.assert_allclose(rates, rule.rate, atol=1e-5)
        assert max(rates) - min(rates) <= bound + 1e-5
        assert objective_of(decision, objective) == pytest.approx(
            best(bound, constraint, objective), abs=1e-5
        )
        assert float(rule.objective) == pytest.approx(objective_of(decision, objective), abs=1e-5)


def test_a_bound_of_zero_is_parity():
    exact = jax.jit(lambda: fit_thresholds(SCORE, Y, GROUP, GROUPS))()
    bounded = fit(0.0, "demographic_parity", "accuracy")
    assert float(bounded.objective) == pytest.approx(float(exact.objective), abs=1e-6)


def test_bounds_may_be_swept():
    swept = jax.jit(jax.vmap(lambda b: fit_bounded_thresholds(SCORE, Y, GROUP, GROUPS, b)))(np.array(BOUNDS))
    for i, bound in enumerate(BOUNDS):
        np.testing.assert_allclose(
            swept.rate[i], fit(bound, "demographic_parity", "accuracy").rate, atol=1e-6
        )


def test_bad_input():
    with pytest.raises(InputError, match="bound"):
        fit_bounded_thresholds(SCORE, Y, GROUP, GROUPS, 1.5)
    with pytest.raises(InputError, match="constraint"):
        fit_bounded_thresholds(SCORE, Y, GROUP, GROUPS, 0.1, "equalized_odds")
    hidden = jax.jit(lambda b: fit_bounded_thresholds(SCORE, Y, GROUP, GROUPS, b))(-0.1)
    assert np.isnan(hidden.high).all()


def test_a_second_fit_outside_of_jit_compiles_nothing():
    """The search for the hull is a loop, which would else be compiled in every call."""
    compiled = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration_secs)

    fit_bounded_thresholds(SCORE, Y, GROUP, GROUPS, 0.1)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        fit_bounded_thresholds(SCORE, 1 - Y, GROUP, GROUPS, 0.2)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled
