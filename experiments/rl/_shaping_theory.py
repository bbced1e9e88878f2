"""What theory says of shaping: with a potential, tabular learning makes the updates of another start."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from lrn.rl import mdp, tabular
from lrn.rl.env import Env, Step
from lrn.rl.shaping import shaped, with_reward
from lrn.types import Array, Key

TABULAR = "tabular"
METHODS = {"Q-learning": tabular.q_learning, "SARSA": tabular.sarsa}
SLIP = "ends kept"  # the usual mistake: the potential is not 0 after the end of an episode
STATES, ACTIONS, LIMIT, EACH = 8, 3, 20, 10  # an episode has at most LIMIT steps; EACH updates a comparison
DISCOUNT = 0.99


def problem(key: Key) -> tuple[Env, Array]:
    """A random MDP with a terminal state and a time limit; a potential [states], 1 in the terminal state."""
    world_key, potential_key = jax.random.split(key)
    random = mdp.garnet(world_key, STATES, ACTIONS, 3, DISCOUNT)
    end = jnp.arange(STATES) == STATES - 1
    start = jax.nn.one_hot(0, STATES)
    world = mdp.make(random.transitions, random.rewards, start, DISCOUNT, end)
    potential = jnp.where(end, 1.0, jax.random.normal(potential_key, (STATES,)))
    return mdp.as_env(world, time_limit=LIMIT), potential


def kept(env: Env, potential: Array) -> Env:
    """The environment, shaped with the mistake that the potential of a terminal state counts."""

    def reward(observation: Array, action: Array, step: Step) -> Array:
        return step.reward + (DISCOUNT * step.final_observation - observation) @ potential

    return with_reward(env, reward, "potential kept at ends")


def right(env: Env, potential: Array) -> Env:
    """The environment, shaped as it should be."""
    return shaped(env, lambda observation: observation @ potential, DISCOUNT)


def learned(method: Any, env: Env, initial: Array, key: Key, steps: int) -> Array:
    """The values [comparisons, states, actions] after each ten of ``steps`` updates."""
    settings = tabular.ControlConfig(
        discount=DISCOUNT, step_size=tabular.Schedule(0.1), epsilon=tabular.Schedule(0.2), interactions=EACH
    )
    agent, looks = method(env, settings, initial), -(-steps // EACH)

    def body(state: Any, t: Array) -> Any:
        state, _ = agent.step(jax.random.fold_in(key, t), state, None)
        return state, state.q

    first = agent.init(jax.random.fold_in(key, looks), None)
    return jax.lax.scan(body, first, jnp.arange(looks))[1]


def deviations(seed: Any, steps: int) -> dict[str, Array]:
    """The largest difference between learning with shaping and learning that starts at the potential.

    The two make the same updates (Wiewiora 2003), so the values with shaping plus the potential are those
    without it, step by step. With the mistake (`SLIP`) they are not.

    Args:
        seed: of the MDP, the potential and the play.
        steps: of the environment, each followed by an update.

    Returns:
        By method, and for the mistake, the largest difference over all entries and updates.
    """
    world_key, key = jax.random.split(jax.random.key(seed))
    env, potential = problem(world_key)
    start = jnp.broadcast_to(potential[:, None], (STATES, ACTIONS))

    def values(method: Any, change: Any, initial: Any, potential: Any) -> Array:
        return learned(method, change(env, potential), initial, key, steps)

    found = {}
    changes = [(name, method, right) for name, method in METHODS.items()]
    for name, method, change in [*changes, (SLIP, tabular.q_learning, kept)]:
        # Both at once, which is one program; a potential of zero changes no reward.
        both = jnp.stack([jnp.zeros_like(start), start]), jnp.stack([potential, jnp.zeros(STATES)])
        with_shaping, started = jax.vmap(partial(values, method, change))(*both)
        found[name] = jnp.abs(with_shaping + start[None] - started).max()
    return found
