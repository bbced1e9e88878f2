"""The study of reward shaping: its population, its measures, its verdict, the errors that it catches."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import judge, way

from experiments.rl import _shaped_learners as learners
from experiments.rl import _shaped_rewards as rewards
from experiments.rl import _shaped_table as tabled
from experiments.rl import _shaping_theory as theory
from experiments.rl import reward_shaping as study
from experiments.rl._shaped_learners import ALGORITHMS, BUDGETS, LOOKS, scores
from experiments.rl._shaped_rewards import NOTHING, PLAIN, TASKS, population
from experiments.rl._shaped_table import BAD, BEST, COPES, GOOD, HALF, LEAST, WEAKEST, arm
from experiments.rl.reward_shaping import PAY, SCORE, STUDY, UNTRAINED, Config
from lrn import check, table
from lrn.rl import env as envs
from lrn.rl.evaluate import evaluator
from lrn.study import Findings
from lrn.study.context import Context
from lrn.xla.runtime import jit_brief

CONFIG = Config()
SEEDS = list(range(10))
SKIPPED = "given"
AS_CLAIMED = {
    tabled.share("reward"): 0.5,
    tabled.share("algorithm"): 0.1,
    GOOD: 0.8,
    HALF: 0.4,
    BAD: 0.1,
    SCORE: 0.6,
    "Q-learning": 0.0,
    "SARSA": 0.0,
    theory.SLIP: 0.5,
}


def made(changed):
    """A table of ten seeds in which metrics or single (arm, metric) are changed."""
    cells = {c for p in STUDY.predicted(CONFIG) for c in p.cells}
    cells |= {c for x in STUDY.controlled(CONFIG) for c in x.check.cells if not c.metric.startswith(SKIPPED)}
    values, rows, spread = AS_CLAIMED | changed, [], np.linspace(-0.01, 0.01, len(SEEDS))
    exact = {PAY, *theory.METHODS}
    for name, metric in sorted({(c.arm, c.metric) for c in cells}):
        ending = name.split(", ")[-1]
        usual = 0.0 if ending in (NOTHING, UNTRAINED) else values.get(metric, 0.0)
        value = values.get((name, metric), values.get((ending, metric), usual))
        rows.append(table.rows(name, SEEDS, 0, metric, value + spread * (metric not in exact)))
    return table.concat(rows)


CAR = "MountainCar"


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "supported"),
        ({tabled.share("reward"): 0.1, tabled.share("algorithm"): 0.3}, "refuted"),
        ({tabled.share("reward"): 0.15}, "refuted"),  # more, but not by a tenth of the variance
        ({BAD: 0.6}, "refuted"),  # an algorithm that copes with the worst rewards
        ({(CAR, tabled.share("reward")): 0.1}, "mixed"),
        ({BAD: 0.4}, "open"),
        ({(NOTHING, SCORE): 0.6}, "invalid"),  # the rewards of the arms are not what agents learn from
        ({(UNTRAINED, SCORE): 0.6}, "invalid"),  # a task that is solved without learning
        ({PAY: 30.0}, "invalid"),  # a policy that is judged by the shaped reward
        ({theory.SLIP: 0.0}, "invalid"),
        ({"SARSA": 0.1}, "invalid"),
    ],
)
def test_the_verdict_follows_from_the_numbers(changed, verdict):
    result = judge(STUDY, CONFIG, "full", made(changed))
    assert result["verdict"] == verdict, result["reason"]


def test_a_task_that_nobody_learns_is_not_asked():
    changed = {(arm(CAR, BEST), GOOD): 0.1}
    result = judge(STUDY, CONFIG, "full", made(changed))
    outcomes = {r["name"]: r["outcome"] for r in result["regimes"]}
    assert outcomes[CAR] == "not applicable"


def test_an_arm_with_twice_the_steps_is_found(tmp_path):
    guards = [
        c.check for c in study.controls(Config(("CartPole",))) if "environment steps" in c.check.statement
    ]
    context = Context(tmp_path, "smoke", (3, 4), lambda _: None, progress=False)
    for guard in guards:
        context.given(guard.cells[0].arm, {"environment steps": CONFIG.steps})
    assert {way(g.find(context.table())) for g in guards} == {"holds"}
    twice = arm("CartPole", "PPO", PLAIN)
    context.given(twice, {"environment steps": CONFIG.steps})
    failed = [g for g in guards if way(g.find(context.table())) == "fails"]
    assert [g.cells[0].arm for g in failed] == [twice]


def test_the_population_is_the_whole_crossing():
    for task, spec in TASKS.items():
        names = [*population(task)]
        assert len(names) == len(set(names)) == 1 + 2 * 3 * len(spec.quantities) == 13
        shared = rewards.groups(task)
        forms, weights, quantities = list(rewards.FORMS), list(rewards.WEIGHTS), list(spec.quantities)
        for kinds in (forms, weights, quantities):
            assert sorted(n for k in kinds for n in shared[k]) == sorted(set(names) - {PLAIN})


def walked(task):
    """Steps of random play at the first observation of each, leaves [30, ...]."""
    env = envs.make(TASKS[task].name)
    actions = envs.require_discrete(env, "random play")

    def move(carry, key):
        observation, state = carry
        state, step = env.move(key, state, jax.random.randint(key, (), 0, actions))
        return (step.final_observation, state), (observation, step)

    keys = jax.random.split(jax.random.key(1), 30)
    return jit_brief(lambda: jax.lax.scan(move, env.reset(keys[0]), keys)[1])()


@pytest.mark.parametrize("task", TASKS)
def test_rewards_are_what_their_names_say(task):
    """Every reward by hand at each step, the end among them; progress is the library's `shaped`."""
    observations, steps = walked(task)
    steps = steps._replace(terminated=steps.terminated.at[-1].set(True))
    later = np.array(steps.final_observation)
    if task == "CartPole":
        values = {"upright": 1 - abs(later[:, 2]) / 0.2095, "centered": 1 - abs(later[:, 0]) / 2.4}
    else:
        values = {"height": 0.5 + 0.5 * np.sin(3 * later[:, 0]), "speed": abs(later[:, 1]) / 0.07}
    values = {k: np.clip(v, 0, 1) for k, v in values.items()}
    for name, reward in population(task).items():
        paid = jax.vmap(partial(rewards.pay, task, reward))(observations, steps)
        expected = np.array(steps.reward)
        if name != PLAIN:
            (weight, form), quantity = name.split(": ")[0].split(), name.split(": ")[1]
            w, value = {"light": 0.3, "heavy": 3.0}[weight], TASKS[task].quantities[quantity]
            np.testing.assert_allclose(jax.vmap(value)(steps.final_observation), values[quantity], atol=1e-6)
            if form == "progress":
                now = np.array(jax.vmap(value)(observations))
                after = np.where(steps.terminated, 0.0, values[quantity])
                expected = expected + 100 * w * (0.99 * after - now)
            else:
                expected = expected + w * (values[quantity] - (form == "penalty"))
        np.testing.assert_allclose(paid, expected, rtol=1e-4, atol=1e-4)
    nothing = rewards.Reward(own=0.0)
    assert not np.any(jax.vmap(partial(rewards.pay, task, nothing))(observations, steps))


