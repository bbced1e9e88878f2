"""The study of the deadly triad: what is unstable, its verdict, and the planted errors that it catches."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import judge

from experiments.rl import _triad_arms as arms
from experiments.rl import _triad_tasks as tasks
from experiments.rl import deadly_triad as study
from experiments.rl._triad_arms import (
    ERROR,
    KINDS,
    LESS,
    PLACES,
    REGRESSION,
    SHARE,
    TRIAD,
    UNSTABLE,
    arm,
)
from experiments.rl._triad_learner import LINEAR, NET, TABLE, approximator
from experiments.rl._triad_tasks import BEHAVIORS, CAR
from experiments.rl.deadly_triad import STUDY
from lrn import check, table
from lrn.rl.env import Discrete
from lrn.study import Findings
from lrn.study.context import Context
from lrn.study.select import EDGE
from lrn.study.verdict import checked

CONFIG = study.Config()
TINY = dataclasses.replace(STUDY.presets["smoke"], updates=40)
SEEDS = np.arange(20)


def made(triad=1.0, less=0.0, problems=0.9, **changes):
    """A table of twenty seeds with these shares of unstable runs, else as a sound experiment has them."""
    values = {
        "slow": 0.0,
        "fast": 1.0,
        "untaught": 0.9,
        "regression": 0.1,
        "theorem": 0.0,
        "TD": -0.1,
    } | changes
    spread, rows = np.linspace(-1e-3, 1e-3, 20), []
    for name, least in (("star, TD", values["TD"]), ("star, TDC", 0.0)):
        rows.append(table.rows(name, SEEDS, 0, "least real part", np.full(20, least)))
    for name, value in (*((b, problems) for b in BEHAVIORS), *((w, values["theorem"]) for w in LESS)):
        rows.append(table.rows(name, SEEDS, 0, SHARE, value + (0 if name in LESS else spread)))
    cells = {c for p in STUDY.predicted(CONFIG) for c in p.cells if c.metric == UNSTABLE}
    for cell in sorted(cells, key=str):
        value = triad if cell.arm.endswith(TRIAD) else less
        rows.append(table.rows(cell.arm, SEEDS, cell.step, UNSTABLE, np.arange(20) < round(20 * value)))
    for task, kinds in KINDS.items():
        rows.append(table.rows(arm(task, NET, REGRESSION), SEEDS, 0, ERROR, values["regression"] + spread))
        for kind in kinds:
            for name, c in arms.extremes(task, kind).items():
                which = "slow" if c.rate < 1 else "fast"
                rows.append(table.rows(name, SEEDS, CONFIG.updates, UNSTABLE, np.full(20, values[which])))
                rows.append(table.rows(name, SEEDS, 0, ERROR, values["untaught"] + spread))
    edges = [c.check.cells[0] for c in STUDY.controlled(CONFIG) if c.check.cells[0].metric == EDGE]
    rows += [table.rows(cell.arm, SEEDS, 0, EDGE, np.zeros(len(SEEDS))) for cell in edges]
    return table.concat(rows)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "supported"),
        ({"triad": 0.0}, "mixed"),  # stable with all three, but for random problems
        ({"triad": 0.0, "problems": 0.1}, "refuted"),
        ({"less": 0.5, "problems": 0.1}, "refuted"),  # two of the three suffice
        ({"triad": 0.5, "problems": 0.5}, "open"),
        ({"slow": 1.0}, "invalid"),  # slow learning that is called unstable
        ({"fast": 0.0}, "invalid"),  # divergence that is not seen
        ({"theorem": 0.2}, "invalid"),
        ({"untaught": 0.1}, "invalid"),  # a task on which zeros are right
        ({"regression": 0.8}, "invalid"),  # returns that are wrong
        ({"TD": 0.1}, "invalid"),
    ],
)
def test_the_verdict_follows_from_the_unstable_runs(changes, verdict):
    result = judge(STUDY, CONFIG, "quick", made(**changes))
    assert result["verdict"] == verdict, result["reason"]


def test_the_answer_names_every_place():
    said = study.answer(Findings(judge(STUDY, CONFIG, "quick", made())))
    assert all(
        f"{kind} on {task} 100% [83, 100] (an arm with one factor less: 0% [0, 17])" in said
        for task, kind in PLACES
    )


def test_what_is_unstable():
    """Peaks beyond the bound, errors that rise, errors that are not finite; slow learning is not."""
    falling, flat = np.linspace(1.0, 0.2, 6), np.full(6, 0.95)
    rising, lost = (
        np.array([1.0, 0.4, 0.2, 0.2, 0.3, 0.35]),
        np.array([1.0, 0.5, np.nan, np.nan, np.nan, np.nan]),
    )
    small, large = np.full(6, 0.9), np.full(6, 1.3)
    errors = np.stack([falling, flat, rising, lost, falling])
    peaks = np.stack([small, small, small, small, large])
    np.testing.assert_array_equal(arms.unstable(errors, peaks), [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(arms.unstable(errors[:, :4], peaks[:, :4]), [0, 0, 0, 1, 1])
    assert arms.unstable(falling[None], np.full((1, 6), np.nan)) == [1]


def test_the_star_diverges_at_the_rate_of_the_book_and_tables_never_do():
    least = tasks.star()
    assert least["TD"] < -0.01
    assert least["TDC"] == pytest.approx(0, abs=1e-6)
    matrices = np.array([[[1.0, 0], [0, 0.1]], [[1.0, 0], [0, -0.1]], [[0.1, 9], [-9, 0.1]]])
    assert tasks.diverges(matrices).tolist() == [False, True, False]


def test_random_problems_are_what_their_names_say():
    """The theorems hold; the matrix of a problem is the mean over transitions, in a double loop."""
    with jax.enable_x64(True):
        found = jax.jit(lambda seed: tasks.random_problems(20, 6, 3, seed, None))(0)
    shares = {name: tasks.diverges(a).mean() for name, a in found.items()}
    assert [shares[w] for w in LESS] == [0.0, 0.0, 0.0]
    assert found["any weights"].shape == (20, 3, 3)
    np.testing.assert_allclose(
        found["no bootstrapping"], np.swapaxes(found["no bootstrapping"], 1, 2), atol=1e-12
    )


def test_every_arm_lacks_what_its_name_says():
    lacking = {what: tuple(1 - x for x in arms.ARMS[what]) for what in (TRIAD, *LESS[:2], REGRESSION)}
    assert lacking == {TRIAD: (0, 0), LESS[0]: (1, 0), LESS[1]: (0, 1), REGRESSION: (1, 1)}
    assert {what: len(c) for what, c in arms.menu(TABLE).items()} == {LESS[2]: 3}
    assert all(c.bootstrap == c.off_policy == 1 for c in arms.menu(TABLE)[LESS[2]])
    assert {len(c) for kind in (LINEAR, NET) for c in arms.menu(kind).values()} == {3}


@pytest.mark.parametrize("kind", [TABLE, LINEAR, NET])
def test_approximators(kind):
    init, q = approximator(kind, 3, 8)
    x = jnp.array([[-1.0, -1.0], [0.2, 0.9], [1.0, 1.0]])
    params = init(jax.random.key(0))
    assert q(params, x).shape == (3, 3)
    # A table does not generalize beyond a cell, the other approximators do.
    gradient = jax.grad(lambda p: q(p, x[:1])[0, 0])(params)
    moved = jax.tree.map(lambda p, g: p + g, params, gradient)
    change = np.abs(np.asarray(q(moved, x) - q(params, x)))
    assert change[0, 0] > 0.1
    assert (change[1:].max() == 0) == (kind == TABLE)


@pytest.mark.slow
@pytest.mark.parametrize("name", [CAR, tasks.ROOMS])
def test_data_sets_differ_as_they_should_and_returns_are_returns(name):
    data = jax.jit(lambda seed: tasks.data_of(tasks.task_of(name), 1024, 400, seed))(0)
    assert data["x"].shape == (2, 1024, 2)
    assert jnp.abs(data["x"]).max() <= 1.01
    assert jnp.abs(data["return"]).max() <= tasks.BOUND
    own, other = data["x"]
    assert own.std(0).min() > 0.05
    assert other.std(0).min() > own.std(0).min()
    ended = np.asarray(data["terminated"]) > 0
    np.testing.assert_allclose(np.asarray(data["return"])[ended], np.asarray(data["reward"])[ended])
    # In MountainCar every step costs 1, so that a return gives the length of its episode.
    if name == CAR:
        steps = np.log1p(np.asarray(data["return"][0]) * (1 - tasks.DISCOUNT)) / np.log(tasks.DISCOUNT)
        np.testing.assert_allclose(steps, np.round(steps), atol=0.05)
        assert 60 < steps.max() < 300


def invented(seeds, n=128):
    """Data sets of the right shapes, with returns that are a smooth function of the state."""
    rng = np.random.default_rng(0)
    x, ahead = rng.uniform(-1, 1, (2, seeds, 2, n, 2)).astype(np.float32)
    action = rng.integers(0, 3, (seeds, 2, n))
    returns = (x.sum(-1) * (1 + action)).astype(np.float32)
    zeros = np.zeros_like(returns)
    data = {"x": x, "x_next": ahead, "action": action, "next_action": action, "reward": zeros + 0.1,
            "terminated": zeros, "return": returns}  # fmt: skip
    return {**data, **{f"judged {k}": data[k][:, 0] for k in tasks.JUDGED}}


def controlled(folder, monkeypatch, scale=None):
    """The outcomes of the exact controls about Fourier features, from a small run on invented data."""
    monkeypatch.setattr(
        arms, "task_of", lambda name: SimpleNamespace(env=SimpleNamespace(actions=Discrete(3)))
    )
    named = arms.extremes(CAR, LINEAR)
    if scale is not None:  # the arm's name promises a thousand times the rate
        monkeypatch.setattr(
            arms, "extremes", lambda task, kind: {k: arms.Factors(0.0, 0.0, scale) for k in named}
        )
    context = Context(folder, "smoke", (7, 3), lambda _: None, progress=False)
    arms.trained(TINY, context, CAR, LINEAR, [11, 12], invented(4))
    results = context.table()
    mine = {a for a in results.arms if a.startswith(f"{CAR}, {LINEAR}")}
    controls = [c for c in STUDY.controlled(TINY) if {x.arm for x in c.check.cells} <= mine]
    controls = [c for c in controls if c.check.kind in ("exact", "same") and c.consequence == "invalid"]
    assert len(controls) == 3
    return context, [o for _, _, o in checked(controls, lambda p: p.find(results), 0.05)], controls


def test_planted_errors_are_caught(tmp_path, monkeypatch):
    """A state of a tame rate under the name of a wild one; an arm that is trained twice."""
    context, outcomes, controls = controlled(tmp_path / "sound", monkeypatch)
    assert outcomes == ["holds"] * 3
    context.given(arms.at(arm(CAR, LINEAR, TRIAD), 0), {"steps": TINY.updates})
    results = context.table()
    twice = [o for _, _, o in checked(controls, lambda p: p.find(results), 0.05)]
    assert sorted(twice) == ["fails", "holds", "holds"]
    _, outcomes, _ = controlled(tmp_path / "tame", monkeypatch, scale=0.3)
    assert sorted(outcomes) == ["fails", "holds", "holds"]


def test_bad_settings_are_refused():
    with pytest.raises(check.InputError, match="multiple of 128"):
        study.Config(transitions=300)
    with pytest.raises(check.InputError, match="selection must be at least 1"):
        study.Config(selection=0)
