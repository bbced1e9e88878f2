"""Implicit MAML (Rajeswaran et al. 2019): a meta-gradient that does not see the inner loop's path.

The inner loop solves ``min_phi loss(phi) + strength / 2 * |phi - start|^2``. Whatever solved it, the
solution's derivative follows from the condition that holds there, by conjugate gradients on products with the
Hessian: memory does not grow with the inner steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrn import check
from lrn.config import config
from lrn.meta.adapt import InnerConfig, Loss, adapt, adapt_path, check_inner
from lrn.meta.episode import Episode
from lrn.meta.inner import judged
from lrn.meta.learner import MetaLearner, MetaState, by_gradient, of_tasks
from lrn.meta.maml import example_of
from lrn.meta.problem import Problem
from lrn.types import Array, Batch, Example, Key, NetState, Params, PyTree


@config
class IMAMLConfig:
    """Settings.

    inner: the solver of the inner problem; its order does not matter. The meta-gradient assumes that it gets
        there: ``steps * rate * strength`` should be a few units.
    strength: of the pull towards the initialisation; the larger, the closer the adapted parameters stay.
    cg_steps: conjugate gradient steps of the derivative.
    meta_rate, optimizer, tasks_at_once: as for `lrn.meta.maml`.
    """

    inner: InnerConfig = InnerConfig(steps=16, rate=0.1)
    strength: float = 2.0
    cg_steps: int = 5
    meta_rate: float = 1e-3
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam
    tasks_at_once: int = 0

    def __post_init__(self):
        check_inner("inner", self.inner)
        check.positive("strength", self.strength)
        check.positive("meta_rate", self.meta_rate)
        check.integer("cg_steps", self.cg_steps, low=1)
        check.integer("tasks_at_once", self.tasks_at_once, low=0)


def proximal(loss: Loss, start: Params, strength: Any) -> Loss:
    """``loss(phi, support) + strength / 2 * |phi - start|^2``."""

    def pulled(params: Params, support: Batch) -> Array:
        apart = jax.tree.map(lambda a, b: a - b, params, start)
        return loss(params, support) + 0.5 * strength * optax.tree.norm(apart, squared=True)

    return pulled


def implicit_adapt(
    loss: Loss, params: Params, support: Batch, config: InnerConfig, strength: Any, cg_steps: int = 5
) -> Params:
    """As `lrn.meta.adapt.adapt` on the loss with the pull to ``params``, differentiated implicitly.

    The derivative, with respect to ``params`` alone and in reverse mode, is right where the inner loop has
    converged, and to the precision of ``cg_steps`` conjugate gradient steps: eq. 6 and 7 of the paper.
    """

    # What the loss closes over may be traced; a function with a derivative of its own may close over nothing.
    pure, consts = jax.closure_convert(loss, params, support)

    @jax.custom_vjp
    def solve(start: Params, support: Batch, strength: Any, consts: Any) -> Params:
        pulled = proximal(lambda p, s: pure(p, s, *consts), start, strength)
        return adapt(pulled, start, support, config)

    def forward(start: Params, support: Batch, strength: Any, consts: Any) -> tuple[Params, Any]:
        end = solve(start, support, strength, consts)
        return end, (end, support, strength, consts)

    def backward(kept: Any, cotangent: Params) -> Any:
        end, support, strength, consts = kept

        def curvature(v: Params) -> Params:
            slope = jax.grad(lambda p: pure(p, support, *consts))
            return jax.tree.map(lambda h, x: h / strength + x, jax.jvp(slope, (end,), (v,))[1], v)

        back = jax.scipy.sparse.linalg.cg(curvature, cotangent, maxiter=cg_steps, tol=1e-6)[0]
        return back, *jax.tree.map(_no_slope, (support, strength, consts))

    solve.defvjp(forward, backward)
    return solve(params, support, jnp.asarray(strength, jnp.result_type(float)), consts)


def _no_slope(x: Array) -> Any:
    """The cotangent of what nothing depends on."""
    if jnp.issubdtype(jnp.result_type(x), jnp.floating):
        return jnp.zeros_like(x)
    return np.zeros(jnp.shape(x), jax.dtypes.float0)


def imaml(problem: Problem, config: IMAMLConfig) -> MetaLearner:
    """MAML by implicit differentiation; metrics as for `lrn.meta.maml.maml`."""

    def support_loss(net_state: NetState) -> Loss:
        return lambda params, support: problem.loss_on(params, net_state, support, support)

    def loss(key: Key, meta: Params, net_state: NetState, episode: Episode, count: Array) -> Any:
        del key, count
        params = implicit_adapt(
            support_loss(net_state), meta, episode.support, config.inner, config.strength, config.cg_steps
        )
        return judged(problem, params, net_state, episode)

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        del code
        pulled = proximal(support_loss(state.net_state), state.meta, config.strength)
        longer = dataclasses.replace(config.inner, steps=steps)
        return adapt_path(
            pulled, state.meta, support, longer, lambda p: problem.predict(p, state.net_state, support, x)
        )[1]

    return by_gradient(
        problem.init, of_tasks(loss, config.tasks_at_once), curve, config.optimizer(config.meta_rate)
    )


def example() -> Example:
    """As `lrn.meta.maml.example`, by plain gradient descent.

    Adam's first step is nearly the gradient's sign, hence that of the conjugate gradients' rounding.
    """
    return example_of(imaml, IMAMLConfig(inner=InnerConfig(steps=3), optimizer=optax.sgd))
