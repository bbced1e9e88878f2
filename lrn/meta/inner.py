"""The inner loop on a `Problem`: all of the network or a part of it, how it is judged, and its curve."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from lrn.meta.adapt import UNROLLED, InnerConfig, adapt_path
from lrn.meta.episode import Episode
from lrn.meta.problem import Problem
from lrn.types import Array, Batch, Key, NetState, Params, PyTree

PARTS = ("all", "head", "body")


def adapt_part(
    problem: Problem,
    params: Params,
    net_state: NetState,
    support: Batch,
    config: InnerConfig,
    part: str = "all",
    look: Callable[[Params], PyTree] = lambda params: (),
    rates: PyTree = None,
    unroll: int = UNROLLED,
    key: Key | None = None,
) -> tuple[Params, PyTree]:
    """The inner loop on a part of the network; the features of a fixed body are computed once.

    Args:
        problem, params, net_state, support: the task.
        config: of the loop.
        part: "all", "head" or "body"; the rest stays as it is.
        look: see `lrn.meta.adapt.adapt_path`; it gets all parameters.
        rates: see there; a tree like the part.
        unroll: see there.
        key: of a training, drives dropout; another one at each step, but one for all where the body is fixed.

    Returns:
        All parameters after the loop, and what was seen, leaves [steps + 1, ...].
    """

    def whole(adapted: Params) -> Params:
        return adapted if part == "all" else {**params, part: adapted}

    def of_part(adapted: Params, support: Batch, key: Key | None = None) -> Array:
        return problem.loss_on(whole(adapted), net_state, support, support, key)

    loss: Any = of_part
    if part == "head":
        features = problem.features(params["body"], net_state, support, support["x"], key)
        key = None

        def of_head(adapted: Params, support: Batch) -> Array:
            return problem.loss(problem.head(adapted, features), support["y"])

        loss = of_head

    begin = params if part == "all" else params[part]
    adapted, seen = adapt_path(loss, begin, support, config, lambda p: look(whole(p)), rates, unroll, key)
    return whole(adapted), seen


def judged(
    problem: Problem, params: Params, net_state: NetState, episode: Episode, key: Key | None = None
) -> tuple[Array, Mapping[str, Array]]:
    """The loss of a task's queries, and their mean scores; with a key, those of the training."""
    outputs = problem.predict(params, net_state, episode.support, episode.query["x"], key)
    scores = problem.score(outputs, episode.query["y"])
    loss = problem.loss(outputs, episode.query["y"])
    return loss, {**{name: value.mean() for name, value in scores.items()}, "loss": loss}


def curve_of(
    problem: Problem,
    params: Params,
    net_state: NetState,
    support: Batch,
    x: Array,
    config: InnerConfig,
    steps: int,
    part: str = "all",
    rates: PyTree = None,
) -> Array:
    """Outputs for x after 0 to ``steps`` steps of the inner loop, [steps + 1, n, outputs].

    Arguments as for `adapt_part`; ``rates`` are of ``steps`` steps.
    """

    def look(params: Params) -> Array:
        return problem.predict(params, net_state, support, x)

    longer = dataclasses.replace(config, steps=steps)
    # Not differentiated: unrolled it would take longer to compile and no less to run.
    return adapt_part(problem, params, net_state, support, longer, part, look, rates, unroll=1)[1]
