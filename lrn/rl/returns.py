"""Returns and advantages of a stretch of experience, with terminations and time limits told apart.

All arrays are time-major, [time, ...], and have the same shape. A stretch may span several episodes. Step t
leads from observation t to final observation t, before any reset. The functions share these arguments:

rewards: reward of step t.
values: V(observation_t).
next_values: V(final_observation_t). Where no episode ended this is ``values[t + 1]``.
terminated: whether the task ended with step t. What follows then has value 0, and ``next_values`` is ignored
    there, even if infinite or NaN.
ended: ``terminated | truncated``. After a truncation (a time limit) the episode would have gone on, so the
    return is completed with ``next_values``. No reward of one episode enters the return of an earlier one.

A return that reaches the end of the stretch is completed with ``next_values`` too. Gradients flow through all
functions: wrap targets in ``jax.lax.stop_gradient``.

    advantages = gae(rewards, values, next_values, terminated, ended, discount=0.99, lambda_=0.95)
    targets = advantages + values
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array


def discounted_returns(rewards: ArrayLike, ended: ArrayLike, discount: ArrayLike) -> Array:
    """Monte-Carlo returns [time, ...]: discounted rewards up to the end of the episode, or of the stretch.

    Nothing is bootstrapped. `lambda_returns` with ``lambda_=1`` completes returns that were cut short.

    Raises:
        InputError: the shapes differ, or there is no time axis.
    """
    rewards, ended = _same_shape(rewards=rewards, ended=ended)
    return _backward(rewards, discount * (1 - ended), jnp.zeros(rewards.shape[1:], rewards.dtype))


def n_step(
    rewards: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    ended: ArrayLike,
    discount: ArrayLike,
    n: int,
) -> Array:
    """n-step returns [time, ...], of fewer steps where an episode ends (Sutton and Barto 2018, eq. 7.1).

    Raises:
        InputError: n is below 1, the shapes differ, or there is no time axis.
    """
    check.integer("n", n, low=1)
    rewards, next_values, terminated, ended = _same_shape(
        rewards=rewards, next_values=next_values, terminated=terminated, ended=ended
    )
    live = discount * (1 - terminated)
    result = rewards + live * next_values
    for _ in range(min(n, rewards.shape[0]) - 1):  # each pass reaches one step further
        later = jnp.concatenate([result[1:], next_values[-1:]])
        result = rewards + live * jnp.where(ended > 0, next_values, later)
    return result


def lambda_returns(
    rewards: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    ended: ArrayLike,
    discount: ArrayLike,
    lambda_: ArrayLike,
) -> Array:
    """lambda-returns [time, ...] (Sutton and Barto 2018, eq. 12.2): lambda 0 is one step, 1 is Monte-Carlo.

    ``G_t = r_t + discount * (1 - terminated_t) * ((1 - lambda) * next_v_t + lambda * G_{t+1})``, with
    ``next_v_t`` in place of ``G_{t+1}`` where the episode or the stretch ends.

    Raises:
        InputError: the shapes differ, or there is no time axis.
    """
    rewards, next_values, terminated, ended = _same_shape(
        rewards=rewards, next_values=next_values, terminated=terminated, ended=ended
    )
    live = discount * (1 - terminated)
    carried = lambda_ * (1 - ended)
    return _backward(rewards + live * (1 - carried) * next_values, live * carried, next_values[-1])


def gae(
    rewards: ArrayLike,
    values: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    ended: ArrayLike,
    discount: ArrayLike,
    lambda_: ArrayLike,
) -> Array:
    """Generalized advantage estimates [time, ...] (Schulman et al. 2016, eq. 16).

    ``delta_t = r_t + discount * (1 - terminated_t) * next_v_t - v_t`` and
    ``A_t = delta_t + discount * lambda * (1 - ended_t) * A_{t+1}``. ``A_t + v_t`` is the lambda-return.

    Raises:
        InputError: the shapes differ, or there is no time axis.
    """
    rewards, values, next_values, terminated, ended = _same_shape(
        rewards=rewards, values=values, next_values=next_values, terminated=terminated, ended=ended
    )
    delta = rewards + discount * (1 - terminated) * next_values - values
    return _backward(delta, discount * lambda_ * (1 - ended), jnp.zeros_like(delta[-1]))


class VTrace(NamedTuple):
    """Results of V-trace, leaves [time, ...].

    targets: targets of the values.
    advantages: weights of the policy gradient, with the clipped ratio rho included.
    """

    targets: Array
    advantages: Array


def vtrace(
    rewards: ArrayLike,
    values: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    ended: ArrayLike,
    ratios: ArrayLike,
    discount: ArrayLike,
    lambda_: ArrayLike = 1.0,
    rho_bar: ArrayLike = 1.0,
    c_bar: ArrayLike = 1.0,
) -> VTrace:
    """V-trace targets and advantages, each [time, ...] (Espeholt et al. 2018, eq. 1 and section 4.2).

    Args:
        rewards, values, next_values, terminated, ended: see the module.
        ratios: importance ratios of the actions taken, pi / mu: probability under the target policy over
            probability under the behavior policy.
        discount: discount per step.
        lambda_: shortens the traces (their remark 2). Where all ratios are 1, targets are lambda-returns.
        rho_bar: largest ratio of a temporal difference.
        c_bar: largest ratio of a trace.

    Raises:
        InputError: the shapes differ, or there is no time axis.
    """
    rewards, values, next_values, terminated, ended, ratios = _same_shape(
        rewards=rewards,
        values=values,
        next_values=next_values,
        terminated=terminated,
        ended=ended,
        ratios=ratios,
    )
    live = discount * (1 - terminated)
    rho = jnp.minimum(rho_bar, ratios)
    traces = lambda_ * jnp.minimum(c_bar, ratios) * (1 - ended)
    delta = rho * (rewards + live * next_values - values)
    targets = values + _backward(delta, live * traces, jnp.zeros_like(delta[-1]))
    # As in lambda-returns: the target of the next step with weight lambda, its value with weight 1 - lambda.
    later = jnp.concatenate([targets[1:], next_values[-1:]])
    share = lambda_ * (1 - ended)
    following = share * later + (1 - share) * next_values
    return VTrace(targets, rho * (rewards + live * following - values))


def _backward(terms: Array, factors: ArrayLike, last: Array) -> Array:
    """``x_t = terms_t + factors_t * x_{t+1}``, computed backward from ``last`` after the end."""

    def step(x: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        x = now[0] + now[1] * x
        return x, x

    # On CPU `associative_scan` (log2(time) passes over memory) and an unrolled scan are 2 to 6 times slower.
    return jax.lax.scan(step, last, (terms, jnp.asarray(factors)), reverse=True)[1]


def _same_shape(**arrays: ArrayLike) -> list[Array]:
    """Check that the shapes agree, and convert the arrays to the dtype of the rewards, float32 at least.

    ``next_values`` are set to 0 where ``terminated``.
    """
    (name, first), *_ = arrays.items()
    shape = jnp.shape(first)
    if not shape:
        raise check.InputError(f"{name} must have a time axis, [time, ...], got a scalar; give it one.")
    for other, array in arrays.items():
        if jnp.shape(array) != shape:
            raise check.InputError(
                f"{other} has shape {jnp.shape(array)}, but {name} {shape}; give both as [time, ...]."
            )
    dtype = jnp.result_type(jnp.asarray(first), jnp.float32)
    converted = {name: jnp.asarray(array, dtype) for name, array in arrays.items()}
    if "next_values" in converted:  # not a product with 0, which would turn infinity into NaN
        converted["next_values"] = jnp.where(converted["terminated"] > 0, 0.0, converted["next_values"])
    return list(converted.values())
