"""The studies of shift: curricula differ only in order, and the dials move what they name."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from experiments.meta import _shift, distribution_shift
from lrn import check, nets, train
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import draw
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import regression


def test_curricula_have_the_same_lessons_in_other_orders():
    problem = regression(nets.mlp(None, (4,)))
    world = _shift.Waves(1.5, 1.5, 2.5, 2.4)

    def taught(course):
        return _shift.in_order(
            maml(problem, MAMLConfig(inner=InnerConfig(rate=0.01))),
            lambda breadth: _shift.waves(world._replace(low=breadth, high=breadth)),
            course,
            tasks=2,
            iterations=6,
        )

    orders = {"widening": 0.0, "narrowing": 1.0, "shuffled": 2.0}
    arms = {name: (0.0, 1.0, order) for name, order in orders.items()}
    fit = train.fit(taught, arms, (3,), steps=6, log_every=1, progress=False)
    seen = {
        name: np.stack([fit.table.curve(name, metric)[1][0] for metric in ("breadth", "size")], 1)
        for name in orders
    }
    np.testing.assert_allclose(seen["widening"][:, 0], np.arange(6) / 5, atol=1e-6)
    np.testing.assert_allclose(seen["narrowing"], seen["widening"][::-1], rtol=1e-5, atol=1e-7)
    order = seen["shuffled"][:, 0].argsort()
    assert list(order) != list(range(6))
    np.testing.assert_allclose(seen["shuffled"][order], seen["widening"], rtol=1e-5, atol=1e-7)


def test_waves_are_the_sinusoids_of_their_ranges():
    key = jax.random.key(0)
    world = _shift.Waves(np.pi / 2, np.pi / 2, 2.55, 2.45)
    drawn, plain = (draw(f, key, 500) for f in (_shift.waves(world), sinusoid()))
    assert drawn.code[:, 0].min() < 0.2 < 4.9 < drawn.code[:, 0].max()
    assert float(drawn.code[:, 1].min()) >= -1e-6  # sin of a phase from 0 to pi
    np.testing.assert_allclose(drawn.query["x"], plain.query["x"])
    twice = draw(_shift.waves(world._replace(frequency=2.0)), key, 3)
    a, s, c = (twice.code[:, i][:, None, None] for i in range(3))
    angle = 2 * twice.query["x"]
    expected = a * (np.sin(angle) * c + np.cos(angle) * s)
    np.testing.assert_allclose(twice.query["y"], expected, atol=1e-4)


def test_letters_are_split_without_overlap():
    tables = {s: np.full((80, 1), i) * 1000 + np.arange(80)[:, None] for i, s in enumerate(_scripts())}
    split_tables = distribution_shift._split(tables, 4)
    assert len(split_tables["narrow: training"]) == len(split_tables["wide: training"]) == 48
    seen = {int(x) // 1000 for name in split_tables if name != "unseen" for x in split_tables[name].ravel()}
    assert not seen & {int(x) // 1000 for x in split_tables["unseen"].ravel()}
    for training in ("narrow", "wide"):
        parts = [
            set(split_tables[f"{training}: {p}"].ravel().tolist()) for p in ("training", "validation", "test")
        ]
        assert not (parts[0] & parts[1])
        assert not (parts[0] & parts[2])
        assert not (parts[1] & parts[2])


def _scripts():
    return distribution_shift.SCRIPTS


def test_methods_have_as_many_candidates():
    for methods in distribution_shift.RATES.values():
        assert len({len(listed) for listed in methods.values()}) == 1


def test_bad_settings_are_one_sentence():
    with pytest.raises(check.InputError, match="tasks must be at least 2"):
        distribution_shift.Config(tasks=1)
