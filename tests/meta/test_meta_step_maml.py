"""Whole meta-steps of MAML and what is made of it, against the papers in plain NumPy.

The reference makes the random draws from the same keys; all else is its own.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest
from plain import Adam, compiled, numbers
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
    meta_step,
    momentum,
    normal,
    nudged,
    slope,
    split,
    tasks,
    words,
)  # fmt: skip

from lrn.meta.adapt import InnerConfig
from lrn.meta.anil import anil
from lrn.meta.boil import boil
from lrn.meta.imaml import IMAMLConfig, imaml
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.meta_sgd import meta_sgd
from lrn.meta.mr_maml import MRMAMLConfig, mr_maml
from lrn.meta.nil import nil
from lrn.meta.problem import Problem, classification, regression

slow_adam = functools.partial(optax.adam, b1=0.5, b2=0.7, eps=0.05)


class Case(NamedTuple):
    """A learner's factory, its config, the problem, and what the inner loop changes."""

    make: Any
    config: Any
    plain: Plain
    part: str = "all"
    tasks: int = 3


def problem_of(plain: Plain) -> Problem:
    net = body(plain.noisy, plain.statistics != "none")
    if plain.labels:
        return classification(net, 3, plain.statistics)
    return regression(net, 2, plain.statistics)


def draws(key: np.ndarray, count: int, steps: int, part: str = "all") -> list[Any]:
    """The factors on features in each inner step [steps, features] and for the queries, for each task."""
    return [draws_of(k, steps, part) for k in split(key, count)]


def draws_of(key: np.ndarray, steps: int, part: str) -> tuple[np.ndarray, np.ndarray]:
    inner, outer = split(key)
    if part == "head":  # the features of a fixed body are computed once
        return np.tile(factor(inner), (steps, 1)), factor(outer)
    return factor(split(inner, steps)), factor(outer)


def inner_optimizer(config: InnerConfig) -> Any:
    """In NumPy."""
    if config.optimizer is slow_adam:
        return lambda params: Adam(params, 0.5, 0.7, 0.05)
    return lambda params: Momentum(params, 0.6 if config.optimizer is momentum else 0.0)


class Loop:
    """The inner loop of a case and its query loss, for one task."""

    def __init__(self, case: Case):
        self.case, self.plain = case, case.plain
        self.inner: InnerConfig = case.config.inner

    def path(self, params: Any, e: Any, noise: Any, steps: int, rates: Any = None, held: Any = None) -> Any:
        """All parameters before each step and after the last, and the gradients of the adapted part."""
        part, x = self.case.part, e.support["x"]

        def whole(p: Any) -> Any:
            return p if part == "all" else {**params, part: p}

        def loss(p: Any, t: int) -> Any:
            return self.plain.loss_on(whole(p), x, e.support, None if noise is None else noise[t])

        iterates, slopes = adapted(
            loss, params if part == "all" else params[part], steps, inner_optimizer(self.inner),
            (lambda t: self.inner.rate) if rates is None else rates, held,
        )  # fmt: skip
        return [whole(p) for p in iterates], slopes

    def judged(self, params: Any, e: Any, noise: Any) -> tuple[float, dict[str, float]]:
        outputs = self.plain.predict(params, e.support["x"], e.query["x"], noise)
        scores = self.plain.scores(outputs, e.query["y"])
        return scores["loss"], scores

    def task(self, meta: Any, drawn: Any, e: Any, count: int, held: Any) -> Any:
        within, outer = drawn if self.plain.noisy else (None, None)
        path, slopes = self.path(meta, e, within, self.inner.steps, held=held)
        value, scores = self.judged(path[-1], e, outer)
        return value, scores, slopes if self.inner.order == "first" else None

    def curve(self, meta: Any, e: Any, steps: int, rates: Any = None) -> np.ndarray:
        """Outputs for the queries after 0 to ``steps`` steps."""
        path, _ = self.path(meta, e, None, steps, rates)
        return np.stack([self.plain.predict(p, e.support["x"], e.query["x"]) for p in path])


