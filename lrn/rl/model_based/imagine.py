"""Playing in a model: what an ensemble imagines when a policy or a plan acts in it.

A particle is one imagined course of events, and which member moves it is how the ensemble's disagreement
enters (Chua et al. 2018, section 5.1): TS1 deals the particles out anew at every step, TSinf once for all.
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
    """What of a task needs no learning; None is learned (the reward), or never happens (an end).

    reward: ``reward(observation, action, next_observation) -> [...]``; arguments have shapes [..., size] and
        [..., *shape of the action], in the environment's units.
    terminates: of the same arguments, whether nothing can follow: bool [...].
    """

    reward: Callable[[Array, Array, Array], Array] | None = None
    terminates: Callable[[Array, Array, Array], Array] | None = None


class Imagined(NamedTuple):
    """Steps in a model, leaves [length, particles, n, ...]; actions in [-1, 1].

    alive: whether the course of events had not ended before; what is imagined after an end does not count.
    """

    observation: Array
    action: Array
    reward: Array
    terminated: Array
    final_observation: Array
    alive: Array

    def returns(self) -> Array:
        """Undiscounted, mean over particles: [n]."""
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
        env: gives the units of actions.
        dynamics: an ensemble.
        model: its state.
        key: of the noise and of the dealing.
        observation: [particles, n, size], where to begin; particles are a multiple of the members. All n
            share one draw of noise for each particle, so that plans side by side are compared under the same
            luck (Ng & Jordan 2000).
        act: ``act(x, observation [particles, n, size]) -> action [particles, n, dim]`` in [-1, 1].
        xs: leaves [length, ...], one ``x`` for each step.
        length: steps.
        known: what need not be learned.
        propagation: "ts1" or "tsinf".

    Returns:
        What happened. With "ts1" a place along the axis of particles is not one course from step to step.

    Raises:
        InputError: the particles cannot be dealt out evenly, or the propagation is not known.
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
    """Actions [..., dim] of [-1, 1] in the environment's units and shape, [..., *shape]."""
    flat = to_env(env, action.reshape(-1, action.shape[-1]))
    return flat.reshape(*action.shape[:-1], *flat.shape[1:])
