"""The study of deployment shifts: its environments and methods, and its verdict from given regrets."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import cells_alike

from experiments.meta import _deployed_arms as its
from experiments.meta import _deployed_training as training
from experiments.meta import _shifted_digits as digits
from experiments.meta._deployed_accuracy import accuracies
from experiments.meta._deployed_arms import (
    COVARIATE,
    FREE,
    FROZEN,
    GROUPS,
    KEPT,
    KINDS,
    LABELED,
    NONE,
    ORACLE,
    STATISTICS,
    TUNED,
    arm,
    called,
    shown,
    shuffled,
)
from experiments.meta.deployment_shift import ACCURACY, BEST, HALF, INSIDE, MOST, REGRET, STUDY, Config
from lrn import check, table
from lrn.meta.episode import Episode
from lrn.study import given, judge
from lrn.study.findings import Findings
from lrn.study.select import EDGE
from lrn.xla.runtime import jit_brief

SEEDS, CONFIG = list(range(10)), Config()


def made(frozen=0.2, none=0.005, free=0.1, labels=0.03, wrong=0.3, accuracy=0.93, shift=0.0, steps=1):
    """A table of ten seeds: the regrets of the frozen network, without labels, and with the most labels."""
    spread = np.random.RandomState(0).randn(len(SEEDS)) * 0.002
    cells = {(c.arm, c.metric): x for c, x in cells_alike(STUDY.controlled(CONFIG)).items()}
    exact = set(cells)
    cells[next(iter(its.trainings(FROZEN))), given("steps")] *= steps
    for kind in KINDS:
        regrets = {(m, 0): free for m in (*FREE, BEST)} | {(MOST, 0): labels, (FROZEN, 0): frozen}
        regrets |= {(shuffled(m), 0): wrong for m in LABELED} | {(KEPT, 0): frozen}
        for m in LABELED:
            worse = 0.04 if m == TUNED else 0.0
            regrets |= {(m, n): labels + worse * (n < CONFIG.labels[-1]) for n in CONFIG.labels}
        if kind == NONE:
            regrets = dict.fromkeys(regrets, none)
        for (m, n), regret in regrets.items():
            values = {REGRET: regret - shift, ACCURACY: accuracy, HALF: regret - frozen / 2}
            for where in ("", INSIDE):
                cells |= {(arm(kind + where, m, n), metric): x for metric, x in values.items()}
        for m, n in (*shown(CONFIG.labels), (ORACLE, 0)):
            cells[arm(kind, m, n), EDGE] = 0.0
    exact |= {c for c in cells if c[1] == EDGE}
    return table.concat(
        [table.rows(a, SEEDS, 0, m, x + (0.0 if (a, m) in exact else spread)) for (a, m), x in cells.items()]
    )


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({}, "answered"),
        ({"free": 0.25, "labels": 0.2}, "answered"),
        ({"shift": 0.3}, "invalid"),  # an oracle that is a constant
        ({"none": 0.06}, "invalid"),  # a network that knows no picture without a shift
        ({"accuracy": 0.5}, "invalid"),  # nothing was learned
        ({"wrong": 0.03}, "invalid"),  # labels that were not shuffled
        ({"steps": 2}, "invalid"),  # an arm with twice the steps
    ],
)
def test_the_verdict_follows(seen, verdict):
    assert judge(STUDY, CONFIG, "quick", made(**seen))["verdict"] == verdict


def test_a_deployment_without_its_shift_asks_nothing():
    found = judge(STUDY, CONFIG, "quick", made(frozen=0.005))
    assert {r["outcome"] for r in found["regimes"]} == {"not applicable"}


def test_the_answer_has_the_numbers():
    assert STUDY.answer is not None
    said = STUDY.answer(Findings(judge(STUDY, CONFIG, "quick", made())))
    assert said.count("frozen 20 [20, 2") == said.count("by 5 labels for MAML") == len(KINDS) - 1
    assert said.count("BN statistics 10.0 [10.0, 10.0]") == len(KINDS) - 1
    assert "nan" not in said


@pytest.mark.parametrize("environments", [6, 12])
def test_all_methods_take_as_many_gradients(environments):
    each = [environments * its.POOLED // cost * cost for _, cost in GROUPS.values()]
    assert set(each) == {environments * its.POOLED}


def test_all_methods_have_as_many_candidates():
    assert {len(its.trainings(m)) for m in (FROZEN, STATISTICS, its.ARM, its.IRM, its.MAML, ORACLE)} == {4}
    assert len(its.trainings(its.ENSEMBLE)) == 4 * its.MEMBERS
    assert len(its.TUNING) == 4
    assert len({t.start for t in its.trainings(its.ENSEMBLE).values()}) == its.MEMBERS
    assert [m for g in GROUPS.values() for m in g[0] for t in its.trainings(m).values() if t.told] == [
        ORACLE
    ] * 4


@pytest.fixture(scope="module")
def environments():
    """``make(part, strength)``: environments of small digits, [kinds, 40, 30, ...]."""
    images = digits.pictures("digits", 6)
    make = jit_brief(partial(digits.environments, 40, 6, 24))
    return lambda part, s: jax.device_get(make(np.uint32(3), (images[part], np.float32(s), np.uint32(1))))


@pytest.fixture(scope="module")
def drawn(environments):
    """Environments at full and at half strength."""
    return [environments("train", s) for s in (1.0, 0.5)]


def test_each_kind_shifts_what_it_says_and_training_half(drawn):
    for found, renamed in zip(drawn, (6, 3)):
        moved = (found["x"] != found["told x"]).any((1, 2, 3))
        np.testing.assert_array_equal(moved, [kind == COVARIATE for kind in KINDS])
        names = (found["y"] != found["told y"]).any((1, 2))
        np.testing.assert_array_equal(names, [kind == its.CONCEPT for kind in KINDS])
        rare = (np.abs(found["prior"] + np.log(10)) > 1e-3).any((1, 2))
        np.testing.assert_array_equal(rare, [kind == its.LABEL for kind in KINDS])
        pairs = [set(zip(a.tolist(), b.tolist())) for a, b in zip(found["y"][3], found["told y"][3])]
        assert all(len({a for a, _ in p}) == len({b for _, b in p}) == len(p) for p in pairs)  # one name each
        assert max(sum(a != b for a, b in p) for p in pairs) <= renamed
    assert np.ptp(drawn[0]["prior"][2]) > np.ptp(drawn[1]["prior"][2])


def test_pictures_are_apart():
    parts = digits.pictures("digits", 8)
    assert len({x.shape for x in parts.values()}) == 1
    rows = [{x.tobytes() for x in part.reshape(-1, 64)} for part in parts.values()]
    assert all(len(a & b) <= 2 for a, b in ((rows[0], rows[1]), (rows[0], rows[2]), (rows[1], rows[2])))


@pytest.fixture(scope="module")
def measured(environments):
    """``judge(environments) -> accuracies`` of untrained networks for 6 pictures, and environments."""
    found = jax.tree.map(lambda x: x[:, :3], environments("test", 1.0))
    trained, y = found["x"][0, 0], found["y"][0, 0]

    def untrained():
        x, keys = digits.seen(jnp.asarray(trained)), jax.random.split(jax.random.key(0), 4)
        plain = jax.vmap(lambda k: training.network().init(k, x)[0])(keys)
        episode = Episode({"x": x[None], "y": y[None]}, {"x": x[None], "y": y[None]})
        context = training.core(its.ARM, 1, its.Training(0.1))
        return dict.fromkeys((FROZEN, its.IRM, its.MAML, ORACLE), plain) | {
            its.ENSEMBLE: jax.tree.map(lambda x: x[:, None], plain),
            its.ARM: jax.vmap(lambda k: context.init(k, episode).meta)(keys),
            STATISTICS: jax.vmap(lambda k: training.normed().init(k, x)[0])(keys),
        }

    params, judged = jit_brief(untrained)(), jit_brief(partial(accuracies, (2, 4, 6)))
    return lambda given: jax.device_get(judged((np.uint32(1), params, trained, given))), found


def differing(measured, **changed):
    """The names of the accuracies that differ where the environments are changed."""
    judged, found = measured
    before, after = judged(found), judged({**found, **changed})
    return {m for m in before if (before[m] != after[m]).any()}


def test_a_method_sees_its_labels_and_no_others(measured):
    y = np.array(measured[1]["y"])
    y[:, :, 4:6] = (y[:, :, 4:6] + 1) % 10  # the last labels of the support pictures
    assert differing(measured, y=y) == {name for m in LABELED for name in (called(m, 6), shuffled(m))}


def test_who_uses_unlabeled_pictures(measured):
    x = np.array(measured[1]["x"])
    x[:, :, 4:6] = 255 - x[:, :, 4:6]
    changed = {name for m in LABELED for name in (called(m, 6), shuffled(m))} | {STATISTICS, its.ARM}
    assert differing(measured, x=x) <= changed
    assert STATISTICS in differing(measured, x=x)
    assert KEPT not in changed


def test_who_is_told_the_shift(measured):
    assert differing(measured, **{"told x": 255 - measured[1]["told x"]}) == {ORACLE}
    judged, found = measured
    one = np.where(np.arange(10) == 7, 0.0, -1e4)  # who knows that all are sevens says seven
    sure = judged({**found, "prior": np.broadcast_to(one, found["prior"].shape).astype(np.float32)})
    sevens = (found["told y"][:, :, 6:] == 7).mean((1, 2))
    np.testing.assert_allclose(sure[ORACLE], np.repeat(sevens[:, None], 4, 1), atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{"labels": (5, 5, 10)}, {"labels": (5, 10)}, {"environments": 4}, {"queries": 0}]
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(check.InputError, match=next(iter(settings))):
        Config(**settings)