CASES = {
    "second order, groups, statistics of the support": Case(
        maml,
        MAMLConfig(InnerConfig(steps=3, rate=0.07, optimizer=momentum), 0.03, tasks_at_once=2),
        Plain(statistics="support", noisy=True), tasks=4,
    ),
    "first order, one task at a time, labels": Case(
        maml,
        MAMLConfig(
            InnerConfig(steps=2, rate=0.2, order="first", checkpoint=True, optimizer=slow_adam), 0.4,
            momentum, tasks_at_once=1,
        ),
        Plain(labels=True),
    ),
    "second order through Adam": Case(
        maml, MAMLConfig(InnerConfig(steps=2, rate=0.3, optimizer=slow_adam), 0.2, momentum), Plain(), tasks=2
    ),
    "anil": Case(
        anil, MAMLConfig(InnerConfig(steps=2, rate=0.3), 0.02), Plain(labels=True, noisy=True), part="head"
    ),
    "boil": Case(
        boil, MAMLConfig(InnerConfig(steps=2, rate=0.15, checkpoint=True), 0.3, momentum),
        Plain(statistics="transductive", noisy=True), part="body", tasks=2,
    ),
}  # fmt: skip


def prepared(case: Case, init: bool = True) -> tuple[Any, Any, Any]:
    """The learner, a batch, and the first state; without ``init`` a state of zeros of the same form."""
    learner, key = case.make(problem_of(case.plain), case.config), jax.random.key(1)
    batch = tasks(3, case.tasks, ways=3 * case.plain.labels)
    if init:
        return learner, batch, compiled(learner.init, key, batch)(key, batch)
    form = jax.eval_shape(learner.init, key, batch)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), form)
    return learner, batch, state._replace(net_state=as_float32(net_state_of(case.plain)))


def as_float32(tree: Any) -> Any:
    return jax.tree.map(np.float32, tree)


def outer_of(case: Case, meta: Any) -> Outer:
    c = case.config
    return Outer(meta, c.meta_rate, "momentum" if c.optimizer is momentum else "adam")


def net_state_of(plain: Plain) -> Any:
    return () if plain.statistics == "none" else {"mean": np.array([0.3, -0.2, 0.5])}


def follow(case: Case, learner: Any, batch: Any, state: Any, task: Any, draw: Any) -> Any:
    """The states after two steps, each with other tasks and another key."""
    outer = outer_of(case, state.meta)
    step = compiled(learner.step, jax.random.key(0), state, batch)
    for t in range(2):
        batch, key = tasks(20 + t, case.tasks, ways=3 * case.plain.labels), jax.random.key(50 + t)
        state, metrics = step(key, state, batch)
        check_metrics(metrics, meta_step(outer, task, draw(words(50 + t)), batch))
        outer.check(state, net_state_of(case.plain))
    return state, outer


def check_curve(learner: Any, state: Any, batch: Any, expected: Any, steps: int) -> None:
    """The curve of the second task."""
    one = jax.tree.map(lambda x: x[1], batch)

    def curve(state: Any, one: Any) -> Any:
        return learner.curve(state, one.support, one.query["x"], one.code, steps)

    outputs = compiled(curve, state, one)(state, one)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_steps_are_those_of_the_paper(name):
    """Finn, Abbeel and Levine 2017; Raghu et al. 2020; Oh et al. 2021."""
    case = CASES[name]
    learner, batch, state = prepared(case)
    x = numbers(batch.support["x"][0])
    outer_of(case, begin(words(1), x, 3 if case.plain.labels else 2)).check(state, net_state_of(case.plain))
    loop = Loop(case)

    def draw(key: Any) -> Any:
        return draws(key, case.tasks, case.config.inner.steps, case.part)

    state = state._replace(meta=nudged(state.meta))
    state, outer = follow(case, learner, batch, state, loop.task, draw)
    if case.config.inner.optimizer is not slow_adam:
        check_curve(learner, state, batch, loop.curve(outer.meta, each(batch)[1], 4), 4)


