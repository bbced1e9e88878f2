"""MAML++ (Antoniou, Edwards and Storkey 2019): changes to MAML that make its training stable.

- Learned inner rates, one for each array and inner step (LSLR).
- A loss after every inner step (MSL), with equal weights at first; the weight moves to the last step's loss.
- First order at first, second order later (DA). A single lane takes cheap steps first. Lanes under
  vmap compute both gradients at every meta-step and discard one.
- The outer rate falls by a cosine (CA), and the elements of the outer gradient are clipped.

BatchNorm's statistics and bias for each inner step are not implemented: see `lrn.meta.problem`
for the choices.
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

    inner: the inner loop. All learned rates begin at its rate; its order is that after ``first_order_steps``.
    meta_rate, final_rate: the learning rate of Adam at first, and after ``total_steps``.
    total_steps: the number of meta-steps of the training.
    first_order_steps: the number of meta-steps of first order at the beginning.
    multi_step_steps: the number of meta-steps over which the loss moves to the last inner step; 0 for
        only the last inner step's loss from the start.
    learn_rates: whether the inner rates are learned.
    clip: the largest absolute value of an element of the gradient. The authors clip at 10 on
        miniImageNet, and do not clip on Omniglot.
    tasks_at_once: as for `lrn.meta.maml.MAMLConfig`.
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

    def __post_init__(self) -> None:
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
    """The weights of the losses after each inner step, [steps]; they sum to 1.

    The weights are equal at first. All but the last fall linearly to .03 / steps over ``over``
    meta-steps, as in the authors' ``get_per_step_loss_importance_vector``, and are 0 after that.

    Args:
        count: the number of meta-steps taken.
        steps: the number of inner steps.
        over: the number of meta-steps over which the weights fall.
    """
    if over == 0 or steps == 1:
        return jnp.zeros(steps).at[-1].set(1.0)
    least = 0.03 / steps
    weight = jnp.maximum(1 / steps - count / over / steps, least)
    weight = jnp.where(count < over, weight, 0.0)
    return jnp.full(steps, weight).at[-1].set(1 - (steps - 1) * weight)


def maml_plus_plus(problem: Problem, config: MAMLPlusPlusConfig) -> MetaLearner:
    """MAML with learned rates, a loss after every step, and annealing from first to second order.

    The meta-parameters are ``{"params": ..., "rates": ...}``, with rates [steps] for each array of
    parameters. An adaptation longer than in training uses the last step's rates for all further steps.
    Arguments and metrics are those of `lrn.meta.maml.maml`; ``loss`` is that after the last inner step.
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
    """The network and tasks of `lrn.meta.maml.example`."""
    settings = MAMLPlusPlusConfig(
        inner=InnerConfig(steps=2, rate=0.01), total_steps=20, first_order_steps=3, multi_step_steps=5
    )
    return example_of(maml_plus_plus, settings)
