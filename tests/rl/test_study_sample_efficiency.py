"""The study of sample efficiency: exact worths, censored savings, its verdict, and planted errors."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import judge

from experiments.rl import _efficiency_arms as arms
from experiments.rl import _efficiency_nets as nets
from experiments.rl import _efficiency_tables as tables
from experiments.rl import sample_efficiency as study
from experiments.rl._efficiency_arms import (
    BASED,
    BIAS,
    DECIDED,
    FALSE,
    FREE,
    MAZE,
    ONE,
    PENDULUM,
    SAVING,
    SOLVED,
    TRUE,
    arm,
)
from experiments.rl._efficiency_tables import COUNTED, ERROR, LAST, WORTH, Arm
from experiments.rl.sample_efficiency import STUDY, Config
from lrn import check, table
from lrn.rl import env as envs
from lrn.rl import mdp
from lrn.study import Findings
from lrn.study.context import Context
from lrn.study.select import EDGE
from lrn.study.verdict import checked

CONFIG = Config()
SEEDS = list(range(20))


def made(**changes):
    """A table of twenty seeds in which the claim holds, but for the changed values."""
    values = {
        "saving": 3.0, "bias": 0.3, "known": 1.0, "maze": None, "true": 0.0, "serves": 1.0, "wrong": 0.0,
        "wrong_off": 0.5, "possible": 4.0, "fresh": 0.0, "tabled": None, **changes,
    }  # fmt: skip
    rng, cells = np.random.default_rng(0), {}
    for place in CONFIG.steps:
        saving = values["maze"] if place == MAZE and values["maze"] is not None else values["saving"]
        bias = values["tabled"] if place != PENDULUM and values["tabled"] is not None else values["bias"]
        for prediction in STUDY.predicted(CONFIG):
            for cell in prediction.cells:
                if cell.arm.startswith(f"{place}: "):
                    usual = {SOLVED: 0.0, DECIDED: 1.0}.get(cell.metric, bias)
                    cells[cell] = saving if cell.metric.startswith(SAVING) else usual
        cells[study.Cell(arm(place, TRUE), SAVING)] = values["possible"]
        cells[study.Cell(arm(place, FREE), DECIDED)] = values["known"]
        cells |= {
            study.Cell(arm(place, TRUE), BIAS): values["true"],
            study.Cell(arm(place, TRUE), SOLVED): values["serves"],
            study.Cell(arm(place, BASED), WORTH, 0): values["fresh"],
            study.Cell(arm(place, FALSE), BIAS): values["wrong_off"],
            study.Cell(arm(place, FALSE), SOLVED): values["wrong"],
        }
        cells |= {study.Cell(arm(place, who), EDGE): 0.0 for who in (FREE, ONE, BASED)}
    rows = []
    for cell, value in sorted(cells.items(), key=str):
        noise = 0.0 if cell.metric == EDGE or (TRUE in cell.arm and cell.metric == BIAS) else 1e-3
        each = np.arange(20) < round(20 * value) if cell.metric in (SOLVED, DECIDED) else None
        values_of = value + noise * rng.standard_normal(20) if each is None else each
        rows.append(table.rows(cell.arm, SEEDS, cell.step or 0, cell.metric, values_of))
    return table.concat(rows)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "supported"),
        ({"saving": 1.0}, "refuted"),  # twice the steps are not three times
        ({"bias": 0.02}, "refuted"),  # efficient, and not off
        ({"maze": -1.0}, "mixed"),
        ({"tabled": 0.01}, "mixed"),
        ({"known": 0.0}, "invalid"),  # nobody arrives
        ({"possible": 1.0}, "open"),  # no model can save as much
        ({"true": 0.05}, "invalid"),  # the truth in the model's place must not be off
        ({"serves": 0.0}, "invalid"),  # nor fail
        ({"wrong": 1.0}, "invalid"),  # a model that mistakes actions must not serve
        ({"wrong_off": 0.0}, "invalid"),  # and its error must be seen
        ({"fresh": 0.9}, "invalid"),  # a task that needs no learning
    ],
)
def test_the_verdict_follows(changes, verdict):
    result = judge(STUDY, CONFIG, "quick", made(**changes))
    assert result["verdict"] == verdict, result["reason"]


def test_the_answer_has_a_factor_and_a_share_for_every_place():
    said = study.answer(Findings(judge(STUDY, CONFIG, "quick", made())))
    assert said.count("8.0 times [") == 5
    assert said.count("30% [") >= 3
    assert "nan" not in said


def test_censored_savings_are_bounds_and_what_is_unknown_is_said():
    inf = np.inf
    free = np.array([800.0, inf, inf, 800.0, inf, 100.0])
    based = np.array([100.0, 100.0, 500.0, inf, inf, 400.0])
    saving, known = arms.savings(free, based, 1000, 3.0)
    np.testing.assert_allclose(saving[:3], np.log2([8.0, 10.0, 2.0]))
    np.testing.assert_allclose(saving[3:], [arms.LAST_PLACE, arms.LAST_PLACE, -2.0])
    np.testing.assert_array_equal(known, [1, 1, 0, 1, 0, 1])


def test_arrivals_last():
    worth = np.array([[0, 0.95, 0, 0.9, 0.9, 1], [0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(arms.arrivals(worth, 500), [300, np.inf, 100])


def test_settings_are_chosen_by_arrival_then_by_worth():
    early, late, near, far = [0, 0.9, 0.9, 0.9], [0, 0, 0.9, 0.9], [0, 0.8, 0.8, 0.8], [0, 0, 0, 0]
    found = arms.lateness(np.array([early, late, near, far]), 300)
    np.testing.assert_allclose(found[:2], np.log2([100, 200]))
    assert list(np.argsort(found)) == [0, 1, 2, 3]


@pytest.mark.parametrize("random", [0.0, 1.0])
def test_worths_are_those_of_the_exact_solution(random):
    world = jax.jit(tables.world_of)(random, jax.random.key(1))
    best, worth = mdp.solve(world), jax.jit(tables.worth)
    np.testing.assert_allclose(worth(world, best.policy), mdp.objective(world, best.policy), rtol=2e-4)
    np.testing.assert_allclose(
        worth(world, jax.jit(tables.best_policy)(world)), world.initial @ best.values, rtol=2e-4
    )
    assert mdp.uniform_policy(world).shape == best.policy.shape


def played(c, steps=10):
    """The learner's state after some steps, and its evaluation."""
    learner = tables.table_learner(c)
    state = jax.jit(learner.init)(jax.random.key(0), None)
    step = jax.jit(learner.step)
    for i in range(steps):
        state, _ = step(jax.random.key(i + 1), state, None)
    return state, jax.jit(lambda s: tables.evaluate_table(learner, c, jax.random.key(0), s, None))(state)


