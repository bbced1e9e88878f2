"""Whole meta-steps of pooled, oracle, ARM and IRM, which train on all tasks together, against plain NumPy."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest
from plain import compiled, log_softmax, numbers
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
    fold_in,
    hidden,
    linear,
    meta_step,
    momentum,
    normal,
    nudged,
    split,
    tasks,
    words,
)  # fmt: skip

from lrn.meta.adapt import InnerConfig
from lrn.meta.arm import ARMConfig, arm
from lrn.meta.irm import IRMConfig, irm
from lrn.meta.oracle import OracleConfig, oracle
from lrn.meta.pooled import PooledConfig, pooled
from lrn.meta.problem import classification, regression


def joined(e: Any) -> Any:
    """Support and queries as one batch."""
    return jax.tree.map(lambda *x: np.concatenate(x), e.support, e.query)


def started(learner: Any, batch: Any) -> Any:
    key = jax.random.key(1)
    return compiled(learner.init, key, batch)(key, batch)


def follow(
    learner: Any, state: Any, outer: Outer, task: Any, draw: Any, batch_of: Any, steps: int = 2
) -> Any:
    """The state after some steps, each with other tasks and another key."""
    step = compiled(learner.step, jax.random.key(0), state, batch_of(0))
    for t in range(steps):
        batch, drawn = batch_of(20 + t), [draw(k) for k in split(words(50 + t), 3)]
        state, metrics = step(jax.random.key(50 + t), state, batch)
        check_metrics(metrics, meta_step(outer, task, drawn, batch))
        outer.check(state)
    return state


def check_curve(learner: Any, state: Any, batch: Any, expected: Any) -> None:
    """The curve of the second task, with as many steps as ``expected``."""
    one = jax.tree.map(lambda x: x[1], batch)

    def curve(state: Any, one: Any) -> Any:
        return learner.curve(state, one.support, one.query["x"], one.code, len(expected) - 1)

    outputs = compiled(curve, state, one)(state, one)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def own(key: np.ndarray) -> np.ndarray:
    """The factors on the features in the single pass of a task."""
    return factor(split(key, 1)[0])


def tuned(plain: Plain, params: Any, e: Any, part: str, steps: int, rate: float) -> np.ndarray:
    """The curve of fine-tuning with momentum."""

    def whole(p: Any) -> Any:
        return p if part == "all" else {**params, part: p}

    path, _ = adapted(
        lambda p, t: plain.loss_on(whole(p), e.support["x"], e.support),
        params if part == "all" else params[part], steps, lambda p: Momentum(p, 0.6), lambda t: rate,
    )  # fmt: skip
    return np.stack([plain.predict(whole(p), e.support["x"], e.query["x"]) for p in path])


def test_pooled_learns_all_tasks_as_one():
    plain = Plain(noisy=True)
    fine_tune = InnerConfig(steps=1, rate=0.2, optimizer=momentum)
    learner = pooled(regression(body(noisy=True), 2), PooledConfig(fine_tune, 0.1, momentum, tune="body"))
    batch = tasks(3)
    state = started(learner, batch)
    Outer(begin(words(1), numbers(batch.support["x"][0]), 2), 0.1, "momentum").check(state)

    def task(meta: Any, noise: Any, e: Any, count: int, held: Any) -> Any:
        seen = joined(e)
        value = float(plain.loss_on(meta, seen["x"], seen, noise))
        return value, {"loss": value}, None

    state = state._replace(meta=nudged(state.meta))
    outer = Outer(state.meta, 0.1, "momentum")
    state = follow(learner, state, outer, task, own, tasks)
    check_curve(learner, state, batch, tuned(plain, outer.meta, each(batch)[1], "body", 3, 0.2))


def test_pooled_tells_all_classes_of_the_training_apart():
    """Chen et al. 2019, the baseline; fine-tuned from a head of zeros."""
    plain = Plain(labels=True)
    fine_tune = InnerConfig(steps=1, rate=0.2, optimizer=momentum)
    learner = pooled(classification(body(), 3), PooledConfig(fine_tune, 0.1), classes=5)
    batch_of = functools.partial(tasks, ways=3, code="classes")
    batch = batch_of(3)
    state = started(learner, batch)
    first = begin(words(1), numbers(batch.support["x"][0]), 3)
    wide = {"bias": np.zeros(5), "kernel": normal(fold_in(words(1), 1), (3, 5)) / np.sqrt(3)}
    Outer({**first, "head": wide}, 0.1).check(state)

    def task(meta: Any, noise: Any, e: Any, count: int, held: Any) -> Any:
        seen = joined(e)
        logs = log_softmax(linear(meta["head"], hidden(meta["body"], seen["x"])))
        value = -logs[np.arange(9), e.code[seen["y"]]].mean()
        return value, {"loss": value}, None

    state = state._replace(meta=nudged(state.meta))
    outer = Outer(state.meta, 0.1)
    state = follow(learner, state, outer, task, lambda key: None, batch_of)
    none = {"bias": np.zeros(3), "kernel": np.zeros((3, 3))}
    expected = tuned(plain, {**outer.meta, "head": none}, each(batch)[1], "all", 3, 0.2)
    check_curve(learner, state, batch, expected)

    # A label outside of the classes is an error, not the last class.
    wrong = np.array(batch.query["y"])
    wrong[0, 1] = 3
    bad = batch._replace(query={**batch.query, "y": wrong})
    after, metrics = jax.jit(learner.step)(jax.random.key(0), state, bad)
    assert np.isnan(metrics["loss"])
    assert np.isnan(after.meta["head"]["kernel"]).all()


def beside(x: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Examples [n, d] concatenated with the same numbers [c], [n, d + c]."""
    return np.concatenate([x, np.tile(code, (len(x), 1))], axis=1)