def test_nil_trains_as_maml_and_compares_features():
    """Raghu et al. 2020, algorithm NIL: the sum over a class of the cosines to its support examples."""
    config = MAMLConfig(InnerConfig(steps=1, rate=0.3, order="first"), 0.02)
    case = Case(lambda p, c: nil(p, c, "head"), config, Plain(labels=True, noisy=True), "head", 2)
    learner, batch, state = prepared(case)
    state = state._replace(meta=nudged(state.meta))
    state, outer = follow(case, learner, batch, state, Loop(case).task, lambda key: draws(key, 2, 1, "head"))
    e = each(batch)[1]
    known, found = (case.plain.features(outer.meta["body"], x, x) for x in (e.support["x"], e.query["x"]))
    known, found = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (known, found))
    votes = found @ known.T @ np.eye(3)[e.support["y"]]
    check_curve(learner, state, batch, np.stack([votes] * 3), 2)


def test_meta_sgd_learns_a_rate_for_each_parameter():
    """Li et al. 2017, algorithm 1."""
    config = MAMLConfig(InnerConfig(steps=2, rate=0.08, optimizer=momentum), 0.03, tasks_at_once=1)
    case = Case(meta_sgd, config, Plain(labels=True, noisy=True), tasks=2)
    learner, batch, state = prepared(case)
    params = begin(words(1), numbers(batch.support["x"][0]), 3)
    rates = jax.tree.map(lambda p: np.full(p.shape, 0.08), params)
    outer_of(case, {"params": params, "rates": rates}).check(state)
    loop = Loop(case)

    def task(meta: Any, drawn: Any, e: Any, count: int, held: Any) -> Any:
        path, _ = loop.path(meta["params"], e, drawn[0], 2, lambda t: meta["rates"])
        return (*loop.judged(path[-1], e, drawn[1]), None)

    state = state._replace(meta=nudged(state.meta))
    state, outer = follow(case, learner, batch, state, task, lambda key: draws(key, 2, 2))
    expected = loop.curve(outer.meta["params"], each(batch)[1], 3, lambda t: outer.meta["rates"])
    check_curve(learner, state, batch, expected, 3)


@pytest.mark.parametrize("part", ["body", "head"])
def test_mr_maml_pays_for_what_its_body_knows(part):
    """Yin et al. 2020, eq. 5: a Gaussian body with a penalty on its divergence from the prior."""
    inner, settings = InnerConfig(steps=2, rate=0.2), dict(beta=0.3, prior_std=0.7, initial_std=0.4)
    adam = part == "head"
    if not adam:  # the default adapts the head
        settings |= dict(adapted=part, optimizer=momentum)
    config = MRMAMLConfig(inner=inner, meta_rate=0.03, tasks_at_once=1, **settings)  # pyright: ignore
    case = Case(mr_maml, config, Plain(noisy=True), part, 2)
    learner, batch, state = prepared(case)
    params = begin(words(1), numbers(batch.support["x"][0]), 2)
    spread = jax.tree.map(lambda p: np.full(p.shape, np.log(0.4)), params["body"])
    outer_of(case, {"params": params, "log_std": spread}).check(state)
    loop = Loop(case)

    def draw(key: np.ndarray) -> Any:
        leaves, shape = split(key), (2, 3)
        weights = {"b": normal(leaves[0], shape[1:]), "w": normal(leaves[1], shape)}
        return weights, *draws_of(fold_in(key, 1), 2, part)

    def task(meta: Any, drawn: Any, e: Any, count: int, held: Any) -> Any:
        weights, within, last = drawn
        mean, log_std = meta["params"]["body"], meta["log_std"]
        sampled = {name: mean[name] + np.exp(log_std[name]) * weights[name] for name in mean}
        path, _ = loop.path({**meta["params"], "body": sampled}, e, within, 2)
        value, scores = loop.judged(path[-1], e, last)
        nats = sum(
            np.sum(np.log(0.7) - log_std[n] + (np.exp(2 * log_std[n]) + mean[n] ** 2) / (2 * 0.7**2) - 0.5)
            for n in mean
        )
        return value + 0.3 * nats, {**scores, "divergence": nats}, None

    state = state._replace(meta=nudged(state.meta))
    state, outer = follow(case, learner, batch, state, task, lambda key: [draw(k) for k in split(key, 2)])
    check_curve(learner, state, batch, loop.curve(outer.meta["params"], each(batch)[1], 3), 3)


