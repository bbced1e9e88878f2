"""Whole meta-steps of MAML++ against Antoniou, Edwards and Storkey (2019) in plain NumPy, every option on."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain import compiled, gradient, numbers
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
    nudged,
    split,
    tasks,
    words,
)  # fmt: skip

from lrn.meta.adapt import InnerConfig
from lrn.meta.maml_plus_plus import MAMLPlusPlusConfig, maml_plus_plus
from lrn.meta.problem import classification

# One meta-step of first order, three over which the loss moves to the last step, five over which the rate
# falls.
ALL = MAMLPlusPlusConfig(
    inner=InnerConfig(steps=3, rate=0.2), meta_rate=0.05, final_rate=0.01, total_steps=5,
    first_order_steps=1, multi_step_steps=3, clip=0.06, tasks_at_once=1,
)  # fmt: skip
FIXED = MAMLPlusPlusConfig(
    inner=InnerConfig(steps=2, rate=0.2, order="first"), meta_rate=0.05, final_rate=0.05, total_steps=1,
    multi_step_steps=0, learn_rates=False, clip=50.0,
)  # fmt: skip
PLAIN = Plain(labels=True, noisy=True)


def weights_of(c: MAMLPlusPlusConfig, count: int) -> np.ndarray:
    """The authors' get_per_step_loss_importance_vector; afterwards only the last step has a weight."""
    steps, over = c.inner.steps, c.multi_step_steps
    if count >= over:
        return np.eye(steps)[-1]
    weights = np.full(steps, 1 / steps)
    for i in range(steps - 1):
        weights[i] = max(weights[i] - count / over / steps, 0.03 / steps)
    weights[-1] = 1 - weights[:-1].sum()
    return weights


def path_of(meta: Any, e: Any, noise: Any, steps: int, held: Any = None) -> Any:
    """The inner loop with a rate for each step and array; further steps use the last step's rates."""
    x = e.support["x"]

    def loss(p: Any, t: int) -> Any:
        return PLAIN.loss_on(p, x, e.support, None if noise is None else noise[t])

    def rates(t: int) -> Any:
        return jax.tree.map(lambda r: r[min(t, len(r) - 1)], meta["rates"])

    return adapted(loss, meta["params"], steps, lambda p: Momentum(p, 0.0), rates, held)


class Reference:
    """The learner's state, and its steps."""

    def __init__(self, config: MAMLPlusPlusConfig, meta: Any):
        self.config = config
        self.outer = Outer(meta, self.rate)

    def rate(self, count: int) -> float:
        c, done = self.config, min(count / self.config.total_steps, 1.0)
        return c.final_rate + (c.meta_rate - c.final_rate) * (1 + np.cos(np.pi * done)) / 2

    def task(self, meta: Any, noise: Any, e: Any, held: Any) -> Any:
        c, (within, last) = self.config, noise
        path, slopes = path_of(meta, e, within, c.inner.steps, held)
        outputs = [PLAIN.predict(p, e.support["x"], e.query["x"], last) for p in path[1:]]
        losses = np.array([PLAIN.loss(out, e.query["y"]) for out in outputs])
        total = weights_of(c, self.outer.taken) @ losses
        first = self.outer.taken < c.first_order_steps or c.inner.order == "first"
        return total, PLAIN.scores(outputs[-1], e.query["y"]), slopes if first else None

    def step(self, key: np.ndarray, batch: Any) -> dict[str, float]:
        c, given = self.config, []
        for own, e in zip(split(key, len(batch.support["x"])), each(batch)):
            inner, last = split(own)
            given.append(((factor(split(inner, c.inner.steps)), factor(last)), e))
        results = [self.task(self.outer.meta, noise, e, None) for noise, e in given]

        def mean(meta: Any) -> float:
            return float(
                np.mean([self.task(meta, noise, e, f[2])[0] for (noise, e), f in zip(given, results)])
            )

        slope = gradient(mean, self.outer.meta)
        if not c.learn_rates:
            slope["rates"] = jax.tree.map(np.zeros_like, slope["rates"])
        sizes = np.concatenate([abs(s).ravel() for s in jax.tree.leaves(slope)])
        assert (sizes.max() > c.clip) == (c.clip < 1)
        self.outer.follow(jax.tree.map(lambda s: np.clip(s, -c.clip, c.clip), slope))
        return {name: float(np.mean([f[1][name] for f in results])) for name in ("loss", "accuracy")}


@pytest.mark.parametrize(("config", "steps"), [(ALL, 6), (FIXED, 2)], ids=["all options", "plain"])
def test_steps_are_those_of_the_paper(config, steps):
    learner = maml_plus_plus(classification(body(noisy=True), 3), config)
    batch, key = tasks(3, 2, ways=3), jax.random.key(1)
    state = compiled(learner.init, key, batch)(key, batch)
    params = begin(words(1), numbers(batch.support["x"][0]), 3)
    rates = jax.tree.map(lambda p: np.full(config.inner.steps, 0.2), params)
    Reference(config, {"params": params, "rates": rates}).outer.check(state)

    # All rates differ between steps and between arrays.
    moved = nudged(state.meta["params"]), nudged(state.meta["rates"])
    state = state._replace(meta={"params": moved[0], "rates": jax.tree.map(lambda r: 0.3 * r, moved[1])})
    reference = Reference(config, state.meta)
    step = compiled(learner.step, key, state, batch)
    for t in range(steps):
        batch = tasks(20 + t, 2, ways=3)
        state, metrics = step(jax.random.key(50 + t), state, batch)
        check_metrics(metrics, reference.step(words(50 + t), batch))
        reference.outer.check(state)

    one = jax.tree.map(lambda x: x[1], batch)

    def curve(state: Any, one: Any) -> Any:
        return learner.curve(state, one.support, one.query["x"], (), 5)

    e = each(batch)[1]
    path, _ = path_of(reference.outer.meta, e, None, 5)
    expected = np.stack([PLAIN.predict(p, e.support["x"], e.query["x"]) for p in path])
    look = compiled(curve, state, one)
    np.testing.assert_allclose(look(state, one), expected, rtol=1e-4, atol=1e-5)

    # With a first rate of 0 and a last rate of .02 only the first step changes nothing.
    steps = config.inner.steps
    some = jax.tree.map(lambda r: jnp.zeros(steps).at[-1].set(0.02), state.meta["rates"])
    outputs = np.asarray(look(state._replace(meta={**state.meta, "rates": some}), one))
    still = [np.array_equal(outputs[i], outputs[i + 1]) for i in range(5)]
    assert still == [i < steps - 1 for i in range(5)]
