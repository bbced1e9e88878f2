"""The study of generalists and specialists: its tasks and steps, and its verdict from given errors."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from treatment import cells_alike

from experiments.meta import _adaptation as its
from experiments.meta import _points as points
from experiments.meta._adaptation import (
    ERROR,
    LEAD,
    MAML,
    METHODS,
    SPECIALIST,
    TUNED,
    UNEQUAL,
    Setting,
    at,
)
from experiments.meta._points import CLASSES, WAVES
from experiments.meta.generalist_vs_specialist import STUDY, Config
from lrn import check, table
from lrn.study import MISTAKEN, OVERLAP, given, judge
from lrn.study.findings import Findings
from lrn.study.seen import shared_items
from lrn.study.select import EDGE

SEEDS = list(range(10))
CONFIG = Config()


def made(
    few=0.3,
    many=-0.3,
    other=None,
    late=0.0,
    wrong=0.8,
    known=-4.0,
    ratio=1.0,
    nothing=0.5,
    steps=1,
    seen=0.0,
    mistaken=0.0,
):
    """A table of ten seeds; ``few``, ``many`` are MAML's leads, ``other`` the last for classes."""
    noise, cells = np.random.RandomState(0), {}
    cells |= {(c.arm, c.metric, 0): x for c, x in cells_alike(STUDY.controlled(CONFIG)).items()}
    for family in CONFIG.longest:
        end = other if other is not None and family == CLASSES else many
        leads = np.linspace(few, end, len(CONFIG.counts) - 1)
        for n, lead in zip(CONFIG.counts, [few, *leads]):
            for k in (TUNED, *CONFIG.equal):
                own = {SPECIALIST: -1.0 - 0.5 * np.log10(n)}
                own[MAML] = own[SPECIALIST] - lead
                cells |= {(at(family, m, k), ERROR, n): x for m, x in own.items()}
                cells[at(family, LEAD, k), LEAD, n] = lead
            cells[at(family, its.KNOWN, ""), ERROR, n] = known
            cells[at(family, its.NOTHING, ""), ERROR, n] = nothing
            for m in METHODS:
                arm = at(family, f"{m}, N = {n}", "")
                cells |= {(arm, EDGE, 0): 0.0, (arm, its.LATE, 0): late}
        cells[at(family, its.WRONG, ""), ERROR, CONFIG.few] = wrong
        cells[at(family, its.KNOWN, ""), its.RATIO, 0] = ratio
        cells |= {(at(family, LEAD, k), its.ENDS, 0): 300.0 for k in (TUNED, UNEQUAL)}
        cells[at(family, SPECIALIST), given("gradient steps"), 0] *= steps
        cells |= {(at(family, MAML), OVERLAP, 0): seen, (at(family, MAML), MISTAKEN, 0): mistaken}
    sure = {EDGE, OVERLAP, MISTAKEN, given("gradient steps"), given("candidates")}
    rows = []
    for (arm, metric, step), value in cells.items():
        spread = 0.0 if metric in sure else 0.01 * noise.randn(len(SEEDS))
        rows.append(table.rows(arm, SEEDS, step, metric, value + spread + np.zeros(len(SEEDS))))
    return table.concat(rows)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({}, "supported"),
        ({"many": 0.0}, "mixed"),  # fast, and it does not trail
        ({"other": 0.3}, "mixed"),
        ({"few": 0.0, "many": 0.0}, "refuted"),
        ({"few": -0.3, "many": 0.3}, "refuted"),
        ({"late": 0.2}, "invalid"),  # more steps would help
        ({"wrong": 0.0}, "invalid"),  # any points would do
        ({"known": 0.0}, "invalid"),  # an oracle that is a constant
        ({"ratio": 3.0}, "invalid"),  # test points with noise
        ({"nothing": -2.0}, "invalid"),  # nobody learns anything
        ({"steps": 2}, "invalid"),  # an arm with twice the steps
        ({"seen": 3.0}, "invalid"),  # an evaluation on training tasks
        ({"mistaken": 2.0}, "invalid"),  # the specialist's weights judged as MAML's
    ],
)
def test_the_verdict_follows(found, verdict):
    result = judge(STUDY, CONFIG, "quick", made(**found))
    assert result["verdict"] == verdict, result["reason"]


def test_the_answer_has_the_numbers():
    assert STUDY.answer is not None
    said = STUDY.answer(Findings(judge(STUDY, CONFIG, "quick", made())))
    assert "ahead in both families: the specialist has 2.0" in said
    assert "behind in both families: it has 2.0" in said
    assert "nan" not in said


@pytest.fixture(scope="module")
def places():
    return {family: points.place_of(family, 40) for family in CONFIG.longest}


@pytest.fixture(scope="module")
def drawn(places):
    """Many tasks of each family, on the host."""
    draw = jax.jit(lambda: {k: points.drawn(place, 0, points.TEST, 100) for k, place in places.items()})
    return jax.device_get(draw())


@pytest.mark.parametrize("family", CONFIG.longest)
def test_adaptation_is_descent_whose_weights_are_averaged(places, drawn, family):
    """With 20 points a batch holds all of them, so that steps are those of full gradients."""
    place, task = places[family], jax.tree.map(lambda a: a[0], drawn[family])
    setting = Setting(its.BATCH, False, 0.01, 2)
    expected, errors, taken = jax.jit(lambda task: descended(place, task, setting))(task)
    np.testing.assert_allclose(errors, [*expected[:2], expected[1]], atol=1e-4)  # it stops at its limit
    assert taken == 2