def test_the_unit_is_the_spread_of_running_returns():
    """By hand for a reward of 1 a step: the returns are geometric sums over the lengths of episodes."""
    measured = float(jit_brief(partial(rewards.unit, "CartPole"))(rewards.Reward()))
    rng = np.random.default_rng(0)
    env = rng.geometric(1 / 22, 20_000)  # lengths near those of random play
    sums = np.concatenate([(1 - 0.99 ** np.arange(1, n + 1)) / 0.01 for n in env])
    assert abs(measured / 9.4 - 1) < 0.1
    assert 0.5 < measured / sums.std() < 1.1  # true lengths vary less than geometric ones
    threefold = float(jit_brief(partial(rewards.unit, "CartPole"))(rewards.Reward(own=3.0)))
    np.testing.assert_allclose(threefold, 3 * measured, rtol=1e-4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rewards_and_rates_of_an_algorithm_are_one_compile(algorithm):
    every = [
        learners.setting(algorithm, CONFIG.steps, rate, r)
        for rate in (1e-3, 1e-2)
        for r in population(CAR).values()
    ]
    assert len({jax.tree.structure(s) for s in every}) == 1
    played = every[0].agent.interactions
    assert CONFIG.steps % (played * LOOKS) == 0
    assert {s.agent.discount for s in every} == {rewards.DISCOUNT}
    assert len(learners.RATES[algorithm]) == 3


def test_rates_are_chosen_on_other_seeds_by_all_rewards(monkeypatch):
    """A rate that is best in the mean is chosen, though another is best with one reward."""
    used = []

    def trained(fit, task, algorithm, steps, arms, episodes):
        used.extend(fit.keywords["seeds"])
        level = {0.003: {"a": 0.9, "b": 0.0}, 0.01: {"a": 0.6, "b": 0.6}, 0.03: {"a": 0.0, "b": 0.1}}
        known = {k: level[r][k.split()[-1]] for k, (r, _) in arms.items()}
        return {k: {"progress": np.full((2, LOOKS + 1), x)} for k, x in known.items()}

    monkeypatch.setattr(learners, "trained", trained)
    both = {"a": rewards.Reward(), "b": rewards.Reward(own=2.0)}
    found = learners.choose(CAR, ("PPO", "PQN"), both, 16_000, 2, [21, 22], lambda _, compute: compute())
    assert {c.only for c in found.values()} == {1}
    np.testing.assert_allclose([c.score for c in found.values()], 0.6)
    assert set(used) == {21, 22}


def test_budgets_are_read_from_their_part_of_the_curve():
    curve = np.arange(LOOKS + 1)[None] / LOOKS
    found = scores(curve)
    assert [*found] == [*BUDGETS]
    np.testing.assert_allclose([x[0] for x in found.values()], [1.5 / 8, 3.5 / 8, 7.5 / 8])


def recorded(tmp_path, scored):
    """The table after `divide` and `compare` of scores [rewards, algorithms, seeds]."""
    context = Context(tmp_path, "smoke", tuple(range(scored.shape[2])), lambda _: None, progress=False)
    tabled.divide(context, CAR, ALGORITHMS, np.repeat(scored[..., None], len(BUDGETS), -1))
    tabled.compare(context, CAR, ALGORITHMS, scored)
    return context.table()


def test_the_shares_find_the_factor_and_the_level_that_makes_it(tmp_path):
    """Rewards that differ smoothly have more whichever level is left out; one sabotaged reward has not."""
    rng, n = np.random.default_rng(0), len(population(CAR))
    noise = 0.05 * rng.normal(size=(n, 5, 6))
    smooth = recorded(tmp_path / "a", 0.5 + 0.3 * rng.normal(size=(n, 1, 1)) + noise)
    assert smooth.final(CAR, tabled.share("reward")).min() > 0.8
    assert smooth.final(CAR, LEAST).min() > 0.5
    one = np.where(np.arange(n) == 4, -2.0, 0.5)[:, None, None] + 0.2 * rng.normal(size=(1, 5, 1)) + noise
    sabotaged = recorded(tmp_path / "b", one)
    share = {f: sabotaged.final(CAR, tabled.share(f)).mean() for f in tabled.FACTORS}
    assert share["reward"] > share["algorithm"] + 0.3
    assert sabotaged.final(CAR, LEAST).max() < 0
    for i, name in enumerate(population(CAR)):
        left = sabotaged.final(CAR, tabled.lacking(name))
        assert left.max() < -0.5 if i == 4 else left.min() > 0


def test_good_and_bad_are_chosen_by_other_seeds(tmp_path):
    """Of noise, seeds that choose for themselves would find good and bad; and of effects, the right ones."""
    rng, n = np.random.default_rng(0), len(population(CAR))
    noise = recorded(tmp_path / "noise", rng.normal(size=(n, 5, 40)))
    gap = noise.final(arm(CAR, COPES), GOOD) - noise.final(arm(CAR, COPES), BAD)
    assert abs(gap.mean()) < 3 * gap.std() / 40**0.5
    levels = np.arange(n) / n  # of rewards; the plain one is the lowest, and no shaping
    ability = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    known = recorded(tmp_path / "known", (levels[:, None] + ability)[..., None] + np.zeros((n, 5, 3)))
    np.testing.assert_allclose(known.final(arm(CAR, COPES), BAD), np.mean(levels[1:4]) + 0.5)
    np.testing.assert_allclose(known.final(arm(CAR, COPES), HALF), (np.mean(levels[-3:]) + 0.5) / 2)
    np.testing.assert_allclose(known.final(arm(CAR, WEAKEST), GOOD), np.mean(levels[-3:]) + 0.1)
    np.testing.assert_allclose(known.final(arm(CAR, COPES), PLAIN), 0.5)
    alike = np.zeros((n, 5, 3))  # all fail with bad shaping; the fourth has most to lose
    alike[-3:, 3] = 0.9
    found = recorded(tmp_path / "alike", alike)
    np.testing.assert_allclose(found.final(arm(CAR, COPES), GOOD), 0.9)
    assert found.final(arm(CAR, COPES), BAD).max() == 0


def test_theory_is_met_and_planted_errors_are_found(monkeypatch):
    """Shaping is a start at the potential; a slip at ends, or a constant for the potential, is not."""
    find = jit_brief(jax.vmap(partial(theory.deviations, steps=200)))
    found = {k: np.array(v) for k, v in find(np.arange(3, dtype=np.uint32)).items()}
    assert max(found[m].max() for m in theory.METHODS) < 1e-3
    assert found[theory.SLIP].min() > 0.05
    constant = lambda env, potential: theory.right(env, potential.at[:].set(0.3))  # noqa: E731
    monkeypatch.setattr(theory, "METHODS", {})
    monkeypatch.setattr(theory, "kept", constant)
    wrong = jit_brief(jax.vmap(partial(theory.deviations, steps=200)))(np.arange(3, dtype=np.uint32))
    assert np.min(wrong[theory.SLIP]) > 0.05


def fitted(rewarded_evaluation=False):
    """A stand-in for `Context.fit` that evaluates the learners as they were made, untrained."""

    def fit(factory, arms, *, steps, evaluate, eval_every, **_):
        rows = []
        for name, setting in arms.items():
            agent = factory(setting)
            judge_by = evaluate
            if rewarded_evaluation:
                judge_by = evaluator(rewards.rewarded("CartPole", setting.reward), 2)

            def measured(seed, agent=agent, setting=setting, judge_by=judge_by):
                key = jax.random.key(seed)
                return judge_by(agent, setting, key, agent.init(key, None), None)

            found = jit_brief(jax.vmap(measured))(jnp.arange(2))
            for at in range(0, steps + 1, eval_every):
                rows += [table.rows(name, [0, 1], at, k, np.array(found[k], float)) for k in found]
        return type("Fit", (), {"table": table.concat(rows)})

    return fit


def test_a_policy_that_is_judged_by_its_shaped_reward_is_found():
    heavy = population("CartPole")["heavy bonus: upright"]
    arms = {"x": (1e-3, heavy)}
    right = learners.trained(fitted(), "CartPole", "PQN", 16_000, arms, 2)["x"]
    assert right[PAY].max() == 0
    assert right["progress"].shape == (2, LOOKS + 1)
    assert set(right["steps"]) == {16_000}
    wrong = learners.trained(fitted(rewarded_evaluation=True), "CartPole", "PQN", 16_000, arms, 2)["x"]
    assert wrong[PAY].min() > 5


def test_progress_runs_from_random_play_to_solved():
    found = learners.progress(TASKS["CartPole"], [0.0, 22.0, 248.5, 475.0, 500.0, np.nan])
    np.testing.assert_allclose(found, [0, 0, 0.5, 1, 1, 0])


def test_the_answer_gives_shares_levels_and_falls():
    said = study.answer(Findings(judge(STUDY, CONFIG, "full", made({}))))
    assert "On MountainCar the reward explains 50% [50, 50] of the variance" in said
    assert "On CartPole" in said


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tasks": ("Pong",)}, "task 'Pong' is not known"),
        ({"algorithms": ("PPO",)}, "algorithms must name two"),
        ({"algorithms": ("PPO", "PPO")}, "repeat none"),
        ({"steps": 50_000}, "multiple of 16000"),
        ({"episodes": 0}, "episodes must be at least 1"),
    ],
)
def test_bad_settings_are_one_sentence(wrong, words):
    with pytest.raises(check.InputError, match=words):
        Config(**wrong)
