"""The largest array of one task determines how many tasks are computed together."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lrn import nets
from lrn.meta import groups
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import draw
from lrn.meta.families.few_shot import few_shot
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.learner import map_tasks
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import classification, regression


def test_the_largest_array_is_found_inside_of_calls_and_loops():
    def deep(x):
        inner = jax.checkpoint(lambda v: jnp.outer(v, v).sum())
        return jax.lax.fori_loop(0, 3, lambda i, c: c + inner(x), 0.0)

    assert groups.largest_array(jax.make_jaxpr(deep)(jnp.zeros(50)).jaxpr) == 50 * 50 * 4
    assert groups.largest_array(jax.make_jaxpr(lambda x: x + 1)(jnp.zeros(3)).jaxpr) == 12


def test_fitting_is_the_room_over_the_array(monkeypatch):
    monkeypatch.setattr(groups, "CACHE", 10_000)
    monkeypatch.setattr(groups, "MEMORY", 10_000)
    assert groups.fitting(lambda x: x * 2, jnp.zeros(1000)) == 2
    assert groups.fitting(lambda x: x * 2, jnp.zeros(100_000)) == 1
    assert groups.fitting(lambda x: x * 2, jnp.zeros(10)) == 250


def _programs(learner, episodes, key):
    state = learner.init(key, episodes)
    return str(jax.make_jaxpr(learner.step)(key, state, episodes))


def test_small_tasks_go_together_and_large_ones_in_groups():
    key = jax.random.key(0)
    small = maml(regression(nets.mlp(None, (40, 40))), MAMLConfig())
    assert "scan" not in _programs(small, draw(sinusoid(), key, 25), key)
    images = jnp.zeros((10, 4, 28, 28, 1), jnp.uint8)
    large = maml(classification(nets.conv4(None, 64), 5), MAMLConfig(inner=InnerConfig(rate=0.4)))
    program = _programs(large, draw(few_shot(images, 5, 1, 1), key, 8), key)
    assert ("length=8" in program) == (jax.default_backend() == "cpu")  # one after another


def test_groups_change_nothing_in_an_evaluation(monkeypatch):
    x = jnp.arange(14.0).reshape(7, 2)
    together = map_tasks(lambda row: row * 2, x)
    monkeypatch.setattr(groups, "CACHE", 16)
    monkeypatch.setattr(groups, "MEMORY", 16)
    np.testing.assert_array_equal(map_tasks(lambda row: row * 2, x), together)