def descended(place, task, setting):
    """Errors after three steps by a loop that is written out, and what `its.adapted` gives."""
    start = points.fresh(place, 1)
    support = jax.tree.map(lambda a: a[: its.BATCH], task.episodes.support)
    weights = [start]
    for _ in range(3):
        gradient = jax.grad(lambda p: place.problem.loss_on(p, (), support, support))(weights[-1])
        weights.append(jax.tree.map(lambda p, g: p - 0.01 * g, weights[-1], gradient))
    mean, expected = weights[0], []
    for i, w in enumerate(weights[1:]):
        share = (its.TAIL + 1) / (i + 1 + its.TAIL)
        mean = jax.tree.map(lambda m, p, s=share: (1 - s) * m + s * p, mean, w)
        outputs = place.problem.predict(mean, (), support, task.episodes.query["x"])
        expected.append(place.log10_error(outputs, task.truth))
    return expected, *its.adapted(place, start, task, setting, (1, 2, 3))


def test_points_of_another_task_mislead(places):
    place = places[WAVES]
    program = jax.jit(its.errors_of(place, (30, 100), 3))
    setting = Setting(np.int32(40), True, 0.01, np.int32(100))
    own = points.fresh(place, 1), np.uint32(0)
    right, wrong = (program(own, (setting, np.uint32(points.TEST), np.bool_(w))) for w in (False, True))
    assert right["error"][:, -1].mean() < wrong["error"][:, -1].mean() - 0.3
    np.testing.assert_array_equal(right["taken"], [100, 100, 100])


def test_test_tasks_are_no_validation_tasks(monkeypatch, places):
    def repeated():
        own = points.shown(places[WAVES], np.arange(2, dtype=np.uint32), 2, 2)
        assert own["test"].shape == (2, 4, 10, 1)
        return shared_items("arm", own["test"].reshape(8, 10, 1), own["validation"])

    assert repeated() == 0
    monkeypatch.setattr(points, "TEST", points.VALIDATION)  # an evaluation on the tasks of the choice
    assert repeated() == 4


def test_labeled_points_of_waves_have_noise_and_the_truth_has_none(drawn):
    tasks = drawn[WAVES]
    x, y, code = tasks.episodes.query["x"], tasks.truth, tasks.episodes.code[:, :, None, None]
    waves = code[:, 0] * (np.sin(x) * code[:, 2] + np.cos(x) * code[:, 1])
    np.testing.assert_allclose(y, waves, atol=1e-4)
    x = tasks.episodes.support["x"]
    waves = code[:, 0] * (np.sin(x) * code[:, 2] + np.cos(x) * code[:, 1])
    assert np.std(tasks.episodes.support["y"] - waves) == pytest.approx(points.NOISE, rel=0.05)


def test_the_truth_of_classes_is_a_probability_that_nothing_beats(places, drawn):
    place, tasks = places[CLASSES], drawn[CLASSES]
    np.testing.assert_allclose(np.exp(tasks.truth).sum(-1), 1, atol=1e-5)
    right = tasks.truth.argmax(-1) == tasks.episodes.query["y"]
    assert right.mean() == pytest.approx(np.exp(tasks.truth).max(-1).mean(), abs=0.03)  # it is calibrated
    error = jax.vmap(place.error)(tasks.truth + 3.0, tasks.truth)
    np.testing.assert_allclose(error, 0, atol=1e-5)


def test_least_squares_by_another_way_and_its_error_by_theory(places, drawn):
    place, episode = places[WAVES], jax.tree.map(lambda a: a[0], drawn[WAVES].episodes)

    def features(x):
        return np.concatenate([np.sin(x), np.cos(x)], 1)

    weights = np.linalg.lstsq(features(episode.support["x"]), episode.support["y"], rcond=None)[0]
    expected = features(episode.query["x"]) @ weights
    np.testing.assert_allclose(jax.jit(points.least_squares)(episode), expected, atol=1e-3)
    marks = jax.jit(lambda: points.yardsticks(place, (10, 40), 100, 2, 0))()
    assert float(marks["ratio"]) == pytest.approx(1, abs=0.25)
    np.testing.assert_array_less(marks["known"][1], marks["known"][0])


@pytest.mark.parametrize("family", CONFIG.longest)
def test_both_methods_begin_with_the_same_first_weights(places, drawn, family):
    place, episodes = places[family], drawn[family].episodes

    @jax.jit
    def both():
        return points.learner(place, 1e-3).init(jax.random.key(3), episodes).meta, points.fresh(place, 3)

    sizes = [[np.std(x) for x in jax.tree.leaves(w) if x.size > 100] for w in both()]
    np.testing.assert_allclose(*sizes, rtol=0.2)


def test_an_error_that_is_not_finite_counts_as_lost(places):
    place = places[WAVES]
    truth = np.zeros((3, 1), np.float32)
    for value in (np.nan, 1e30):
        error = jax.jit(place.log10_error)(np.full((3, 1), value, np.float32), truth)
        assert float(error) == pytest.approx(np.log10(points.LOST))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"counts": (10, 5, 20)}, "counts"),
        ({"counts": (5, 12, 20, 40)}, "multiples of 5"),
        ({"waves": (300, 300)}, "among steps"),
        ({"equal": (30, 100, 300)}, "begin with 10"),
        ({"tasks": 1}, "tasks"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(check.InputError, match=message):
        Config(**settings)
