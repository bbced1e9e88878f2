"""The study of narrow training: lessons, spots, and its verdict from given errors and broken learners."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import cells_alike

from experiments.meta import _shift_arms as its
from experiments.meta._curricula import in_order, lesson, worlds
from experiments.meta._scripts import SCRIPTS, split
from experiments.meta._shift_arms import (
    AMPLITUDES,
    CURRICULA,
    MAML,
    NARROW,
    PHASES,
    SPOTS,
    UNSEEN,
    WAVES,
    WIDE,
    at,
    best,
    who,
)
from experiments.meta._shift_errors import episodes, judged, known, validated
from experiments.meta._shift_training import COURSES, courses, problem_of
from experiments.meta.distribution_shift import BLIND, LOG, MISLED, SHARE, STUDY, TOLD, Config
from lrn import check, nets, table, train
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import draw
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import regression
from lrn.study import given, judge
from lrn.study.findings import Findings
from lrn.study.select import EDGE
from lrn.xla.runtime import jit_brief

SEEDS, CONFIG = list(range(10)), Config()


def made(
    narrow=1.0,
    baseline=0.7,
    wide=0.4,
    order=0.2,
    home=0.1,
    misled=2.0,
    told=0.0,
    sizes=0.0,
    behind=1.0,
    steps=1,
):
    """A table of ten seeds; errors are those that are left out of range, or of ``home`` in distribution."""
    spread = np.random.RandomState(0).randn(len(SEEDS)) * 0.005
    cells = {(c.arm, c.metric): x for c, x in cells_alike(STUDY.controlled(CONFIG)).items()}
    exact = set(cells)
    cells[its.named(WAVES, MAML, WIDE, 1), given("gradients")] *= steps
    for part, spots in SPOTS.items():
        names = dict.fromkeys(its.starts(part, CONFIG.lengths), home)
        for spot in spots:
            left = dict(names) | {best(t): home * 2**behind for t in (NARROW, WIDE)}
            if spot in (PHASES, AMPLITUDES, UNSEEN):
                left |= {
                    who(MAML, NARROW): narrow,
                    best(NARROW): baseline,
                    who(MAML, WIDE): wide,
                    best(WIDE): 0.7,
                }
                for n in CONFIG.lengths:
                    left |= {who(MAML, t, n): wide * 2 ** (order * (t != CURRICULA[0])) for t in CURRICULA}
            for name, x in left.items():
                log = np.log2(x)
                values = {SHARE: x, LOG: log, BLIND: log, MISLED: np.log2(misled), EDGE: 0.0}
                cells |= {(at(spot, name), metric): v for metric, v in values.items()}
            cells[spot, TOLD] = told
    for i, t in enumerate(CURRICULA):
        cells[who(MAML, t), its.SIZES] = 4.0 + sizes * i
    exact |= {c for c in cells if c[1] == EDGE}
    noise = {c: 0.0 if c in exact or c[1] == its.SIZES else spread for c in cells}
    return table.concat([table.rows(a, SEEDS, 0, m, x + noise[a, m]) for (a, m), x in cells.items()])


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({}, "supported"),
        ({"order": 0.0}, "mixed"),  # what is taught decides, and not its order
        ({"narrow": 0.3, "wide": 0.3, "order": 0.0}, "refuted"),  # narrow training works out of range too
        ({"baseline": 1.2, "order": 0.0}, "refuted"),  # no worse than what else there is
        ({"home": 0.8, "order": 0.0}, "partly refuted"),  # nothing works where it is trained: no question
        ({"misled": 0.1}, "invalid"),  # the support set is not used
        ({"told": 0.5}, "invalid"),  # tasks that nobody can solve
        ({"sizes": 1.0}, "invalid"),  # curricula of other tasks
        ({"behind": -1.0}, "invalid"),  # the state of a network that was not meta-trained
        ({"steps": 2}, "invalid"),  # an arm with twice the steps
    ],
)
def test_the_verdict_follows(seen, verdict):
    assert judge(STUDY, CONFIG, "quick", made(**seen))["verdict"] == verdict


def test_the_answer_has_the_numbers():
    assert STUDY.answer is not None
    said = STUDY.answer(Findings(judge(STUDY, CONFIG, "quick", made())))
    assert said.count("100 [100, 10") == said.count("worse (") == 3
    assert said.count("1.15 [1.15, 1.15]") == 2
    assert "nan" not in said


def test_curricula_have_the_same_lessons_in_other_orders():
    problem = regression(nets.mlp(None, (4,)))

    def taught(course):
        learner = maml(problem, MAMLConfig(inner=InnerConfig(rate=0.01)))
        return in_order(learner, lesson, course, tasks=2, iterations=6)

    arms = {name: COURSES[name] for name in CURRICULA}
    fit = train.fit(taught, arms, (3,), steps=6, log_every=1, progress=False, brief=True)
    seen = {
        name: np.stack([fit.table.curve(name, metric)[1][0] for metric in ("breadth", "size")], 1)
        for name in arms
    }
    forward, backward, random = (seen[name] for name in CURRICULA)
    np.testing.assert_allclose(forward[:, 0], np.arange(6) / 5, atol=1e-6)
    np.testing.assert_allclose(backward, forward[::-1], rtol=1e-5, atol=1e-7)
    order = random[:, 0].argsort()
    assert list(order) != list(range(6))
    np.testing.assert_allclose(random[order], forward, rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module")
def waves():
    """Sinusoids at every spot, and those of Finn et al. by the same keys."""

    def drawn():
        both = (np.uint32(5), np.uint32(5)), (np.uint32(1), worlds())
        return episodes(WAVES, 300, *both), draw(sinusoid(), jax.random.key(0), 300)

    return jax.device_get(jit_brief(drawn)())


def test_spots_are_where_they_say(waves):
    code = waves[0].code  # amplitude, sine and cosine of the phase
    amplitude, phase = code[..., 0], np.arctan2(code[..., 1], code[..., 2]) % (2 * np.pi)
    narrow, wide, phases, amplitudes = range(4)
    assert 2.55 - 0.49 <= amplitude[narrow].min() < amplitude[narrow].max() <= 2.55 + 0.4901
    assert 0.4 * np.pi - 1e-3 <= phase[narrow].min() < phase[narrow].max() <= 0.6 * np.pi + 1e-3
    assert amplitude[wide].min() < 0.3
    assert amplitude[wide].max() > 4.8
    assert phase[wide].max() <= np.pi + 1e-3 <= phase[phases].min() + 2e-3
    np.testing.assert_allclose(amplitude[phases], amplitude[wide], rtol=1e-5)
    assert amplitude[amplitudes].min() >= 5 > amplitude[wide].max()
    np.testing.assert_allclose(phase[amplitudes], phase[wide], atol=1e-4)


def test_who_knows_sinusoids_solves_them_all(waves):
    tasks = waves[0]
    errors = jit_brief(jax.vmap(jax.vmap(known)))(tasks)
    assert np.median(errors, 1).max() < 1e-6


def test_what_is_judged_is_what_was_chosen(waves):
    """Errors of the judgement at some places are those of the validation at the same places."""
    keys = jax.random.split(jax.random.key(1), 6)
    params = jax.vmap(lambda k: problem_of(WAVES).init(k, jnp.zeros((1, 1)))[0])(keys)
    params = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), params)
    tasks = jax.tree.map(lambda x: x[:, :4], waves[0])
    pairs, places = np.array([(0, 3), (1, 1)]), np.array([(0, 3, 2, 1, 2), (1, 1, 0, 3, 1)])
    menu = jit_brief(partial(validated, WAVES, 2))((params, tasks), pairs)["errors"]
    assert menu.shape == (2, 3, len(its.RATES[WAVES]), 3)
    found = jit_brief(partial(judged, WAVES, 2))((params, tasks), places)
    np.testing.assert_allclose(found["right"], [menu[0, 2, 1, 2], menu[1, 0, 3, 1]], rtol=1e-3)
    assert (np.abs(found["right"] - found["wrong"]) > 1e-3).all()
    np.testing.assert_allclose(found["nothing"], (tasks.query["y"] ** 2).mean((1, 2, 3)), rtol=1e-5)


def test_letters_are_split_without_overlap():
    tables = {s: np.full((80, 1), i) * 1000 + np.arange(80)[:, None] for i, s in enumerate(SCRIPTS)}
    parts = split(tables, 4)
    assert {k: x.shape[:2] for k, x in parts.items()} == {
        "training": (2, 48),
        "validation": (3, 15),
        "test": (3, 15),
    }
    sets = {k: [set(row.ravel().tolist()) for row in x] for k, x in parts.items()}
    for i in range(2):
        assert not sets["training"][i] & (sets["validation"][i] | sets["test"][i])
        assert not sets["validation"][i] & sets["test"][i]
    assert not sets["validation"][2] & sets["test"][2]
    scripts = [{letter // 1000 for letter in row} for row in sets["training"]]
    assert [len(s) for s in scripts] == [1, 3]
    assert not {letter // 1000 for letter in sets["test"][2]} & (scripts[0] | scripts[1])


@pytest.mark.parametrize("part", SPOTS)
def test_every_method_has_three_starts_and_equal_gradients(part):
    for method in (MAML, its.POOLED, its.SCRATCH):
        assert len(courses(part, method, NARROW)) == 3
    length = CONFIG.iterations if part == WAVES else CONFIG.letter_iterations
    cost = its.COSTS[part]
    assert length * cost[MAML] % cost[its.POOLED] == 0
    home = {spot for name, spot in its.pairs(part, (2, 1)) if name == who(MAML, NARROW)}
    assert home == {f"{part}, {NARROW}", *SPOTS[part][2:]}


@pytest.mark.parametrize("settings", [{"iterations": 6}, {"tests": 1}, {"lengths": (2, 4)}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(check.InputError, match=next(iter(settings))):
        Config(**settings)
