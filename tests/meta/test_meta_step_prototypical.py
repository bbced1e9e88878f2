"""Whole meta-steps of prototypical networks against Snell, Swersky and Zemel (2017) in plain NumPy."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from plain import compiled, numbers
from tiny import (
    KEPT,
    Outer,
    Plain,
    begin,
    body,
    check_metrics,
    each,
    factor,
    hidden,
    meta_step,
    nudged,
    split,
    tasks,
    words,
)  # fmt: skip

from lrn.meta.problem import classification
from lrn.meta.prototypical import PrototypicalConfig, prototypical

PLAIN = Plain(labels=True)


def logits(known: np.ndarray, y: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Minus squared distances to the class means; a class without examples has the mean of all features."""
    means = np.stack([known[y == c].mean(0) if (y == c).any() else known.mean(0) for c in range(3)])
    return -((found[:, None] - means) ** 2).sum(-1)


@pytest.mark.parametrize(
    ("running", "halve_every"), [(True, 2), (False, 0)], ids=["running statistics, halved", "plain"]
)
def test_steps_are_those_of_the_paper(running, halve_every):
    """Noise in training; with running statistics, of support and queries in one batch.

    Nothing depends on a bias before statistics, so there is none then.
    """
    config = PrototypicalConfig(0.03, halve_every, tasks_at_once=1 if running else 0)
    problem = classification(body(True, running, bias=not running), 3, "running" if running else "none")
    learner, key, batch = prototypical(problem, config), jax.random.key(1), tasks(3, ways=3)
    state = compiled(learner.init, key, batch)(key, batch)

    def rate(count: int) -> float:
        return 0.03 / 2 ** (count // halve_every) if halve_every else 0.03

    kept = {"mean": KEPT} if running else ()
    first = begin(words(1), numbers(batch.support["x"][0]), 3)["body"]
    Outer({"w": first["w"]} if running else first, rate).check(state, kept)

    def task(meta: Any, noise: Any, e: Any, count: int, held: Any) -> Any:
        parts = [hidden(meta, part["x"]) for part in (e.support, e.query)]
        if running:
            both = np.concatenate(parts) * noise[0]
            known, found = np.split(both - both.mean(0), [4])
            means.append(both.mean(0))
        else:
            known, found = parts[0] * noise[0], parts[1] * noise[1]
        scores = PLAIN.scores(logits(known, e.support["y"], found), e.query["y"])
        return scores["loss"], scores, None

    state = state._replace(meta=nudged(state.meta))
    outer = Outer(state.meta, rate)
    step = compiled(learner.step, key, state, batch)
    for t in range(5 if running else 2):
        batch, drawn = tasks(20 + t, ways=3), [factor(split(k)) for k in split(words(50 + t), 3)]
        state, metrics = step(jax.random.key(50 + t), state, batch)
        means: list[np.ndarray] = []
        check_metrics(metrics, meta_step(outer, task, drawn, batch))
        if running:  # the new statistics are those of the parameters before the step
            kept = {"mean": 0.7 * kept["mean"] + 0.3 * np.mean(means[:3], 0)}  # pyright: ignore
        outer.check(state, kept)

    one = jax.tree.map(lambda x: x[1], batch)
    found = compiled(lambda s, e: learner.curve(s, e.support, e.query["x"], (), 2), state, one)(state, one)
    e = each(batch)[1]
    assert 2 not in e.support["y"]
    known, asked = (hidden(outer.meta, part["x"]) for part in (e.support, e.query))
    expected = logits(known, e.support["y"], asked)  # subtracting statistics from both keeps the distances
    np.testing.assert_allclose(found, np.stack([expected] * 3), rtol=1e-4, atol=1e-4)