def test_a_learner_remembers_what_happened():
    c = Arm(source=COUNTED, rate=0.5, updates=3, interactions=50, steps=500)
    state, found = played(c)
    m = state.memory
    pairs, nexts = np.asarray(m.pairs), np.asarray(m.nexts)
    counts = np.zeros(m.counts.shape)
    np.add.at(counts, (pairs, nexts), 1)
    np.testing.assert_array_equal(m.counts, counts)
    np.testing.assert_array_equal(m.visits, counts.sum(1))
    assert int(m.known) == len(set(pairs.tolist()))
    assert set(np.asarray(m.tried)[: int(m.known)].tolist()) == set(pairs.tolist())
    last = dict(zip(pairs.tolist(), nexts.tolist()))
    assert all(int(m.last[p]) == n for p, n in last.items())
    assert (np.asarray(state.world.transitions).reshape(counts.shape)[pairs, nexts] > 0).all()
    assert float(found[WORTH]) < 0.5
    model = tables.model_of(dataclasses.replace(c, source=LAST, initial=1.0), state)
    np.testing.assert_allclose(model.transitions.sum(-1), 1, rtol=1e-6)
    untried = np.asarray(m.visits).reshape(-1, 4) == 0
    np.testing.assert_allclose(np.asarray(model.rewards)[untried], 0.05, rtol=1e-5)  # worth 1 if it stays


def test_updates_are_those_of_their_sources():
    """With the true model and a rate of 1, updates are value iteration: values are exact after enough."""
    c = Arm(random=1.0, source=COUNTED, rate=1.0, given=1.0, updates=400, interactions=50, steps=500)
    state, found = played(c)
    assert abs(float(found[ERROR])) < 1e-4
    assert float(found[WORTH]) > 0.99
    best = mdp.solve(state.world)
    np.testing.assert_allclose(state.memory.q.reshape(-1, 4).max(-1), best.values, rtol=0.02)
    _, wrong = played(dataclasses.replace(c, given=-1.0))
    assert float(wrong[WORTH]) < 0.5
    assert abs(float(wrong[ERROR])) > 0.1


def test_the_simulator_is_the_environment():
    env = envs.make("Pendulum-v1")
    observation, state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 50))
    torque = jax.random.uniform(jax.random.key(1), (50, 1), minval=-2.5, maxval=2.5)
    _, _, step = jax.jit(jax.vmap(env.step))(jax.random.split(jax.random.key(2), 50), state, torque)
    after, reward = jax.jit(nets.simulate)(observation, torque)
    np.testing.assert_allclose(after, step.final_observation, atol=1e-5)
    np.testing.assert_allclose(reward, step.reward, rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(after - observation).max()) > 0.1