def pulled(loop: Loop, start: Any, e: Any, noise: Any) -> Any:
    """The loss with the pull to ``start``, for `slope`, and the same for each inner step."""

    def loss(p: Any, t: int = 0) -> Any:
        apart = [((a - b) ** 2) for a, b in zip(jax.tree.leaves(p), jax.tree.leaves(start))]
        squares = sum(x.reshape(len(x), -1).sum(-1) for x in apart)
        return loop.plain.loss_on(p, e.support["x"], e.support, noise) + 0.5 * 1.7 * squares

    return loss


def conjugate_gradients(matrix: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """Hestenes and Stiefel 1952."""
    x, r, p = np.zeros_like(b), b.copy(), b.copy()
    for _ in range(steps):
        length = r @ r / (p @ matrix @ p)
        x, new = x + length * p, r - length * matrix @ p
        p, r = new + (new @ new) / (r @ r) * p, new
    return x


def test_imaml_differentiates_where_the_inner_loop_ends():
    """Rajeswaran et al. 2019, algorithms 1 and 2, with two steps of conjugate gradients."""
    inner = InnerConfig(steps=3, rate=0.1, optimizer=momentum)
    config = IMAMLConfig(inner, 1.7, cg_steps=2, meta_rate=0.2, optimizer=momentum, tasks_at_once=1)
    case = Case(imaml, config, Plain(labels=True, noisy=True), tasks=2)
    learner, batch, state = prepared(case, init=False)
    state, loop = state._replace(meta=nudged(state.meta)), Loop(case)
    outer = outer_of(case, state.meta)

    def factors(key: np.ndarray) -> Any:
        return [factor(split(k)) for k in split(key, 2)]

    def implicit(e: Any, noise: Any) -> tuple[Any, Any]:
        solve = pulled(loop, outer.meta, e, noise[0])  # all inner steps share one draw
        end = adapted(solve, outer.meta, 3, inner_optimizer(inner), lambda t: 0.1)[0][-1]
        _, scores = loop.judged(end, e, noise[1])
        b, unravel = flat(slope(lambda p: loop.plain.loss_on(p, e.support["x"], e.query, noise[1]), end))
        point, _ = flat(end)

        def down(at: np.ndarray) -> np.ndarray:
            return flat(
                slope(lambda p: loop.plain.loss_on(p, e.support["x"], e.support, noise[0]), unravel(at))
            )[0]

        basis = 1e-5 * np.eye(len(point))
        hessian = np.stack([(down(point + v) - down(point - v)) / 2e-5 for v in basis])
        solution = conjugate_gradients(np.eye(len(point)) + hessian / 1.7, b, 2)
        assert abs(solution - conjugate_gradients(np.eye(len(point)) + hessian / 1.7, b, 3)).max() > 1e-3
        return unravel(solution), scores

    step = compiled(learner.step, jax.random.key(0), state, batch)
    for t in range(2):
        batch, key = tasks(20 + t, 2, ways=3), jax.random.key(50 + t)
        state, metrics = step(key, state, batch)
        results = [
            implicit(e, noise)
            for e, noise in zip(each(batch), [factor(split(k)) for k in split(words(50 + t), 2)])
        ]
        outer.follow(jax.tree.map(lambda *s: np.mean(s, 0), *(s for s, _ in results)))
        check_metrics(
            metrics, {n: np.mean([scores[n] for _, scores in results]) for n in ("loss", "accuracy")}
        )
        outer.check(state)

    e = each(batch)[1]
    path, _ = adapted(pulled(loop, outer.meta, e, None), outer.meta, 5, inner_optimizer(inner), lambda t: 0.1)
    outputs = [case.plain.predict(p, e.support["x"], e.query["x"]) for p in path]
    check_curve(learner, state, batch, np.stack(outputs), 5)


def flat(tree: Any) -> tuple[np.ndarray, Any]:
    """All numbers of a tree as one NumPy vector, and the function back."""
    leaves, form = jax.tree.flatten(tree)
    ends = np.cumsum([x.size for x in leaves])[:-1]

    def back(vector: np.ndarray) -> Any:
        parts = [v.reshape(x.shape) for v, x in zip(np.split(vector, ends), leaves)]
        return jax.tree.unflatten(form, parts)

    return np.concatenate([x.ravel() for x in leaves]), back
