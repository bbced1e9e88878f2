"""The study of tabular convergence: its laws, its verdict, and the planted errors that it catches."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import judge

from experiments.rl import _tabular_laws as laws
from experiments.rl import _tabular_runs as runs
from experiments.rl import tabular_convergence as study
from experiments.rl._tabular_laws import SARSA, TD, TRACES, Entries, Q, entries, left_error
from experiments.rl.tabular_convergence import (
    CONSTANT,
    CUT,
    ERROR,
    LEVEL,
    METHODS,
    RESCALED,
    SLOPE,
    STUDY,
    arm,
)
from lrn import check
from lrn import table as tables
from lrn.rl import mdp
from lrn.study import Findings
from lrn.study.context import Context
from lrn.study.verdict import checked

CONFIG = STUDY.presets["quick"]
TINY = STUDY.presets["smoke"]
SEEDS = np.arange(12)


def made(**changes):
    """A table of twelve seeds; by default what theory says, and controls that hold."""
    cells = {("value iteration", m): 0.0 for m in ("excess over the discount", "gap to policy iteration")}
    cells |= {("policy iteration", "final error"): 0.0, (arm(TD, CUT), ERROR): 0.3}
    for m in METHODS:
        cells |= {(m, "Bellman error"): 0.0, (m, "wrong visits"): 0.005, (arm(m, CONSTANT), SLOPE): 0.0}
        cells |= {(arm(m, RESCALED), k): v for k, v in ((ERROR, 0.002), (SLOPE, -0.5), (LEVEL, 0.0))}
    spread, rows = np.linspace(-1e-3, 1e-3, len(SEEDS)), []
    for (a, metric), value in cells.items():
        value = changes.get(f"{metric}, {a.split(', ')[0]}" if RESCALED in a else f"{metric}, {a}", value)
        exact = metric in (
            "Bellman error",
            "excess over the discount",
            "gap to policy iteration",
            "final error",
        )
        rows.append(tables.rows(a, SEEDS, CONFIG.steps, metric, value + (0 if exact else spread)))
    for p in STUDY.predicted(CONFIG):
        (cell,) = p.cells
        if (cell.arm, cell.metric) not in cells or cell.step != CONFIG.steps:
            rows.append(tables.rows(cell.arm, SEEDS, cell.step, cell.metric, spread))
    return tables.concat(rows)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "supported"),
        ({f"{SLOPE}, {SARSA}": -0.66}, "mixed"),
        ({f"{ERROR}, {m}": 0.05 for m in METHODS}, "refuted"),
        ({f"{LEVEL}, {m}": 0.5 for m in METHODS}, "refuted"),
        ({f"{SLOPE}, {m}": -0.4 for m in METHODS}, "open"),
        ({f"Bellman error, {Q}": 0.1}, "invalid"),  # an oracle that does not solve its own equation
        ({f"wrong visits, {SARSA}": 0.3}, "invalid"),  # another policy than that of theory acts
        ({f"{SLOPE}, {arm(TD, CONSTANT)}": -0.5}, "invalid"),  # noise that vanishes by itself
        ({f"{ERROR}, {arm(TD, CUT)}": 0.0}, "invalid"),  # cuts that do not matter
    ],
)
def test_the_verdict_follows_from_errors_and_exponents(changes, verdict):
    result = judge(STUDY, CONFIG, "quick", made(**changes))
    assert result["verdict"] == verdict, result["reason"]


def test_the_answer_names_each_method():
    said = study.answer(Findings(judge(STUDY, CONFIG, "quick", made())))
    assert all(m in said for m in METHODS)
    assert "TD(0) ends 0.20% [0.16, 0.24] off" in said


def alone(variance, walk=((1.0,),)):
    """Entries of one state, or of some that are visited alike."""
    n = len(walk)
    chain = np.array(walk)
    return Entries(np.zeros(n), np.array(0.0), chain, chain, np.full(n, 1 / n), np.full(n, variance))


def test_the_error_of_one_state_is_that_of_the_closed_form():
    """With one entry the Lyapunov equation is scalar."""
    gamma, t, variance = 0.8, 1e4, 0.3
    rescaled = left_error(alone(variance), 1.0, 1 - gamma, gamma, 0.0, t)
    assert rescaled == pytest.approx(np.sqrt(variance / t) / (1 - gamma))
    power = left_error(alone(variance), 0.6, 1.0, gamma, 0.0, t)
    assert power == pytest.approx(np.sqrt(variance * t**-1.2 / (2 * (1 - gamma) * t**-0.6 - 0.6 / t)))


def test_the_error_with_traces_is_that_of_a_simulation():
    """TD(lambda) on three states, many runs in plain numpy, with noise of known variance on each error."""
    gamma, fade, limit, steps, many = 0.5, 0.8, 4, 2000, 1000
    walk = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.2, 0.6]])
    told = Entries(np.zeros(3), np.array(0.0), walk, walk, np.array([1.0, 0, 0]), np.array([1.0, 2.0, 0.5]))
    rng, rows = np.random.default_rng(0), np.arange(many)
    values, trace, visits = (np.zeros((many, 3)) for _ in range(3))
    state = np.zeros(many, int)
    for t in range(steps):
        if t % limit == 0:
            state, trace = np.zeros(many, int), np.zeros((many, 3))
        after = (rng.random((many, 1)) > walk[state].cumsum(1)).sum(1)
        visits[rows, state] += 1
        size = visits[rows, state] ** -0.6
        trace *= gamma * fade
        trace[rows, state] += size
        noise = np.sqrt(told.noise[state]) * rng.standard_normal(many)
        values += (noise + gamma * values[rows, after] - values[rows, state])[:, None] * trace
        state = after
    expected = left_error(told, 0.6, 1.0, gamma, fade, steps, limit)
    assert np.sqrt((values**2).mean()) == pytest.approx(expected, rel=0.06)


def test_laws_are_those_of_theory_and_differ():
    assert [study.law(TD, k) for k in study.STEPS if k != CUT] == [-0.5, -0.3, -0.2, 0.0]
    assert study.law(TRACES, study.HARMONIC) == -0.33
    asked = [regime.primary[1].spec()["params"] for regime in STUDY.asked(CONFIG)]
    assert {(p["low"], p["high"]) for p in asked} == {(-0.6, -0.4)}


@pytest.mark.parametrize("method", [TD, SARSA, Q])
def test_entries_are_what_playing_shows(method):
    """The mean and the variance of targets at the exact values, by enumeration in a double loop."""
    world = mdp.garnet(jax.random.key(3), 4, 2, 3, runs.DISCOUNT)
    found = jax.tree.map(np.asarray, entries(method, world))
    p, r = np.asarray(world.transitions), np.asarray(world.rewards)
    assert found.residual < 1e-5
    np.testing.assert_allclose(found.walk.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(found.ahead.sum(1), 1, atol=1e-5)
    for i in range(len(found.exact)):
        chance, target = [], []
        for a in range(2) if method == TD else [i % 2]:
            s, weight = (i, 0.5) if method == TD else (i // 2, 1.0)
            for j, q in enumerate(found.ahead[i] if method != TD else p[s, a]):
                chance.append(weight * q)
                target.append(r[s, a] + runs.DISCOUNT * found.exact[j])
        mean = np.dot(chance, target)
        assert mean == pytest.approx(found.exact[i], abs=1e-4)
        assert np.dot(chance, (np.array(target) - mean) ** 2) == pytest.approx(found.noise[i], abs=1e-4)


def controlled(folder, told, learned):
    """The outcomes of the exact controls about TD(0), from what a run recorded."""
    context = Context(folder, "smoke", (0, 1), lambda _: None)
    study.record(context, TINY, TD, told, learned)
    table, mine = context.table(), {TD, *(arm(TD, k) for k in runs.kinds(TD))}
    controls = [c for c in STUDY.controlled(TINY) if {x.arm for x in c.check.cells} <= mine]
    controls = [c for c in controls if c.check.kind in ("exact", "same")]
    return {c.check.statement: o for c, _, o in checked(controls, lambda p: p.find(table), 0.05)}


def test_planted_errors_are_caught(tmp_path, monkeypatch):
    """Twice the steps, and an oracle that is a constant; a sound run passes."""
    seeds = np.array([0, 1], np.uint32)

    known = jax.vmap(partial(runs.told, TINY), (0, None))(seeds, None)
    told, worlds = runs.law_of(known, TD), runs.played(known)
    learn = jax.jit(jax.vmap(partial(runs.learn, TINY, TD), (0, None)))
    learned = learn((seeds, worlds, told.exact), None)
    sound = controlled(tmp_path / "sound", told, learned)
    assert set(sound.values()) == {"holds"}
    doubled = controlled(tmp_path / "doubled", told, {**learned, "counts": 2 * learned["counts"]})
    failed = [k for k, o in doubled.items() if o == "fails"]
    assert failed == [f"{arm(TD, RESCALED)} was given {TINY.steps} updates."]
    monkeypatch.setattr(laws.mdp, "policy_values", lambda world, policy: jnp.ones(world.states))
    wrong = jax.vmap(partial(entries, TD))(worlds)
    constant = controlled(tmp_path / "constant", wrong, learned)
    assert [k for k, o in constant.items() if o == "fails"] == [f"{TD}: the Bellman error is 0."]


def test_bad_settings_are_refused():
    with pytest.raises(check.InputError, match="multiple of 100"):
        study.Config(steps=150)
    with pytest.raises(check.InputError, match="replicates must be at least 1"):
        study.Config(replicates=0)
