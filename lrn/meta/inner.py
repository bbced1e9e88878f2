"""The inner loop on a `Problem`, over the whole network or a part; the query loss; the curve over steps."""

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
        problem: the network and the loss.
        params: all parameters before the first step.
        net_state: the network's state.
        support: the support set.
        config: the settings of the loop.
        part: the part that changes: "all", "head" or "body".
        look: see `lrn.meta.adapt.adapt_path`; its argument is all parameters.
        rates: see `lrn.meta.adapt.adapt`; a tree like the part.
        unroll: see `lrn.meta.adapt.adapt_path`.
        key: the key of dropout, in training. Each step draws anew; with a fixed body all steps
            share one draw.

    Returns:
        All parameters after the loop, and the results of ``look``, leaves [steps + 1, ...].
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
    """The loss of a task's queries, and their mean scores with the loss among them.

    Args:
        problem: the network and the loss.
        params: the adapted parameters.
        net_state: the network's state.
        episode: the task.
        key: the key of dropout, in training; None in evaluation.
    """
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
    """The outputs for x [n, ...] after 0 to ``steps`` steps of the inner loop, [steps + 1, n, outputs].

    Args:
        problem, params, net_state, support, config, part: as for `adapt_part`.
        x: the queries.
        steps: the number of steps, in place of ``config.steps``.
        rates: as for `adapt_part`, for ``steps`` steps.
    """

    def look(params: Params) -> Array:
        return problem.predict(params, net_state, support, x)

    longer = dataclasses.replace(config, steps=steps)
    # The curve is not differentiated, so unrolling would only lengthen the compilation.
    return adapt_part(problem, params, net_state, support, longer, part, look, rates, unroll=1)[1]
