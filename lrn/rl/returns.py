"""Returns and advantages from a stretch of experience, with ends and cuts of episodes told apart.

All arrays are time-major, [time, ...], of one shape, and may span several episodes. Step t led from
observation t to ``final_observation`` t, before any reset:

values: V(observation_t).
next_values: V(final_observation_t). Where no episode ended this is ``values[t + 1]``.
terminated: the episode came to an end that is part of the task; what follows is worth 0, whatever
    ``next_values`` says there, be it infinite or not a number.
ended: ``terminated | truncated``. After a truncation (a time limit) the episode would have gone on, so the
    return is completed with ``next_values``; nothing is ever carried from one episode into the one before.

The last step of the stretch is completed in the same way. No gradient is stopped here: wrap what is to be a
target in ``jax.lax.stop_gradient``.

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
    """Monte-Carlo returns: the discounted rewards up to the end of the episode, or of the stretch.

    Nothing is bootstrapped; use `lambda_returns` with ``lambda_=1`` to complete what was cut short.

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
    """n-step returns, [time, ...] (Sutton and Barto 2018, eq. 7.1); fewer steps where an episode ends.

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
    """lambda-returns (Sutton and Barto 2018, eq. 12.2), [time, ...]; 0 is one step, 1 is Monte-Carlo.

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
    """Generalized advantage estimates, [time, ...] (Schulman et al. 2016, eq. 16).

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
    """Targets to regress the values on, and advantages that weight the policy gradient (rho included)."""

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

    ratios: target policy's probability of the action taken over the behavior's, pi / mu.
    rho_bar, c_bar: where the ratios of the temporal differences, and of the traces, are cut.
    lambda_: shortens the traces further (their remark 2). At ratio 1 the targets are lambda-returns.

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
    # As in lambda-returns, what follows is worth its target in the share lambda, its value in the rest.
    later = jnp.concatenate([targets[1:], next_values[-1:]])
    share = lambda_ * (1 - ended)
    following = share * later + (1 - share) * next_values
    return VTrace(targets, rho * (rewards + live * following - values))


def _backward(terms: Array, factors: ArrayLike, last: Array) -> Array:
    """``x_t = terms_t + factors_t * x_{t+1}`` from the end, where x is ``last``."""

    def step(x: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        x = now[0] + now[1] * x
        return x, x

    # On CPU `associative_scan`, log2(time) passes over memory, and unrolling are two to six times slower.
    return jax.lax.scan(step, last, (terms, jnp.asarray(factors)), reverse=True)[1]


def _same_shape(**arrays: ArrayLike) -> list[Array]:
    """The arrays in the dtype of the rewards, all floating, once their shapes agree.

    Values of what follows a termination are 0.
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
    given = {name: jnp.asarray(array, dtype) for name, array in arrays.items()}
    if "next_values" in given:  # a product with 0 would leave what is infinite
        given["next_values"] = jnp.where(given["terminated"] > 0, 0.0, given["next_values"])
    return list(given.values())