def test_the_oracle_is_told_the_task():
    plain = Plain(noisy=True)
    learner = oracle(regression(body(noisy=True), 2), OracleConfig(0.1, momentum))
    batch_of = functools.partial(tasks, code="numbers")
    batch = batch_of(3)
    state = started(learner, batch)
    e = each(batch)[0]
    Outer(begin(words(1), beside(e.support["x"], e.code), 2), 0.1, "momentum").check(state)

    def task(meta: Any, noise: Any, e: Any, count: int, held: Any) -> Any:
        seen = joined(e)
        x = beside(seen["x"], e.code)
        value = float(plain.loss_on(meta, x, {"x": x, "y": seen["y"]}, noise))
        return value, {"loss": value}, None

    state = state._replace(meta=nudged(state.meta))
    outer = Outer(state.meta, 0.1, "momentum")
    state = follow(learner, state, outer, task, own, batch_of)
    e = each(batch)[1]
    x = beside(e.query["x"], e.code)
    check_curve(learner, state, batch, np.stack([plain.predict(outer.meta, x, x)] * 3))


def test_arm_is_told_what_the_support_set_looks_like():
    """Zhang et al. 2021, ARM-CML: each input is concatenated with the mean of a second network's outputs."""
    plain = Plain(labels=True, statistics="support", noisy=True)
    context = body(noisy=True, features=1)
    problem = classification(body(noisy=True, kept=True), 3, "support")
    learner = arm(problem, context, ARMConfig(0.1, momentum))
    batch_of = functools.partial(tasks, ways=3)
    batch = batch_of(3)
    state = started(learner, batch)
    net_state = {"mean": np.array([0.3, -0.2, 0.5])}

    def about(params: Any, x: np.ndarray, noise: Any = 1.0) -> np.ndarray:
        return (hidden(params, x) * noise).mean(0)

    x, (context_key, key) = numbers(batch.support["x"][0]), split(words(1))
    weights = np.cos(np.arange(2)[:, None] + factor(context_key, 1)) + x.mean()
    first = {"b": np.array([-0.2]), "w": weights}
    params = begin(key, beside(x, about(first, x)), 3)
    Outer({"context": first, "params": params}, 0.1, "momentum").check(state, net_state)

    def task(meta: Any, noise: Any, e: Any, count: int, held: Any) -> Any:
        seen = joined(e)
        x = beside(seen["x"], about(meta["context"], e.support["x"], noise[0]))
        value = float(plain.loss_on(meta["params"], x, {"x": x, "y": seen["y"]}, noise[1]))
        return value, {"loss": value}, None

    state = state._replace(meta=nudged(state.meta))
    outer = Outer(state.meta, 0.1, "momentum")
    step = compiled(learner.step, jax.random.key(0), state, batch)
    for t in range(2):
        given, drawn = batch_of(20 + t), []
        for task_key in split(words(50 + t), 3):
            context_key, key = split(task_key)
            drawn.append((factor(context_key, 1), own(key)))
        state, metrics = step(jax.random.key(50 + t), state, given)
        check_metrics(metrics, meta_step(outer, task, drawn, given))
        outer.check(state, net_state)

    e = each(batch)[1]
    told = about(outer.meta["context"], e.support["x"])
    known, x = beside(e.support["x"], told), beside(e.query["x"], told)
    check_curve(learner, state, batch, np.stack([plain.predict(outer.meta["params"], known, x)] * 3))


@pytest.mark.parametrize(
    "config",
    [IRMConfig(2.5, begin=1, before=0.7, meta_rate=0.1, optimizer=momentum), IRMConfig(0.4, meta_rate=0.05)],
    ids=["weights above 1, later", "plain"],
)
def test_irm_pays_for_scales_of_an_environment(config):
    """Arjovsky et al. 2019, IRMv1, with all pairs of examples in place of two halves."""
    plain = Plain(noisy=True)
    learner = irm(regression(body(noisy=True), 2), config)
    batch, optimizer = tasks(3), "momentum" if config.optimizer is momentum else "adam"
    form = jax.eval_shape(learner.init, jax.random.key(1), batch)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), form)
    if optimizer == "momentum":
        state = started(learner, batch)
        Outer(begin(words(1), numbers(batch.support["x"][0]), 2), 0.1, optimizer).check(state)

    def task(meta: Any, noise: Any, e: Any, count: int, held: Any) -> Any:
        seen = joined(e)
        out = plain.predict(meta, seen["x"], seen["x"], noise)
        value = float(plain.loss(out, seen["y"]))
        # The derivative of a mean of squares by a factor on the outputs, of each example.
        slopes = (2 * out * (out - seen["y"])).mean(1)
        pairs = [a * b for i, a in enumerate(slopes) for j, b in enumerate(slopes) if i != j]
        weight = config.before if count < config.begin else config.penalty
        total = (value + weight * np.mean(pairs)) / max(weight, 1)
        return total, {"loss": value, "penalty": np.mean(pairs)}, None

    state = state._replace(meta=nudged(state.meta))
    outer = Outer(state.meta, config.meta_rate, optimizer)
    state = follow(learner, state, outer, task, own, tasks, steps=3 if config.begin else 1)
    if optimizer == "momentum":
        e = each(batch)[1]
        predicted = plain.predict(outer.meta, e.query["x"], e.query["x"])
        check_curve(learner, state, batch, np.stack([predicted] * 3))
