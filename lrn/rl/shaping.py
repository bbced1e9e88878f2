"""Other rewards for the same environment: bonuses, and shaping by potentials, which keeps the best policies.

The functions wrap an `Env` and leave its dynamics and observations unchanged. Evaluate an agent that was
trained on the wrapped environment on the original one (`lrn.rl.evaluate.evaluator` takes the environment as
an argument of its own).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.rl.env import Discrete, Env, Step, as_float
from lrn.types import Array, Key, PyTree

Potential = Callable[[Array], Array]
Reward = Callable[[Array, Array, Step], Array]


class Watched(NamedTuple):
    """The state of an environment with another reward.

    state: state of the environment within.
    observation: the latest observation, which the reward needs.
    """

    state: PyTree
    observation: Array


def with_reward(env: Env, reward: Reward, name: str) -> Env:
    """The environment with another reward.

    Args:
        env: the environment.
        reward: ``reward(observation, action, step) -> scalar``. ``step.reward`` is the reward of ``env``, and
            ``step.final_observation`` the observation that the action led to. Both observations are floats,
            since bytes would wrap around in arithmetic.
        name: name of the new environment, for messages.

    Raises:
        InputError: the reward is not a scalar.
    """

    def reset(key: Key) -> tuple[Array, Watched]:
        observation, state = env.reset(key)
        return observation, Watched(state, observation)

    def move(key: Key, state: Watched, action: Array) -> tuple[Watched, Step]:
        after, step = env.move(key, state.state, action)
        paid = jnp.asarray(_paid(reward, state.observation, action, step), jnp.float32)
        return Watched(after, step.final_observation), step._replace(reward=paid)

    _check_scalar(env, reward)
    return env._replace(name=name, reset=reset, move=move, render=env.render_within())


def _paid(reward: Reward, observation: Array, action: Array, step: Step) -> Array:
    after = as_float(step.final_observation)
    return reward(as_float(observation), action, step._replace(final_observation=after))


def shaping_term(discount: Any, terminated: Array, potential: Array, next_potential: Array) -> Array:
    """``discount * Phi(s') - Phi(s)``, with Phi(s') = 0 where s' is terminal (Ng et al. 1999, eq. 2).

    Without the zero, the return of an episode of T steps would change by ``discount^T Phi(s_T)``, and the
    agent would prefer to end where the potential is high. A truncated episode is not over, so Phi(s') stays
    there, as the value of s' does.

    Args:
        discount: discount per step.
        terminated: bool [...], whether s' is terminal.
        potential: Phi(s), [...].
        next_potential: Phi(s'), [...].
    """
    return discount * jnp.where(terminated, 0.0, next_potential) - potential


def shaped(env: Env, potential: Potential, discount: Any) -> Env:
    """Add potential-based shaping, which leaves the ranking of policies unchanged (Ng, Harada, Russell 1999).

    Shaping lowers the value of s by Phi(s) for every policy. Learning therefore starts as if Q were
    initialized to Phi (Wiewiora 2003).

    Args:
        env: the environment.
        potential: ``potential(observation) -> scalar``. Any function is allowed; the closer to the optimal
            value, the more it helps.
        discount: discount of the agent, in [0, 1]. With another discount the ranking of policies may change.

    Raises:
        InputError: the discount is out of range, or the potential is not a scalar.
    """
    check.between("discount", discount, 0, 1)

    def reward(observation: Array, action: Array, step: Step) -> Array:
        now, later = potential(observation), potential(step.final_observation)
        return step.reward + shaping_term(discount, step.terminated, now, later)

    return with_reward(env, reward, f"{env.name} (shaped)")


def with_bonus(env: Env, bonus: Callable[[Array, Array, Array], Array]) -> Env:
    """Add a bonus to each reward.

    A bonus that is not a difference of potentials can make another policy the best one: a bonus for speed
    pays for going around in circles (Randlov and Alstrom 1998).

    Args:
        env: the environment.
        bonus: ``bonus(observation, action, final_observation) -> scalar``.

    Raises:
        InputError: the bonus is not a scalar.
    """

    def reward(observation: Array, action: Array, step: Step) -> Array:
        return step.reward + bonus(observation, action, step.final_observation)

    return with_reward(env, reward, f"{env.name} (with a bonus)")


def _check_scalar(env: Env, reward: Reward) -> None:
    def once(key: Key) -> Any:
        reset_key, move_key = jax.random.split(key)
        observation, state = env.reset(reset_key)
        action = jnp.int32(0) if isinstance(env.actions, Discrete) else jnp.zeros(env.actions.shape)
        return _paid(reward, observation, action, env.move(move_key, state, action)[1])

    out = jax.eval_shape(once, jax.eval_shape(lambda: jax.random.key(0)))
    if getattr(out, "shape", ()) != ():
        raise check.InputError(
            f"a reward for {env.name} must be a scalar, got shape {list(out.shape)}; it sees one transition, "
            "so sum or index what it returns."
        )
