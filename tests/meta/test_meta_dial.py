"""What methods are compared by along a dial: own episodes, one menu, equal compute, who is told the task."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.meta.adapt import InnerConfig, adapt
from lrn.meta.compute import maml_gradients, pooled_gradients
from lrn.meta.dial import Dial
from lrn.meta.episode import draw
from lrn.meta.evaluate import TEST
from lrn.meta.families.sinusoid import shared_part, sinusoid
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.menu import Menu
from lrn.meta.mislead import wrong_support, zero_head
from lrn.meta.own_episodes import own_episodes
from lrn.meta.pooled import PooledConfig, pooled
from lrn.meta.problem import regression
from lrn.meta.scratch import ScratchConfig, scratch

PROBLEM = regression(nets.mlp(None, (6,), activation="tanh"))
RATES, STEPS = (0.01, 0.1), 3


@pytest.fixture(scope="module")
def tasks():
    return jax.jit(lambda key: draw(sinusoid(5, 4), key, 6))(jax.random.key(0))


@pytest.fixture(scope="module")
def starts():
    """Parameters of three first weights, leaves [3, ...]."""
    init = jax.vmap(lambda key: PROBLEM.init(key, jnp.ones((2, 1)))[0])
    return jax.device_get(jax.jit(lambda key: init(jax.random.split(key, 3)))(jax.random.key(1)))


@functools.partial(jax.jit, static_argnums=3)
def by_hand(params, rate, tasks, steps):
    """The query loss of each task after so many steps, by `adapt` alone."""

    def of(task):
        adapted = adapt(
            lambda p, support: PROBLEM.loss_on(p, (), support, support), params, task.support,
            InnerConfig(steps=steps, rate=rate),
        )  # fmt: skip
        return PROBLEM.loss_on(adapted, (), task.support, task.query)

    return jax.lax.map(of, tasks)


def start_of(starts, i):
    return jax.tree.map(lambda x: x[i], starts)


def test_a_menu_holds_every_setting(tasks, starts):
    menu = Menu(PROBLEM, RATES, STEPS)
    losses = np.asarray(jax.jit(menu.losses)(starts, tasks))
    assert losses.shape == (3, 2, 2, STEPS + 1)
    at, without_head = jax.jit(menu.at), jax.jit(zero_head)
    for place in [(0, 0, 0, 3), (2, 0, 1, 2), (1, 1, 1, 1), (2, 1, 0, 0)]:
        start, head, rate, steps = place
        params = start_of(starts, start)
        params = without_head(params) if head else params
        expected = np.asarray(by_hand(params, RATES[rate], tasks, steps)).mean()
        assert losses[place] == pytest.approx(expected, rel=1e-5)
        alone = at(np.array(place), starts, tasks)
        np.testing.assert_allclose(alone, losses[start, head, rate], rtol=1e-5)


def test_a_diverged_task_is_counted_and_capped(tasks, starts):

    def losses(cap, rates, steps):
        return np.asarray(jax.jit(Menu(PROBLEM, rates, steps, cap=cap).losses)(starts, tasks))

    wild = losses(7.0, (1e20,), STEPS)
    np.testing.assert_array_equal(wild[..., 2:], 7.0)
    # A task above the cap, here by its own loss, is not left out of the mean.
    tame, low = (losses(cap, RATES, 0)[0, 0, 0, 0] for cap in (1e9, 1.0))
    own = np.asarray(by_hand(start_of(starts, 0), 0.1, tasks, 0))
    assert low == pytest.approx(np.minimum(own, 1.0).mean(), rel=1e-5)
    assert tame == pytest.approx(own.mean(), rel=1e-5)


def test_along_a_dial_what_was_chosen_is_judged_on_other_tasks(starts):
    dial = Dial(lambda d: sinusoid(5, 4, unshared=d), (0.0, 1.0), Menu(PROBLEM, RATES, STEPS), shared_part)
    of = {"a": starts, "b": jax.tree.map(lambda x: 2 * x, starts)}
    both = {m: jax.tree.map(lambda x: np.stack([x, x]), p) for m, p in of.items()}
    validated = jax.jit(lambda one: dial.validated(6, one))((jnp.uint32(3), both))
    assert {m: x.shape for m, x in validated.items()} == dict.fromkeys("ab", (2, 3, 2, 2, STEPS + 1))
    places: Any = {"a": np.array([[0, 0, 1, 2], [1, 1, 0, 0]]), "b": np.array([[2, 0, 0, 1], [0, 0, 1, 3]])}
    judged = jax.jit(lambda one: dial.judged(6, one, places))((jnp.uint32(3), both))

    @jax.jit
    def drawn(position):
        key = jax.random.fold_in(jax.random.key(TEST), 3)
        tasks = draw(sinusoid(5, 4, unshared=position), key, 6)
        return tasks, wrong_support(tasks)

    at = jax.jit(dial.menu.at)
    for i, position in enumerate(dial.positions):
        tasks, others = drawn(position)
        for method, params in of.items():
            place = places[method][i]
            right, wrong = (np.asarray(at(place, params, given)) for given in (tasks, others))
            assert float(judged[f"{method}: loss"][i]) == pytest.approx(float(right[place[3]]), rel=1e-4)
            assert float(judged[f"{method}: loss before adaptation"][i]) == pytest.approx(
                float(right[0]), rel=1e-4
            )
            assert float(judged[f"{method}: loss by a wrong support set"][i]) == pytest.approx(
                float(wrong[place[3]]), rel=1e-4
            )
    # Told the task, nothing is lost where it is a sinusoid.
    assert float(judged["told: loss"][0]) < 1e-9
    assert float(judged["told: loss"][1]) > 0.1
    # Validation tasks are others.
    assert not np.allclose(validated["a"][1], jax.jit(dial.menu.losses)(starts, drawn(1.0)[0]))


@pytest.mark.parametrize("dial", [0.0, 0.4, 1.0])
def test_told_a_sinusoid_only_the_random_part_is_lost(dial):

    @jax.jit
    def known():
        drawn = draw(sinusoid(unshared=dial), jax.random.key(0), 2000)
        return drawn, jax.vmap(lambda e: shared_part(e, dial))(drawn)

    drawn, told = jax.device_get(known())
    rest = drawn.query["y"] - told
    variance = (drawn.code[:, 0] ** 2).mean() / 2
    assert (rest**2).mean() == pytest.approx(dial * variance, rel=0.05, abs=1e-6)
    # What is left cannot be told from what is known: no better multiple of it exists.
    if 0 < dial < 1:
        assert abs((rest * told).sum() / (told**2).sum()) < 0.03


def test_a_learner_of_its_own_episodes_is_that_learner_on_them():
    family, learner = sinusoid(5, 4, unshared=0.5), maml(PROBLEM, MAMLConfig())
    own = own_episodes(learner, family, 3)
    ignored: Any = None

    @jax.jit
    def given(key):
        drawn, used = jax.random.split(key)
        return used, draw(family, drawn, 3)

    state = jax.jit(own.init)(jax.random.key(0), ignored)
    jax.tree.map(np.testing.assert_array_equal, state, jax.jit(learner.init)(*given(jax.random.key(0))))
    after, metrics = jax.jit(own.step)(jax.random.key(1), state, ignored)
    used, episode = given(jax.random.key(1))
    expected, known = jax.jit(learner.step)(used, state, episode)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after, expected)
    assert float(metrics["loss"]) == pytest.approx(float(known["loss"]), rel=1e-5)
    with pytest.raises(ValueError, match="tasks"):
        own_episodes(learner, family, 0)


def flops(learner, tasks) -> float:
    """Of one training step, as XLA counts them."""
    state = jax.eval_shape(learner.init, jax.random.key(0), tasks)
    compiled = jax.jit(learner.step).lower(jax.random.key(0), state, tasks).compile()
    analysis: Any = compiled.cost_analysis()
    return float((analysis[0] if isinstance(analysis, list) else analysis)["flops"])


@pytest.mark.parametrize(("support", "query"), [(10, 10), (5, 25)])
def test_gradients_of_an_example_are_what_a_step_costs(support, query):
    """The ratio of MAML to pooled, against the operations that XLA counts, in a wide network."""
    problem = regression(nets.mlp(None, (128, 128), activation="relu"))
    tasks = jax.eval_shape(lambda key: draw(sinusoid(support, query), key, 16), jax.random.key(0))
    ours = flops(maml(problem, MAMLConfig(tasks_at_once=16)), tasks)
    plain = flops(pooled(problem, PooledConfig()), tasks)
    expected = maml_gradients(support, query) / pooled_gradients(support, query)
    assert ours / plain == pytest.approx(expected, rel=0.15)


def test_gradients_by_order_and_steps():
    assert maml_gradients(5, 25) == 40
    assert maml_gradients(5, 25, steps=2) == 55
    assert maml_gradients(5, 25, order="first") == pooled_gradients(5, 25) == 30
    assert maml_gradients(5, 25, steps=0) == 25
    with pytest.raises(ValueError, match="order"):
        maml_gradients(5, 25, order="third")
    with pytest.raises(ValueError, match="query"):
        pooled_gradients(5, 0)


def test_first_weights_are_scaled(tasks):
    init = jax.jit(lambda s: scratch(PROBLEM, ScratchConfig(scale=s)).init(jax.random.key(0), tasks).meta)
    plain, large = map(jax.device_get, map(init, (1.0, 3.0)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(3 * a, b, rtol=1e-6), plain, large)
    with pytest.raises(ValueError, match="scale"):
        ScratchConfig(scale=0.0)
