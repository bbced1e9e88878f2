"""The study of memory: what its inputs name, and its verdict from given successes and from planted errors."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from treatment import cells_alike

from experiments.meta import _memorized as memory
from experiments.meta._memorized import CHARACTERS, NEW, OWN, WAVES
from experiments.meta._pools import (
    AWAY,
    CURED,
    FRESH,
    LOST,
    MISLED,
    NAMED,
    NEW_ONCE,
    ONCE,
    PART,
    UNNAMED,
    arm,
    arms,
    candidates,
    measures,
)
from experiments.meta._pools import NEW as ON_NEW
from experiments.meta.memorization import MOST, STUDY, Config
from lrn import check, table
from lrn.meta.episode import draw
from lrn.study import Cell, given, judge
from lrn.study.findings import Findings
from lrn.study.select import EDGE

SEEDS = list(range(10))


def made(part=(0.9, 0.9), lost=(0.8, 0.8), able=0.6, once=0.0, new_once=-0.2, misled=0.0, fresh=0.2, steps=1):
    """A table of ten seeds; a pair has a value for the fewest and for the most tasks."""
    config, spread = Config(), np.random.RandomState(0).randn(len(SEEDS)) * 0.005
    alike = cells_alike(STUDY.controlled(config))
    cells: dict[tuple[str, str, int], float] = {(c.arm, c.metric, 0): x for c, x in alike.items()}
    for family, pools in config.pools.items():
        few, _, many = pools
        for pool, kind in arms(pools):
            place = int(pool == many)
            named = {PART: part[place], LOST: lost[place]}
            values = {ON_NEW: able, AWAY: 0.1, MISLED: misled, FRESH: fresh, ONCE: once, NEW_ONCE: new_once}
            values |= named if kind == NAMED else {PART: 0.0, LOST: 0.0}
            length = config.steps[family]
            for metric, value in values.items():
                for step in (length // 4, length // 2, length):
                    cells[arm(family, pool, kind), metric, step] = value
            cells[arm(family, pool, kind), EDGE, 0] = 0.0
        cells[arm(family, few, UNNAMED), MOST, 0] = 0.3
        for name in candidates(family, pools, few, NAMED):
            cells[name, given("steps"), 0] *= steps
    rows = []
    for (a, m, step), value in cells.items():
        exact = m == EDGE or Cell(a, m) in alike
        rows.append(table.rows(a, SEEDS, step, m, value + (0.0 if exact else spread)))
    return table.concat(rows)


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({}, "supported"),
        ({"part": (0.9, 0.1), "lost": (0.8, 0.0)}, "mixed"),  # with few tasks alone
        ({"part": (0.2, 0.1)}, "refuted"),  # the examples bring the success
        ({"lost": (0.1, 0.0)}, "refuted"),  # known at once, and no loss to new tasks
        ({"able": 0.1, "misled": -0.2, "fresh": -0.2}, "open"),  # nothing that could be lost
        ({"once": 0.5}, "invalid"),  # tasks are known although nothing names them
        ({"new_once": 0.6}, "invalid"),  # new tasks are those of the training
        ({"misled": 0.6}, "invalid"),  # the support set is not used
        ({"fresh": 0.7}, "invalid"),  # the state before the training
        ({"steps": 2}, "invalid"),  # an arm with twice the steps
    ],
)
def test_the_verdict_follows(seen, verdict):
    assert judge(STUDY, Config(), "quick", made(**seen))["verdict"] == verdict


def test_the_answer_has_the_numbers():
    assert STUDY.answer is not None
    said = STUDY.answer(Findings(judge(STUDY, Config(), "quick", made())))
    assert said.count("90 [90, 9") == 4
    assert "nan" not in said


def test_what_is_measured():
    scores = {
        kind: np.full((2, 3, 1), 0.1) + 0.1 * np.arange(3)[None, :, None] for kind in ("own", "new", "misled")
    }
    scores["own"] = scores["own"] + 0.2
    found = measures(scores, (1, 1))  # after two steps
    assert found[ON_NEW] == pytest.approx(0.3)
    assert found[PART] == pytest.approx(0.3 / 0.5)
    assert found[AWAY] == pytest.approx(1 - 0.3 / 0.5)


@pytest.fixture(scope="module")
def drawn():
    """Tasks of both families, by part and kind."""
    places = {name: memory.place_of(name, (5,), real=False, size=4) for name in (WAVES, CHARACTERS)}
    data = {name: p.shared | jax.tree.map(lambda x: x[0], p.own) for name, p in places.items()}

    def tasks(data):
        return {
            (name, part, anew): draw(
                memory.tasks(places[name], data[name], pool, anew, part), jax.random.key(0), 40
            )
            for name, pool in ((WAVES, 3.0), (CHARACTERS, 10.0))
            for part in (OWN, NEW)
            for anew in (0.0, 1.0)
        }

    return places, data, jax.device_get(jax.jit(tasks)(data))


def test_codes_name_the_waves_of_a_pool(drawn):
    found = drawn[2]

    def codes(part, anew):
        both = [given["x"][:, :, 1:] for given in found[WAVES, part, anew][:2]]
        assert all((x == both[0][:, :1]).all() for x in both)
        return {tuple(x) for x in both[0][:, 0].tolist()}

    assert len(codes(OWN, 0.0)) == 3
    assert len(codes(OWN, 1.0)) == len(codes(NEW, 0.0)) == 40
    assert not codes(NEW, 0.0) & codes(OWN, 0.0)
    for name in ("support", "query"):  # only the codes differ
        plain, anew = (getattr(found[WAVES, OWN, a], name) for a in (0.0, 1.0))
        np.testing.assert_array_equal(plain["y"], anew["y"])
        np.testing.assert_array_equal(plain["x"][..., 0], anew["x"][..., 0])


def test_labels_name_the_characters_of_a_pool(drawn):
    places, data, found = drawn
    images, order = data[CHARACTERS]["images"] / np.float32(255), data[CHARACTERS]["order"]

    def seen(part, anew):
        """From a character, by its place in the order, to the labels that it had."""
        labels: dict[int, set[int]] = {}
        support = found[CHARACTERS, part, anew].support
        for picture, y in zip(support["x"].reshape(-1, 4, 4, 1), support["y"].ravel()):
            character = int((np.abs(images[order] - picture).max((2, 3, 4)).min(1)).argmin())
            labels.setdefault(character, set()).add(int(y))
        return labels

    named, shuffled, new = seen(OWN, 0.0), seen(OWN, 1.0), seen(NEW, 0.0)
    assert max(named) < 10
    assert all(y == {c % 5} for c, y in named.items())
    assert max(map(len, shuffled.values())) > 1
    assert min(new) >= sum(places[CHARACTERS].parts[:2])


def test_the_best_single_function_has_the_mean_of_the_waves():
    place = memory.place_of(WAVES, (5,), real=False, size=4)
    own = {"seed": place.own["seed"][0]}
    tasks = jax.jit(lambda: draw(memory.tasks(place, own, 3.0, 0.0, OWN), jax.random.key(0), 3000).query)()
    x, y = (np.asarray(tasks[name], np.float64)[..., 0].ravel() for name in ("x", "y"))
    basis = np.stack([np.sin(x), np.cos(x)], 1)  # least squares over many episodes
    residual = y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]
    most = 1 - (residual**2).mean() / memory.VARIANCE
    np.testing.assert_allclose(memory.one_function([5], 3)[0], most, atol=0.05)


def test_every_arm_has_as_many_candidates():
    for family, pools in Config().pools.items():
        found = [candidates(family, pools, *a) for a in arms(pools)]
        assert {len(c) for c in found} == {4}
        assert {next(iter(c.values())).which for c in found} == set(range(6))
        assert (pools[0], CURED) in arms(pools)


@pytest.mark.parametrize("settings", [{"waves": (10, 100, 100)}, {"characters": (0, 5, 10)}, {"tasks": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(check.InputError, match=next(iter(settings))):
        Config(**settings)
