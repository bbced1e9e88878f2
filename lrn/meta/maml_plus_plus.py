"""MAML++ (Antoniou, Edwards and Storkey 2019): what makes MAML train steadily.

- A rate a layer and inner step, learned (LSLR).
- A loss after every inner step (MSL): equal weights at first, which move to the last step's alone.
- First order at first, then second (DA). (One lane then takes cheap steps first; of several vmapped ones each
  takes both, and one is thrown away.)
- The outer rate falls by a cosine (CA), and its gradient's elements are cut.

Batch statistics a step are left to the network (`lrn.meta.problem`); so is their bias.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.meta.adapt import InnerConfig, check_inner
from lrn.meta.episode import Episode
from lrn.meta.inner import adapt_part, curve_of
from lrn.meta.learner import Gradient, MetaLearner, MetaState, by_gradient, of_tasks
from lrn.meta.maml import example_of
from lrn.meta.problem import Problem
from lrn.supervised.schedules import cosine
from lrn.types import Array, Batch, Example, Key, NetState, Params, PyTree


@config
class MAMLPlusPlusConfig:
    """Settings; the defaults are the authors' for Omniglot, in meta-steps.

    inner: the inner loop; its rate is where all rates begin, its order is that of the late part.
    meta_rate, final_rate: of Adam, at first and after ``total_steps``.
    total_steps: of the training.
    first_order_steps: meta-steps of first order to begin with.
    multi_step_steps: meta-steps over which the loss moves to the last inner step; 0 for the last alone.
    learn_rates: whether the rates are learned.
    clip: of each element of the gradient; 10 is theirs for miniImageNet, on Omniglot they cut nothing.
    tasks_at_once: as for `lrn.meta.maml`.
    """

    inner: InnerConfig = InnerConfig(steps=5, rate=0.1)
    meta_rate: float = 1e-3
    final_rate: float = 1e-5
    total_steps: int = 50_000
    first_order_steps: int = 0
    multi_step_steps: int = 5_000
    learn_rates: bool = True
    clip: float = 10.0
    tasks_at_once: int = 0

    def __post_init__(self):
        check_inner("inner", self.inner)
        check.positive("meta_rate", self.meta_rate)
        check.non_negative("final_rate", self.final_rate)
        check.positive("clip", self.clip)
        check.integer("total_steps", self.total_steps, low=1)
        for name in ("first_order_steps", "multi_step_steps", "tasks_at_once"):
            check.integer(name, getattr(self, name), low=0)
        if self.inner.steps < 1:
            raise check.InputError(
                "maml_plus_plus weighs the loss of its inner steps, got 0; choose inner.steps of 1 or more."
            )


def step_weights(count: Array, steps: int, over: int) -> Array:
    """The weight of the loss after each of ``steps`` inner steps at a meta-step, [steps]; they add up to 1.

    Equal at first; all but the last fall linearly to .03 / steps over ``over`` meta-steps (the authors' code,
    ``get_per_step_loss_importance_vector``), then to nothing.
    """
    if over == 0 or steps == 1:
        return jnp.zeros(steps).at[-1].set(1.0)
    least = 0.03 / steps
    weight = jnp.maximum(1 / steps - count / over / steps, least)
    weight = jnp.where(count < over, weight, 0.0)
    return jnp.full(steps, weight).at[-1].set(1 - (steps - 1) * weight)


def maml_plus_plus(problem: Problem, config: MAMLPlusPlusConfig) -> MetaLearner:
    """MAML with learned rates, a loss after every step, and annealing from first to second order.

    What is meta-learned is ``{"params": ..., "rates": ...}``, the rates [steps] for each array. An adaptation
    longer than in training goes on with the last step's. Metrics as for `lrn.meta.maml.maml`.
    """
    steps = config.inner.steps

    def start(key: Key, x: Array) -> tuple[PyTree, NetState]:
        params, net_state = problem.init(key, x)
        rates = jax.tree.map(lambda p: jnp.full((steps,), config.inner.rate, p.dtype), params)
        return {"params": params, "rates": rates}, net_state

    def loss_of(inner: InnerConfig) -> Any:
        def loss(key: Key, meta: PyTree, net_state: NetState, episode: Episode, count: Array) -> Any:
            params, support = meta["params"], episode.support
            inner_key, outer_key = problem.training_keys(key, params["body"], net_state, support["x"])
            rates = meta["rates"] if config.learn_rates else jax.lax.stop_gradient(meta["rates"])

            def look(params: Params) -> Array:
                return problem.predict(params, net_state, support, episode.query["x"], outer_key)

            _, path = adapt_part(
                problem, params, net_state, support, inner, look=look, rates=rates, key=inner_key
            )
            y = episode.query["y"]
            losses = jax.vmap(lambda outputs: problem.loss(outputs, y))(path[1:])
            weights = step_weights(count, steps, config.multi_step_steps)
            scores = {name: value.mean() for name, value in problem.score(path[-1], y).items()}
            return weights @ losses, {**scores, "loss": losses[-1]}

        return loss

    late = of_tasks(loss_of(config.inner), config.tasks_at_once)
    early = of_tasks(loss_of(dataclasses.replace(config.inner, order="first")), config.tasks_at_once)

    def gradient(key: Key, meta: PyTree, net_state: NetState, episodes: Episode, count: Array) -> Any:
        given = (key, meta, net_state, episodes, count)
        if config.first_order_steps == 0:
            return late.of(*given)
        return jax.lax.cond(count < config.first_order_steps, early.of, late.of, *given)

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, length: int) -> Array:
        del code
        which = jnp.minimum(jnp.arange(length), steps - 1)
        rates = jax.tree.map(lambda rate: rate[which], state.meta["rates"])
        return curve_of(
            problem, state.meta["params"], state.net_state, support, x, config.inner, length, rates=rates
        )

    rate = cosine(config.meta_rate, config.final_rate, config.total_steps)
    optimizer = optax.chain(
        optax.clip(config.clip), optax.scale_by_adam(), optax.scale_by_learning_rate(rate)
    )
    return by_gradient(start, Gradient(gradient, late.divides), curve, optimizer)


def example() -> Example:
    """As `lrn.meta.maml.example`."""
    settings = MAMLPlusPlusConfig(
        inner=InnerConfig(steps=2, rate=0.01), total_steps=20, first_order_steps=3, multi_step_steps=5
    )
    return example_of(maml_plus_plus, settings)