def test_a_plan_in_the_truth_solves_the_task_and_corners_are_a_partition():
    c = nets.Planner(exact=1.0)
    ensemble, agent = nets.ensemble_of(c), nets.model_based(c)

    @jax.jit
    def worths(key):
        state = agent.init(key, None)
        plan = jax.lax.fori_loop(0, 5, lambda _, q: nets.planned(ensemble, state.model, q), state.q)
        both = [nets.evaluate_model_based(agent, c, key, state._replace(q=q), None) for q in (state.q, plan)]
        x = jax.random.normal(key, (50, 3)) * jnp.array([[1.0, 1.0, 4.0]])
        return [found[WORTH] for found in both], [found[ERROR] for found in both], nets.corners(x)

    (idle, solved), errors, (near, weights) = worths(jax.random.key(0))
    assert float(idle) < 0.5
    assert float(solved) > 0.95
    assert max(abs(float(x)) for x in errors) < 0.02
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert int(near.min()) >= 0
    assert int(near.max()) < nets.ANGLES * nets.SPEEDS


def test_only_the_units_of_a_small_model_are_used():
    net, whole = nets.narrow(3.0), nets.narrow(32.0)
    x = jax.random.normal(jax.random.key(0), (5, 4))
    params, _ = net.init(jax.random.key(1), x)
    gradient = jax.grad(lambda p: net.apply(p, (), x)[0].sum())(params)
    used = [int((np.abs(np.asarray(g["dense_0"]["kernel"])).sum(0) > 0).sum()) for g in gradient[:2]]
    assert used == [3, 3]
    assert float(jnp.abs(net.apply(params, (), x)[0] - whole.apply(params, (), x)[0]).max()) > 0.01


def test_no_judged_seed_chooses_and_menus_are_equally_long(tmp_path):
    context = Context(tmp_path, "smoke", (5, 2**31 + 6, 7), lambda _: None, progress=False)
    assert not set(arms.others(Config(selection=3), context)) & set(context.seeds)
    menu = arms.table_menu()
    assert {len(v) for v in menu.values()} == {12}
    assert all(int(np.prod(arms.SHAPES[who])) == 12 for who in menu)


def outcomes_of(context, words):
    """The outcomes of the controls about the maze whose statements contain some words."""
    known = set(context.table().arms)
    mine = [c for c in STUDY.controlled(CONFIG) if words in c.check.statement]
    mine = [c for c in mine if {x.arm for x in c.check.cells} <= known]
    assert mine
    return {o for _, _, o in checked(mine, lambda p: p.find(context.table()), 0.05)}


def recorded(folder, c):
    """A run of which only the arm with the true model in the maze is known, as it is judged."""
    context = Context(folder, "smoke", tuple(SEEDS[:8]), lambda _: None, progress=False)
    _, found = played(c, steps=4)
    curve = np.tile(np.linspace(0, 1, 61), (8, 1))
    error = np.full(curve.shape, float(found[ERROR]))
    arms.record_arm(
        context, arm(MAZE, TRUE), arms.Curves(curve * float(found[WORTH]), error), CONFIG.table_steps
    )
    return context


def test_planted_errors_are_caught(tmp_path, monkeypatch):
    """A model that is judged in another's place; a truth that does not serve; an arm with twice the steps."""
    c = Arm(source=COUNTED, rate=1.0, given=1.0, updates=400, interactions=100, steps=500)
    sound = recorded(tmp_path / "sound", c)
    assert outcomes_of(sound, "is not off") == {"holds"}
    assert outcomes_of(sound, "runs arrive") >= {"holds"}
    wrong = recorded(tmp_path / "wrong", dataclasses.replace(c, given=-1.0))
    assert "fails" in outcomes_of(wrong, f"{TRUE}: over half of the runs arrive")
    of = tables.model_of

    def turned(c, state):
        return of(c, state)._replace(transitions=jnp.roll(of(c, state).transitions, 1, 1))

    monkeypatch.setattr(tables, "model_of", turned)
    assert outcomes_of(recorded(tmp_path / "turned", c), "is not off") == {"fails"}
    for who in (FREE, ONE, BASED, TRUE):
        sound.given(arm(MAZE, who), {"environment steps": 500})
    assert outcomes_of(sound, "environment steps") == {"holds"}
    sound.given(arm(MAZE, BASED), {"environment steps": 500})
    assert outcomes_of(sound, "environment steps") == {"fails"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"table_steps": 100}, "table_steps must be a multiple of 64"),
        ({"net_steps": 900}, "net_steps must be a multiple of 320"),
        ({"selection": 0}, "selection must be at least 1"),
    ],
)
def test_bad_settings_are_one_sentence(wrong, words):
    with pytest.raises(check.InputError, match=words):
        Config(**wrong)
