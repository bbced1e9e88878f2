"""Playing in a learned model: imagined steps of a policy or a plan in an ensemble.

A particle is one imagined course of events. Each step of a particle is predicted by one member, so the
disagreement of the ensemble enters through the choice of the member (Chua et al. 2018, section 5.1): TS1
assigns particles to members anew at every step, TSinf once at the start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.rl.continuous import to_env
from lrn.rl.env import Env, as_float
from lrn.rl.model_based.dynamics import Dynamics
from lrn.types import Array, Key, PyTree

PROPAGATIONS = ("ts1", "tsinf")


class Known(NamedTuple):
    """Known parts of a task, which the model need not learn.

    reward: ``reward(observation, action, next_observation) -> [...]``, the reward. Observations are
        [..., size], actions [..., *shape] in the environment's units. With None the model learns the reward.
    terminates: ``terminates(observation, action, next_observation) -> bool [...]``, whether the episode
        terminates. With None no imagined episode terminates.
    """

    reward: Callable[[Array, Array, Array], Array] | None = None
    terminates: Callable[[Array, Array, Array], Array] | None = None


class Imagined(NamedTuple):
    """Imagined steps, leaves [length, particles, n, ...].

    observation: observations before the actions.
    action: actions in [-1, 1].
    reward: rewards.
    terminated: bool, whether the step terminated the episode.
    final_observation: observations that the actions led to.
    alive: bool, whether the episode had not terminated before this step; other steps do not count.
    """

    observation: Array
    action: Array
    reward: Array
    terminated: Array
    final_observation: Array
    alive: Array

    def returns(self) -> Array:
        """Undiscounted returns, the mean over particles, [n]."""
        return jnp.sum(self.reward * self.alive, 0).mean(0)


def imagine(
    env: Env,
    dynamics: Dynamics,
    model: PyTree,
    key: Key,
    observation: Array,
    act: Callable[[Any, Array], Array],
    xs: PyTree,
    length: int,
    known: Known | None = None,
    propagation: str = "ts1",
) -> Imagined:
    """Play ``length`` steps in a model.

    Args:
        env: the environment, which gives the units of actions.
        dynamics: the ensemble.
        model: its learned model.
        key: key of the noise and of the assignment of particles to members.
        observation: first observations, [particles, n, size]; particles must be a multiple of the members.
            All n share the noise of a particle, so that n plans are compared under the same random numbers
            (Ng & Jordan 2000).
        act: ``act(x, observation [particles, n, size]) -> action [particles, n, dim]`` in [-1, 1].
        xs: inputs of ``act``, leaves [length, ...], one ``x`` for each step.
        length: number of steps.
        known: known parts of the task.
        propagation: "ts1" or "tsinf".

    Returns:
        The imagined steps. With "ts1" the particles are permuted at every step, so an index along the axis of
        particles does not follow one course of events.

    Raises:
        InputError: particles are no multiple of the members, or there is no such propagation.
    """
    observation = as_float(observation)
    particles, n, size = observation.shape
    known = known or Known()
    check.choice("propagation", propagation, PROPAGATIONS)
    if particles % dynamics.members:
        raise check.InputError(
            f"particles must be a multiple of the {dynamics.members} members of the ensemble, "
            f"got {particles}; choose such a number."
        )
    deal_key, noise_key = jax.random.split(key)
    deals = jnp.argsort(jax.random.uniform(deal_key, (length, particles)), -1)
    noise = jax.random.normal(noise_key, (length, particles, 1, size + 1))

    def by_member(x: Array) -> Array:
        return x.reshape(dynamics.members, -1, x.shape[-1])

    def step(carry: tuple[Array, Array], t: tuple[PyTree, Array, Array]):
        (observation, alive), (x, deal, noise) = carry, t
        if propagation == "ts1":
            observation, alive = observation[deal], alive[deal]
        action = act(x, observation)
        noise = jnp.broadcast_to(noise, (particles, n, size + 1))
        moved, reward = dynamics.sample(model, by_member(noise), by_member(observation), by_member(action))
        after, reward = moved.reshape(particles, n, size), reward.reshape(particles, n)
        seen = (observation, in_units(env, action), after)
        reward = reward if known.reward is None else known.reward(*seen)
        ends = jnp.zeros_like(alive) if known.terminates is None else known.terminates(*seen)
        return (after, alive & ~ends), Imagined(observation, action, reward, ends, after, alive)

    alive = jnp.ones((particles, n), bool)
    _, rows = jax.lax.scan(step, (observation, alive), (xs, deals, noise), length=length)
    return rows


def in_units(env: Env, action: Array) -> Array:
    """Convert actions [..., dim] in [-1, 1] to the environment's units and shape, [..., *shape]."""
    flat = to_env(env, action.reshape(-1, action.shape[-1]))
    return flat.reshape(*action.shape[:-1], *flat.shape[1:])
