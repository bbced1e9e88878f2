"""Whole episodes of one task, and what they say about each action."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn.meta.rl.baseline import fit_values
from lrn.rl import play, returns
from lrn.rl.env import Env, as_float
from lrn.rl.policy_head import PolicyHead
from lrn.rl.reinforce import first_episodes
from lrn.rl.running import alike, average
from lrn.types import Array, Key, Net, NetState, Params


class Seen(NamedTuple):
    """Episodes of one task; leaves [time, episodes, ...], constants to any derivative.

    action: as sampled. reward, advantage: 0 after the end. counted: 1 up to and with the end, 0 after it.
    ended: whether the episode ends with this step, or a later one played on. scale: what the advantages
    were divided by, a scalar.
    """

    observation: Array
    action: Array
    reward: Array
    advantage: Array
    counted: Array
    ended: Array
    scale: Array


def play_episodes(
    env: Env, net: Net, head: PolicyHead, params: Params, net_state: NetState, key: Key, episodes: int
) -> play.Trajectory:
    """Play for the horizon from a reset, [time, episodes, ...]; the policy is ``params["net"], ["head"]``.

    What follows the first end of an episode is another one, and not to be counted.
    """
    start_key, noise_key, env_key = jax.random.split(key, 3)
    params = jax.lax.stop_gradient(params)  # what is sampled is data: derivatives come from its probability

    def act(noise: Array, observation: Array, memory: tuple[()]) -> tuple[Array, Array, tuple[()]]:
        out, _ = net.apply(params["net"], net_state, as_float(observation))
        action = head.sample(params["head"], out, noise)
        return head.to_env(action), action, memory

    live = play.start(env, start_key, episodes)
    noise = head.noise(noise_key, (env.horizon, episodes))
    _, _, trajectory, _ = play.unroll(env, env_key, live, act, (), noise, env.horizon)
    return jax.lax.stop_gradient(trajectory)


def judge(
    played: play.Trajectory, discount: ArrayLike, gae_lambda: ArrayLike, ridge: ArrayLike, normalize: bool
) -> Seen:
    """Advantages of the actions in the first episode of each column.

    The horizon is part of the task, and the baseline knows the time: nothing is bootstrapped at its end,
    whether the environment calls that a truncation or says nothing.

    Args:
        played: from `play_episodes`; ``extra`` holds the actions as sampled.
        discount, gae_lambda: of generalized advantages.
        ridge: see `fit_values`.
        normalize: to mean 0 and deviation 1 over the steps that count.
    """
    counted = first_episodes(played.ended)
    ended = played.ended.at[-1].set(True)
    reward = played.reward * counted
    to_go = returns.discounted_returns(reward, ended, discount)
    values = fit_values(played.observation, to_go, counted, ridge)
    following = jnp.concatenate([values[1:], jnp.zeros_like(values[-1:])])
    advantage = returns.gae(reward, values, following, ended, ended, discount, gae_lambda)
    scale = jnp.ones(())
    if normalize:
        same = alike(advantage, counted)  # but for rounding, which is not to be blown up
        advantage = jnp.where(same, 0.0, advantage - average(advantage, counted))
        scale = jnp.where(same, 1.0, jnp.sqrt(average(advantage**2, counted)) + 1e-8)
    weight = advantage * counted / scale
    seen = Seen(played.observation, played.extra, reward, weight, counted, ended, scale)
    return jax.lax.stop_gradient(seen)


def log_probs(net: Net, head: PolicyHead, params: Params, net_state: NetState, seen: Seen) -> Array:
    """Log-probabilities [time, episodes] of the actions under a policy, 0 after the end; differentiable."""
    time, episodes = seen.reward.shape
    # One product over all steps instead of one for each.
    flat = seen.observation.reshape(time * episodes, *seen.observation.shape[2:])
    out, _ = net.apply(params["net"], net_state, as_float(flat))
    out = out.reshape(time, episodes, -1)
    return head.log_prob(params["head"], out, seen.action) * seen.counted
