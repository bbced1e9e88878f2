"""The study of epsilon-greedy: its verdict follows from the runs solved, its controls catch what breaks."""

from __future__ import annotations

import numpy as np
import pytest
from treatment import judge

from experiments.rl import _worlds as worlds
from experiments.rl import exploration as study
from experiments.rl._worlds import GRID, GRIDS, ONE, WORLDS
from experiments.rl.exploration import ANY, HINT, IDLE, NONE, OTHER, STUDY, Config, arm
from lrn import check, table
from lrn.rl.env import Discrete
from lrn.rl.exploration.ascent import BEST
from lrn.rl.exploration.explorer import Explorer
from lrn.study import Findings

CONFIG = Config(known=False)
SEEDS = list(range(20))
SHALLOW, DEEP = "discrete, depth 5", "discrete, depth 20"
LINE, CUBE = "continuous, depth 5", "continuous in 3D, depth 5"
AS_CLAIMED = {arm(t, ANY): share for t, share in ((SHALLOW, 1.0), (DEEP, 1.0), (LINE, 0.0), (CUBE, 0.0))}


def made(shares):
    """A table of twenty seeds; shares of runs solved by arm, else as a sound experiment has them."""
    sound = {NONE: 0.0, IDLE: 0.0, ANY: 0.5, OTHER: 1.0, HINT: 1.0}
    rows = []
    for world, each in CONFIG.tasks.items():
        for t in each:
            right = np.full(20, worlds.right(WORLDS[world]))
            rows += [table.rows(t, SEEDS, 0, "best return", np.full(20, BEST))]
            rows += [table.rows(t, SEEDS, 0, "right actions", right)]
            for method, usual in sound.items():
                share = shares.get(arm(t, method), usual)
                solved = (np.arange(20) < round(20 * share)).astype(float)
                rows += [table.rows(arm(t, method), SEEDS, at, "solved", solved) for at in CONFIG.budgets]
    return table.concat(rows)


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        (AS_CLAIMED, "supported"),
        ({arm(SHALLOW, ANY): 1.0, arm(DEEP, ANY): 0.0, arm(LINE, ANY): 1.0, arm(CUBE, ANY): 1.0}, "mixed"),
        ({k: 1.0 - v for k, v in AS_CLAIMED.items()}, "refuted"),
        (dict.fromkeys(AS_CLAIMED, 0.5), "open"),
        (AS_CLAIMED | {arm(CUBE, OTHER): 0.0}, "invalid"),  # a task that nothing solves says nothing
        (AS_CLAIMED | {arm(LINE, IDLE): 1.0}, "invalid"),  # nor does one that needs no learning
        (AS_CLAIMED | {arm(SHALLOW, HINT): 0.0}, "invalid"),  # a gate that optimism does not open is blind
        (AS_CLAIMED | {arm(SHALLOW, NONE): 1.0}, "partly supported"),  # no question where none is needed
    ],
)
def test_the_verdict_follows_from_the_runs_solved(shares, verdict):
    result = judge(STUDY, CONFIG, "quick", made(shares))
    assert result["verdict"] == verdict, result["reason"]


def test_a_task_that_needs_no_exploration_is_not_asked():
    result = judge(STUDY, CONFIG, "quick", made(AS_CLAIMED | {arm(SHALLOW, NONE): 1.0}))
    assert {r["name"]: r["outcome"] for r in result["regimes"]}[SHALLOW] == "not applicable"


def test_the_answer_names_depths_in_order_and_shares():
    findings = Findings(judge(STUDY, CONFIG, "quick", made(AS_CLAIMED)))
    said = study.answer(findings)
    assert "solves 100% [83, 100], 0% [0, 17] and 0% [0, 17] at depth 5; " in said
    last = said.split(" at depth 10; ")[1]
    assert last.startswith("100% [83, 100], 50%")
    assert " at depth 20." in last


def test_every_way_has_three_settings_and_noise_needs_an_order():
    for world in WORLDS.values():
        ways = worlds.menu(world)
        assert {len(v) for v in ways.values()} == {3}
        assert ("pink" in ways) == (not world.discrete)
        for setting in (s for settings in ways.values() for s in settings):
            Explorer(**setting)  # within range


@pytest.mark.parametrize("name", list(worlds.ASCENTS))
def test_what_is_counted_is_what_is_played(name):
    """The right actions, by arithmetic and by playing them; and the best return."""
    env_of, _ = worlds.place(name, 7)
    env = env_of(study._arm(name, 7, {}, NONE))
    assert env.actions == Discrete(WORLDS[name].levels ** WORLDS[name].engines)
    expected = {"best return": BEST, "right actions": worlds.right(WORLDS[name])}
    assert worlds.facts(name, 7) == pytest.approx(expected, abs=1e-6)


def test_shares_of_right_actions():
    assert [worlds.right(WORLDS[w]) for w in (ONE, GRID, GRIDS)] == pytest.approx([0.5, 0.4, 0.16])


def test_only_the_hint_prices_a_fall():
    arms = {m: study._arm(ONE, 5, study.FIXED.get(m, {}), m) for m in (NONE, IDLE, HINT, "counts")}
    assert {m: a.fall > 0 for m, a in arms.items()} == {NONE: False, IDLE: False, HINT: True, "counts": False}
    assert arms[NONE].way == Explorer()
    assert arms[IDLE].way.learning_rate == 0.0


def test_choices_are_made_on_other_seeds(monkeypatch):
    """No seed that is judged chooses; every setting is tried; what is solved in the end counts first."""
    seen = {}

    def trained(fit, name, most, arms, steps, evaluations):
        seen.update(seeds=fit.keywords["seeds"], arms=list(arms))
        curve = {"0": np.arange(31) < 28, "1": np.arange(31) > 25, "2": np.arange(31) > 20}
        return {k: np.tile(curve[k[0]].astype(float), (len(fit.keywords["seeds"]), 1)) for k in arms}

    monkeypatch.setattr(worlds, "trained", trained)
    judged = [5, 2**31 + 6, 7]
    scores = study._tried(Config(selection=2), ONE, judged)
    assert len(seen["seeds"]) == 2
    assert not set(seen["seeds"]) & set(judged)
    assert len(seen["arms"]) == 3 * 3 * len(worlds.menu(WORLDS[ONE]))
    early, late, best = scores[arm(SHALLOW, "counts")].mean(1)
    assert early < late < best


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"depths": (5, 4, 20)}, "depths must be three that rise"),
        ({"steps": 100}, "multiple of 30"),
        ({"selection": 0}, "selection must be at least 1"),
    ],
)
def test_bad_settings_are_one_sentence(wrong, words):
    with pytest.raises(check.InputError, match=words):
        Config(**wrong)


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_shallow_and_deep_are_what_they_are_said_to_be(preset):
    """Random tries that reach the top within the budget: ten or more where shallow, none where deep."""
    config = STUDY.presets[preset]
    for world in (ONE, GRID, GRIDS):
        p = worlds.right(WORLDS[world])
        shallow, _, deep = (config.steps * (1 - p) / (1 - p**n) * p**n for n in config.depths)
        assert shallow >= 10
        assert deep < 0.5
