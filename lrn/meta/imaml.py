"""Implicit MAML (Rajeswaran et al. 2019): a meta-gradient that does not depend on the inner loop's path.

The inner loop solves ``min_phi loss(phi) + strength / 2 * |phi - start|^2``. At the solution the gradient is
zero, and this condition alone determines the solution's derivative. Conjugate gradients compute the
derivative from products with the Hessian, so memory does not grow with the number of inner steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

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

    inner: the solver of the inner problem; its order does not matter. The meta-gradient assumes that the
        solver converges: ``steps * rate * strength`` should be a few units.
    strength: the strength of the pull towards the initialization. The larger it is, the closer the adapted
        parameters stay to the initialization.
    cg_steps: the number of conjugate gradient steps for the derivative.
    meta_rate, optimizer, tasks_at_once: as for `lrn.meta.maml.MAMLConfig`.
    """

    inner: InnerConfig = InnerConfig(steps=16, rate=0.1)
    strength: float = 2.0
    cg_steps: int = 5
    meta_rate: float = 1e-3
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam
    tasks_at_once: int = 0

    def __post_init__(self) -> None:
        check_inner("inner", self.inner)
        check.positive("strength", self.strength)
        check.positive("meta_rate", self.meta_rate)
        check.integer("cg_steps", self.cg_steps, low=1)
        check.integer("tasks_at_once", self.tasks_at_once, low=0)


def proximal(loss: Loss, start: Params, strength: Any) -> Loss:
    """The loss ``loss(phi, support) + strength / 2 * |phi - start|^2``, a function of phi and support."""

    def pulled(params: Params, support: Batch) -> Array:
        apart = jax.tree.map(lambda a, b: a - b, params, start)
        squares = optax.tree.norm(apart, squared=True)
        return loss(params, support) + 0.5 * jnp.asarray(strength, squares.dtype) * squares

    return pulled


def implicit_adapt(
    loss: Loss, params: Params, support: Batch, config: InnerConfig, strength: Any, cg_steps: int = 5
) -> Params:
    """`lrn.meta.adapt.adapt` on the loss with a pull to ``params``, differentiated implicitly.

    The derivative, in reverse mode, is right where the inner loop has converged, to the precision of
    ``cg_steps`` conjugate gradient steps. The derivative by ``params`` is that of eq. 6 and 7 of the paper.
    The derivatives by ``support``, ``strength`` and arrays over which ``loss`` closes follow from the same
    condition, ``grad loss(phi) + strength * (phi - params) = 0``. The derivative by the inner rate is 0.

    Args:
        loss: ``loss(params, support) -> scalar``.
        params: the initialization, to which the pull goes.
        support: any pytree that ``loss`` takes.
        config: the settings of the inner loop.
        strength: the strength of the pull.
        cg_steps: the number of conjugate gradient steps.

    Returns:
        The adapted parameters, of the form of ``params``.
    """

    # The loss may close over traced arrays, and a function with a custom derivative must not close over
    # any. So these arrays become arguments.
    closed = jax.make_jaxpr(loss)(params, support)

    def pure(params: Params, support: Batch, *consts: Array) -> Array:
        leaves = jax.tree.leaves((params, support))
        return jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, list(consts)))(*leaves)[0]

    def pulled(start: Params, strength: Any, consts: Any) -> Loss:
        return proximal(lambda p, s: pure(p, s, *consts), start, strength)

    @jax.custom_vjp
    def solve(start: Params, support: Batch, strength: Any, consts: Any) -> Params:
        return adapt(pulled(start, strength, consts), start, support, config)

    def forward(*given: Any) -> tuple[Params, Any]:
        end = solve(*given)
        return end, (end, given)

    def backward(kept: Any, cotangent: Params) -> Any:
        end, given = kept
        _, support, strength, consts = given

        # Conjugate gradients need one dtype; parameters may have several.
        widest = jnp.result_type(*jax.tree.leaves(end))

        def wide(v: Params) -> Params:
            return jax.tree.map(lambda x: x.astype(widest), v)

        def like_end(v: Params) -> Params:
            return jax.tree.map(lambda x, e: x.astype(e.dtype), v, end)

        def curvature(v: Params) -> Params:
            slope = jax.grad(lambda p: pure(p, support, *consts))
            product = wide(jax.jvp(slope, (end,), (like_end(v),))[1])
            return jax.tree.map(lambda h, x: h / strength.astype(widest) + x, product, v)

        right_side = wide(cotangent)
        solution = jax.scipy.sparse.linalg.cg(curvature, right_side, maxiter=cg_steps, tol=1e-6)[0]
        # Where the right side or its square is not finite, cg would return 0.
        sound = jnp.isfinite(optax.tree.norm(right_side, squared=True))
        back = like_end(jax.tree.map(lambda x: jnp.where(sound, x, jnp.nan), solution))

        def condition(start: Params, support: Batch, strength: Any, consts: Any) -> Params:
            return jax.grad(pulled(start, strength, consts))(end, support)

        _, pull = jax.vjp(condition, *given)
        _, *others = pull(jax.tree.map(lambda x: -x / strength.astype(x.dtype), back))
        return back, *others

    solve.defvjp(forward, backward)
    return solve(params, support, jnp.asarray(strength, jnp.result_type(float)), closed.consts)


def imaml(problem: Problem, config: IMAMLConfig) -> MetaLearner:
    """MAML by implicit differentiation; arguments and metrics as for `lrn.meta.maml.maml`."""

    def support_loss(net_state: NetState, key: Key | None = None) -> Loss:
        # All inner steps use one draw of dropout, because they solve one problem. The key is kept as its
        # bits: the check for reused keys would take repeated use of the key itself for a mistake.
        bits = None if key is None else jax.random.key_data(key)

        def loss(params: Params, support: Batch) -> Array:
            again = (
                None
                if key is None or bits is None
                else jax.random.wrap_key_data(bits, impl=jax.random.key_impl(key))
            )
            return problem.loss_on(params, net_state, support, support, again)

        return loss

    def loss(key: Key, meta: Params, net_state: NetState, episode: Episode, count: Array) -> Any:
        del count
        support = episode.support
        inner_key, outer_key = problem.training_keys(key, meta["body"], net_state, support["x"])
        params = implicit_adapt(
            support_loss(net_state, inner_key), meta, support, config.inner, config.strength, config.cg_steps
        )
        return judged(problem, params, net_state, episode, outer_key)

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
    """The network and tasks of `lrn.meta.maml.example`, with gradient descent as the outer optimizer.

    Adam's first step is nearly the sign of the gradient, which the rounding of conjugate gradients can flip.
    """
    return example_of(imaml, IMAMLConfig(inner=InnerConfig(steps=3), optimizer=optax.sgd))
