"""The study of epsilon-greedy: its verdict follows from the runs solved, its controls catch what breaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from treatment import judge

from experiments.rl import _worlds as worlds
from experiments.rl import exploration as study
from experiments.rl._worlds import ASCENTS, WORLDS
from experiments.rl.exploration import ANY, HINT, IDLE, NONE, OTHER, RANDOM, RATIO, SOLVED, STUDY, Config, arm
from lrn import check, table
from lrn.rl.env import Discrete
from lrn.rl.exploration.ascent import LEAST
from lrn.rl.exploration.explorer import Explorer
from lrn.study import Findings

CONFIG = Config()
SEEDS = list(range(20))
PAIRS = CONFIG.pairs
(THRUSTS, LINE), (_, CUBE), (FORCES, FINE), (_, FINER) = PAIRS.values()
AS_CLAIMED = {arm(t, ANY): float(t in (THRUSTS, FORCES)) for pair in PAIRS.values() for t in pair}


def made(changed):
    """A table of twenty seeds: by arm the share of runs solved, by task a ratio, else what is sound."""
    sound = {NONE: 0.0, IDLE: 0.0, ANY: 0.5, RANDOM: 0.5, OTHER: 1.0, HINT: 1.0}
    rows = []

    def solved(name, usual):
        each = (np.arange(20) < round(20 * changed.get(name, usual))).astype(float)
        steps = [CONFIG.steps * i // study.EVALUATIONS for i in (*study.READ, study.EVALUATIONS)]
        rows.extend(table.rows(name, SEEDS, step, SOLVED, each) for step in steps)

    for tasks in CONFIG.tasks.values():
        for t in tasks:
            rows.append(table.rows(t, SEEDS, 0, RATIO, np.full(20, changed.get((t, RATIO), 1.0))))
            for method, usual in sound.items():
                solved(arm(t, method), usual)
    for name in PAIRS:
        solved(arm(name, NONE), 0.0)
    return table.concat(rows)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        (AS_CLAIMED, "supported"),
        (dict.fromkeys(AS_CLAIMED, 1.0), "refuted"),  # a grid does as well
        (dict.fromkeys(AS_CLAIMED, 0.0), "refuted"),  # discrete actions do not work either
        (AS_CLAIMED | {arm(LINE, ANY): 1.0, arm(CUBE, ANY): 1.0}, "mixed"),
        (dict.fromkeys(AS_CLAIMED, 0.6) | {arm(t, ANY): 0.35 for t in (LINE, CUBE, FINE, FINER)}, "open"),
        (AS_CLAIMED | {arm("Ascent, one dimension", NONE): 1.0}, "partly supported"),
        (AS_CLAIMED | {arm(CUBE, OTHER): 0.0}, "invalid"),  # a task that nothing solves says nothing
        (AS_CLAIMED | {arm(LINE, IDLE): 1.0}, "invalid"),  # nor does one that needs no learning
        (AS_CLAIMED | {arm(THRUSTS, HINT): 0.0}, "invalid"),  # a gate that optimism does not open is blind
        (AS_CLAIMED | {(FINE, RATIO): 0.5}, "invalid"),  # half the chance is not equal chance
    ],
)
def test_the_verdict_follows_from_the_runs_solved(changed, verdict):
    result = judge(STUDY, CONFIG, "full", made(changed))
    assert result["verdict"] == verdict, result["reason"]


def test_a_task_that_needs_no_exploration_is_not_asked():
    changed = AS_CLAIMED | {arm("the car, one dimension", NONE): 1.0}
    result = judge(STUDY, CONFIG, "full", made(changed))
    assert {r["name"]: r["outcome"] for r in result["regimes"]}["the car, one dimension"] == "not applicable"


def test_the_answer_gives_the_shares_in_order():
    findings = Findings(judge(STUDY, CONFIG, "full", made(AS_CLAIMED | {arm(FINE, ANY): 0.25})))
    said = study.answer(findings)
    last = "of the runs with discrete actions, {} with a grid over one dimension and 0% [0, 17] with a grid"
    assert f"in Ascent 100% [83, 100] {last.format('0% [0, 17]')} over three; in the car" in said
    assert f"in the car 100% [83, 100] {last.format('25% [9, 49]')} over three. " in said


def test_every_way_has_three_settings_a_rate_and_noise_needs_an_order():
    for world in WORLDS.values():
        ways = worlds.menu(world)
        assert {len(v) for v in ways.values()} == {3 * len(world.rates)}
        assert ("pink" in ways) == (not world.discrete)
        for setting in (s for settings in ways.values() for s in settings):
            Explorer(**setting)  # within range
            assert setting.get("epsilon", 0.0) < 1.0 or setting["epsilon_end"] < 1.0  # that is random play


SHARES = {"two thrusts": (1 / 2, 1 / 2), "grid": (1 / 2, 1 / 4), "3D grid": (1 / 2, 10 / 64)}


@pytest.mark.parametrize("name", list(ASCENTS))
def test_chance_follows_from_the_right_actions(name):
    """A try succeeds with p^7, and takes a step more with each right action but the last."""
    env_of, _ = worlds.place(name, 7)
    tasks = {name: worlds.Arm(7), study.few(name): worlds.Arm(7, LEAST)}
    assert env_of(tasks[name]).actions == Discrete(WORLDS[name].levels ** WORLDS[name].engines)
    found = worlds.chances(name, tasks, 7, SEEDS[:2])
    for p, values in zip(SHARES[name], found.values()):
        np.testing.assert_allclose(values, 1e4 * p**7 / sum(p**i for i in range(7)), rtol=1e-4)


def test_three_engines_drive_a_car_by_their_mean():
    """The forces 1, 0 and 0 move the car as a third of one force does, and cost as much."""
    import jax

    task, key = worlds.Arm(power=0.0015), jax.random.key(0)
    several = worlds.place("car, 3D grid", 1)[0](task)
    _, state = several.reset(key)
    after, step = several.move(key, state, jax.numpy.int32(2 * 9 + 1 * 3 + 1))
    expected = -np.cos(3 * state.position) * 0.0025 + 0.0015 / 3
    assert float(after.velocity) == pytest.approx(float(expected), abs=1e-8)
    assert float(step.reward) == pytest.approx(-0.1 / 9, abs=1e-6)


def test_only_the_hint_prices_a_fall():
    arms = {
        m: study._arm("grid", worlds.Arm(5), study.FIXED.get(m, {}), m)
        for m in (NONE, IDLE, HINT, "optimistic")
    }
    assert {m: a.fall > 0 for m, a in arms.items()} == {
        NONE: False,
        IDLE: False,
        HINT: True,
        "optimistic": False,
    }
    assert arms[NONE].way == Explorer()
    assert arms[IDLE].way.learning_rate == 0.0
    assert dataclasses.replace(arms[HINT], fall=0.0) == arms[NONE]


def test_choices_are_made_on_other_seeds(monkeypatch):
    """No seed that is judged chooses; every setting is tried; what is solved in the end counts first."""
    seen = {}

    def trained(fit, name, most, arms, steps, evaluations):
        seen.update(seeds=fit.keywords["seeds"], arms=list(arms))
        curve = {"0": np.arange(31) < 28, "1": np.arange(31) > 25, "2": np.arange(31) > 20}
        return {k: np.tile(curve[k[0]].astype(float), (len(fit.keywords["seeds"]), 1)) for k in arms}

    monkeypatch.setattr(worlds, "trained", trained)
    judged = [5, 2**31 + 6, 7]
    world = next(iter(ASCENTS))
    scores = study._tried(Config(selection=2), world, judged)
    assert len(seen["seeds"]) == 2
    assert not set(seen["seeds"]) & set(judged)
    assert len(seen["arms"]) == 3 * len(worlds.menu(WORLDS[world]))
    early, late, best = scores[arm(THRUSTS, "optimistic")].mean(1)
    assert early < late < best


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"depth": 0}, "depth must be at least 1"),
        ({"steps": 100}, "multiple of 30"),
        ({"selection": 0}, "selection must be at least 1"),
    ],
)
def test_bad_settings_are_one_sentence(wrong, words):
    with pytest.raises(check.InputError, match=words):
        Config(**wrong)
