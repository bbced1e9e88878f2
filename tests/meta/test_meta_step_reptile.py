"""Whole meta-steps of Reptile, and of training from scratch, against plain NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from plain import compiled, numbers
from tiny import (
    Momentum,
    Outer,
    Plain,
    adapted,
    begin,
    body,
    check_metrics,
    each,
    factor,
    momentum,
    nudged,
    split,
    tasks,
    words,
)  # fmt: skip

from lrn.meta.adapt import InnerConfig
from lrn.meta.problem import classification, regression
from lrn.meta.reptile import ReptileConfig, reptile
from lrn.meta.scratch import ScratchConfig, scratch


def ends(plain: Plain, params: Any, seen: Any, noise: Any, steps: int, rate: float, decay: float) -> Any:
    """The parameters before each inner step on a set and after the last step."""

    def loss(p: Any, t: int) -> Any:
        return plain.loss_on(p, seen["x"], seen, None if noise is None else noise[t])

    return adapted(loss, params, steps, lambda p: Momentum(p, decay), lambda t: rate)[0]


def outputs(plain: Plain, path: list[Any], e: Any) -> np.ndarray:
    """The outputs for the queries with each of these parameters."""
    return np.stack([plain.predict(p, e.support["x"], e.query["x"]) for p in path])


def curve_of(learner: Any, state: Any, batch: Any, steps: int) -> Any:
    """The curve of the second task."""
    one = jax.tree.map(lambda x: x[1], batch)

    def curve(state: Any, one: Any) -> Any:
        return learner.curve(state, one.support, one.query["x"], (), steps)

    return compiled(curve, state, one)(state, one)


@pytest.mark.parametrize("join", [True, False])
def test_steps_move_towards_where_inner_loops_end(join):
    """Nichol, Achiam and Schulman 2018, algorithm 2; with and without the queries in the inner loop."""
    if join:
        plain = Plain(labels=True, noisy=True)
        config = ReptileConfig(InnerConfig(steps=2, rate=0.3, optimizer=momentum), 0.4)
        problem = classification(body(noisy=True), 3)
    else:
        plain = Plain(noisy=True)
        config = ReptileConfig(InnerConfig(steps=3, rate=0.1), 0.05, optax.adam, join=False)
        problem = regression(body(noisy=True), 2)
    learner, key = reptile(problem, config), jax.random.key(1)
    batch, inner = tasks(3, ways=3 * join), config.inner
    decay = 0.6 if join else 0.0

    state = compiled(learner.init, key, batch)(key, batch)

    def outer_of(meta: Any) -> Outer:
        outer = Outer(meta, config.meta_rate, "momentum" if join else "adam", decay=0.0)
        if join:
            outer.optimizer = None  # plain descent has no state
        return outer

    def check(outer: Outer, state: Any) -> None:
        if join:
            assert jax.tree.leaves(state.opt_state) == []
            outer.optimizer = Momentum(outer.meta, 0.0)
            trace = optax.TraceState(outer.optimizer.trace)
            state = state._replace(opt_state=(trace, optax.EmptyState()))
        outer.check(state)

    check(outer_of(begin(words(1), numbers(batch.support["x"][0]), 2 + join)), state)
    state = state._replace(meta=nudged(state.meta))
    outer = outer_of(state.meta)
    step = compiled(learner.step, key, state, batch)
    for t in range(2):
        batch = tasks(20 + t, ways=3 * join)
        before, (state, metrics) = state, step(jax.random.key(50 + t), state, batch)
        reached, scores = [], []
        for key_of_task, e in zip(split(words(50 + t), 3), each(batch)):
            seen = jax.tree.map(lambda *x: np.concatenate(x), e.support, e.query) if join else e.support
            noise = factor(split(split(key_of_task, 1)[0], inner.steps)) if plain.noisy else None
            end = ends(plain, outer.meta, seen, noise, inner.steps, inner.rate, decay)[-1]
            reached.append(end)
            scores.append(plain.scores(outputs(plain, [end], e)[0], e.query["y"]))
        mean = jax.tree.map(lambda *x: np.mean(x, 0), *reached)
        if join:
            outer.optimizer = Momentum(outer.meta, 0.0)
        outer.follow(jax.tree.map(np.subtract, outer.meta, mean))
        check(outer, state)
        check_metrics(metrics, {name: np.mean([s[name] for s in scores]) for name in scores[0]})

        # Without join other labels of the queries change no bit of the step.
        y = (1 + batch.query["y"]) % 3 if join else 1 + batch.query["y"]
        other, judged = step(jax.random.key(50 + t), before, batch._replace(query={**batch.query, "y": y}))
        same = [np.array_equal(a, b) for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(state))]
        assert all(same) == (not join)
        assert abs(judged["loss"] - metrics["loss"]) > 1e-3

    e = each(batch)[1]
    path = ends(plain, outer.meta, e.support, None, 4, inner.rate, decay)
    predicted = curve_of(learner, state, batch, 4)
    np.testing.assert_allclose(predicted, outputs(plain, path, e), rtol=1e-4, atol=1e-5)


def test_scratch_learns_nothing_and_trains_on_each_support_set():
    plain, config = Plain(labels=True), ScratchConfig(InnerConfig(steps=1, rate=0.3, optimizer=momentum))
    learner, key = scratch(classification(body(noisy=True), 3), config), jax.random.key(1)
    batch = tasks(3, ways=3)
    state = compiled(learner.init, key, batch)(key, batch)
    params = begin(words(1), numbers(batch.support["x"][0]), 3)
    expected = Outer(params, 0.0, "momentum")

    def check(state: Any, taken: int) -> None:
        assert (state.opt_state, state.net_state) == ((), ())
        expected.taken = taken
        expected.check(
            state._replace(opt_state=(optax.TraceState(expected.optimizer.trace), optax.EmptyState()))
        )

    check(state, 0)
    step = compiled(learner.step, key, state, batch)
    for t in range(2):
        state, metrics = step(jax.random.key(50 + t), state, batch)
        check(state, t + 1)
        scores = [plain.scores(outputs(plain, [params], e)[0], e.query["y"]) for e in each(batch)]
        check_metrics(metrics, {name: np.mean([s[name] for s in scores]) for name in scores[0]})
    e = each(batch)[1]
    path = ends(plain, params, e.support, None, 3, 0.3, 0.6)
    predicted = curve_of(learner, state, batch, 3)
    np.testing.assert_allclose(predicted, outputs(plain, path, e), rtol=1e-4, atol=1e-5)

    # A support label outside of the classes makes the loss NaN, although scratch learns nothing.
    wrong = np.array(batch.support["y"])
    wrong[1, 2] = 3
    _, metrics = step(key, state, batch._replace(support={**batch.support, "y": jnp.asarray(wrong)}))
    assert np.isnan(metrics["loss"])
