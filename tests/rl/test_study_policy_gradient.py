"""The study of on-policy gradients: its measures, its verdict, and the planted errors that it catches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import judge, way

from experiments.rl import _gradient_noise as noise
from experiments.rl import _on_and_off_policy as agents
from experiments.rl import policy_gradient as study
from experiments.rl._gradient_noise import ASCENTS, EXACT, PLAIN, PRACTICE, STAGES, at
from experiments.rl._on_and_off_policy import A2C, PPO, SAC, TASKS, UNSTABLE, arm, idle, times
from experiments.rl.policy_gradient import STUDY, Config
from lrn import check, table
from lrn.study import Cell, Findings
from lrn.study.context import Context
from lrn.xla.runtime import jit_brief

CONFIG = Config()
SEEDS = list(range(30))
SKIPPED = "given"
COST = "cost"
AS_CLAIMED = {PLAIN: 14.0, PRACTICE: 12.0, COST: 0.5, UNSTABLE: 0.0, times(2): 1.0}
SOUND = {
    noise.REACHED: 1.0,
    agents.SOLVED: 1.0,
    agents.HALF: 1.0,
    noise.UNBIASED: 1.0,
    noise.NOISE: 12.0,
    noise.BIAS: 0.5,
}
SMALL = Config((4,), 400, 10, (), 4000, 4000, 1, 2)


def usual(cell, values):
    """The value of a cell in a sound experiment, where ``values`` does not change its metric or arm."""
    if cell.arm.endswith("no learning"):
        return values.get("no learning", 0.0)
    if cell.metric == noise.GAIN:
        return next(level for stage, level in STAGES.items() if stage in cell.arm)
    if cell.metric == noise.MEAN:
        return 0.9 - (0.0 if EXACT in cell.arm else values[COST])
    if cell.metric == noise.UNBIASED and cell.arm.endswith(noise.WRONG):
        return values.get(noise.WRONG, 9.0)
    if cell.metric == noise.BIAS and cell.arm.endswith(noise.poor(1.0)):
        return 0.0
    ending = next((e for e in (PLAIN, PRACTICE) if cell.arm.endswith(e) and cell.metric == noise.NOISE), "")
    return values.get(ending or cell.metric, SOUND.get(cell.metric, 0.0))


def made(changed):
    """A table of thirty seeds in which metrics, estimators or single (arm, metric) are changed."""
    cells = {c for p in STUDY.predicted(CONFIG) for c in p.cells}
    cells |= {c for x in STUDY.controlled(CONFIG) for c in x.check.cells if not c.metric.startswith(SKIPPED)}
    values, rows, spread = AS_CLAIMED | changed, [], np.linspace(-0.01, 0.01, len(SEEDS))
    for arm_name, metric, step in sorted({(c.arm, c.metric, c.step or 0) for c in cells}):
        value = values.get((arm_name, metric), usual(Cell(arm_name, metric), values))
        if metric in (noise.NOISE, noise.UNBIASED) or (metric == noise.MEAN and EXACT in arm_name):
            each = value + spread
        elif metric in (noise.GAIN, noise.BIAS, noise.MEAN, agents.LOSS):
            each = np.full(len(SEEDS), value)
        else:
            each = np.arange(len(SEEDS)) < round(len(SEEDS) * value)
        rows.append(table.rows(arm_name, SEEDS, step, metric, np.asarray(each, float)))
    return table.concat(rows)


PENDULUM = {(arm("Pendulum", PPO), times(2)): 1.0, (arm("Pendulum", PPO), UNSTABLE): 0.0}


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "supported"),
        ({PLAIN: 6.0, PRACTICE: 6.0, times(2): 0.1}, "refuted"),
        ({PLAIN: 6.0, PRACTICE: 6.0, UNSTABLE: 0.8}, "refuted"),
        ({COST: 0.02, times(2): 0.1}, "refuted"),  # noise that costs nothing
        ({PRACTICE: 6.0}, "mixed"),
        ({PRACTICE: 6.0, times(2): 0.1, **PENDULUM}, "mixed"),
        ({PLAIN: 10.0, PRACTICE: 10.0, COST: 0.1, times(2): 0.5}, "open"),
        ({noise.WRONG: 1.0}, "invalid"),  # an estimator that is wrong passes
        ({noise.UNBIASED: 9.0}, "invalid"),
        ({(idle("CartPole"), agents.SOLVED): 1.0}, "invalid"),
        ({(idle("Pendulum"), agents.LOSS): 0.3}, "invalid"),  # noise of evaluations counts as loss
        ({(at(30, EXACT), noise.REACHED): 0.3}, "invalid"),
    ],
)
def test_the_verdict_follows_from_the_numbers(changed, verdict):
    result = judge(STUDY, CONFIG, "full", made(changed))
    assert result["verdict"] == verdict, result["reason"]


def test_a_task_that_is_not_learned_is_not_asked():
    changed = {(arm("Pendulum", PPO), agents.HALF): 0.2}
    result = judge(STUDY, CONFIG, "full", made(changed))
    outcomes = {r["name"]: r["outcome"] for r in result["regimes"]}
    assert outcomes["Pendulum"] == "not applicable"
    # That the other side never learns is an outcome; there are no steps of it that PPO could exceed.
    result = judge(STUDY, CONFIG, "full", made({(arm("Pendulum", SAC), agents.SOLVED): 0.0}))
    assert result["verdict"] == "supported"


def test_the_answer_gives_noise_and_shares():
    said = study.answer(Findings(judge(STUDY, CONFIG, "full", made({(arm("Pendulum", SAC), UNSTABLE): 0.5}))))
    assert "REINFORCE needs 16,384 steps [16,35" in said
    assert "loses 50% [50, 50] of the gain of the exact ascent (with the true values as a baseline" in said
    assert "GAE needs 4,096 steps [4,0" in said
    assert "on Pendulum PPO needs over twice the steps of SAC in 100% [88, 100] of the runs and is" in said
    assert said.endswith("unstable in 0% [0, 12] (SAC: 50% [31, 69]).")


def test_progress_runs_from_random_play_to_solved():
    task = TASKS["CartPole"]
    values = np.array([[0.0, 22.0, 248.5, 475.0, 500.0, np.nan]])
    np.testing.assert_allclose(agents.progress(task, values), [[0, 0, 0.5, 1, 1, 0]])


def test_what_is_lost_and_what_is_only_slow():
    """Half of each training counts; a slow run loses nothing, a run that fails loses all."""
    slow, kept, dip, gone = np.zeros((4, 8))
    slow[:] = np.linspace(0, 0.4, 8)
    kept[2:] = 1.0
    dip[:] = [0, 1, 0, 1, 1, 0.6, 1, 1]
    gone[:] = [0, 1, 1, 1, 0, 0, 0, 0]
    np.testing.assert_allclose(agents.lost(np.stack([slow, kept, dip, gone])), [0, 0, 0.1, 1])


def test_hunger_is_only_what_was_seen():
    """Trainings that end too early, of either method, are no evidence of hunger."""
    inf = np.inf
    on = np.array([30.0, 41.0, inf, inf, 10.0, inf])
    off = np.array([20.0, 20.0, 20.0, 60.0, inf, inf])
    np.testing.assert_array_equal(agents.hungry(on, off, 2, 100), [0, 1, 1, 0, 0, 0])
    steps, curve = np.arange(4) * 10.0, np.array([[0, 1, 0.5, 1], [0, 0.5, 1, 1], [0, 0, 0, 1.0]])
    np.testing.assert_array_equal(agents.reached(steps, curve), [inf, 20, inf])


def test_every_method_tries_as_many_rates_and_on_policy_plays_on():
    for task, spec in TASKS.items():
        methods = (*spec.on, spec.off)
        assert {len(spec.rates[m]) for m in methods} == {4}
        assert all(CONFIG.steps(task, m) >= 2 * CONFIG.steps(task, spec.off) for m in spec.on)
        for m in methods:
            plain = agents.settings(task, m, CONFIG.steps(task, m))
            assert agents.GRID % plain.interactions == 0
            assert not getattr(plain, "anneal", False)
    assert set(TASKS["CartPole"].on) == {PPO, A2C}


def test_the_exact_gradient_is_that_of_the_library():
    def both(seed):
        world_key, logit_key = jax.random.split(jax.random.key(seed))
        world = noise.mdp.garnet(world_key, 5, noise.ACTIONS, 3, noise.DISCOUNT)
        logits = jax.random.normal(logit_key, (5, noise.ACTIONS))
        known, policy = noise.exactly(world, logits), jax.nn.softmax(logits)
        gradient = noise.mdp.softmax_policy_gradient(world, logits)
        values, visits = noise.mdp.policy_values(world, policy), noise.mdp.state_visits(world, policy)
        best = world.initial @ noise.mdp.value_iteration(world).values
        return (*known, noise.optimum(world)), (values, visits, world.initial @ values, gradient, best)

    for mine, reference in zip(*jax.jit(both)(3)):
        np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-5)


def ran(folder, seeds=(5, 2**31 + 6, 7)):
    """A context that has measured small MDPs, and the outcomes of the guards of estimators and budgets."""
    context = Context(folder, "smoke", seeds, lambda _: None, progress=False)
    noise.measure(SMALL, context, 4, [11, 12])
    return context, outcomes_of(context.table())


def outcomes_of(results):
    """By statement the outcome of each guard of the estimators, and of each that compares budgets."""
    guards = [c.check for c in STUDY.controlled(SMALL) if c.consequence == "invalid"]
    return {p.statement: way(p.find(results)) for p in guards}


def test_estimators_are_right_and_planted_errors_are_found(tmp_path, monkeypatch):
    """Sound estimators pass every guard, and an ascent with twice the updates does not."""
    context, outcomes = ran(tmp_path / "sound")
    assert "fails" not in outcomes.values(), outcomes
    results = context.table()
    levels = {e: results.final(at(4, e, "start"), noise.NOISE).mean() for e in noise.ESTIMATORS}
    assert levels[noise.WHOLE] > levels[PLAIN] > levels[noise.BASELINE] > levels[PRACTICE]
    gains = {a: results.curve(at(4, a), noise.GAIN)[1] for a in ASCENTS}
    assert all(curve.shape == (3, SMALL.updates + 1) for curve in gains.values())
    assert gains[EXACT][:, -1].min() > 0.9
    assert gains[EXACT].mean() > gains[ASCENTS[1]].mean()
    context.given(at(4, ASCENTS[1]), {"updates": SMALL.updates})
    twice = outcomes_of(context.table())
    assert {k for k, v in twice.items() if v == "fails"} == {k for k in twice if "As many updates" in k}


def test_an_oracle_that_is_a_constant_is_found(monkeypatch):
    """The guards of both unbiased estimators fail where the exact gradient is replaced by a constant."""
    exactly = noise.exactly
    constant = lambda world, x: exactly(world, x)._replace(gradient=jnp.full(x.shape, 0.3))  # noqa: E731
    monkeypatch.setattr(noise, "exactly", constant)

    def squared(seed):
        world = noise.mdp.garnet(jax.random.key(seed), 4, noise.ACTIONS, 3, noise.DISCOUNT)
        measured = noise.noise(world, jnp.zeros((4, noise.ACTIONS)), jax.random.key(seed + 1), 200)
        return {name: x[noise.UNBIASED] for name, x in measured.items()}

    found = jit_brief(jax.vmap(squared), level=0)(np.arange(20, dtype=np.uint32))
    guards = {c.check.cells[0].arm: c.check for c in noise.guards(4, "start")[: len(noise.ESTIMATORS)]}
    for name in (noise.BASELINE, PRACTICE):
        assert way(guards[at(4, name, "start")].judge([np.asarray(found[name])])) == "fails"


def test_rates_are_chosen_on_other_seeds(monkeypatch, tmp_path):
    """No judged seed chooses, every rate is tried, and the curves of a seed stay with the seed."""
    chosen_on, judged = [], (9, 3)

    def trained(fit, task, method, budget, rates, episodes):
        seeds = sorted(getattr(fit, "keywords", {}).get("seeds", judged))
        chosen_on.extend(getattr(fit, "keywords", {}).get("seeds", ()))
        steps, final = np.arange(4) * 1000, {0.003: 1.0, 0.001: 0.5}
        rise = np.array([0, 0, 1, 1.0])
        return {
            k: (steps, np.stack([rise * final.get(r, 0.0) * (s != 3) for s in seeds]))
            for k, r in rates.items()
        }

    monkeypatch.setattr(agents, "trained", trained)
    context = Context(tmp_path, "smoke", judged, lambda _: None, progress=False)
    agents.learn(Config(tasks=("Pendulum",)), context, "Pendulum", [21, 22])
    assert set(chosen_on) == {21, 22}
    results = context.table()
    seeds, solved = results.final_by_seed(arm("Pendulum", PPO), agents.SOLVED)
    assert dict(zip(seeds.tolist(), solved.tolist())) == {9: 1.0, 3: 0.0}
    assert results.final(idle("Pendulum"), agents.SOLVED).max() == 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"episodes": 50}, "multiple of 40"),
        ({"discrete": 3000}, "and discrete and continuous of 2000"),
        ({"tasks": ("Go",)}, "is not known; choose from CartPole"),
        ({"selection": 0}, "selection must be at least 1"),
    ],
)
def test_bad_settings_are_one_sentence(wrong, words):
    with pytest.raises(check.InputError, match=words):
        Config(**wrong)
