"""Whole episodes of one task, and the advantages of their actions."""

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
    """Episodes of one task, with leaves [time, episodes, ...] that are constant for every derivative.

    observation: the observations. action: the actions as sampled.
    reward, advantage: 0 after the end of the episode.
    counted: 1 up to the last step of the episode and at it, 0 afterwards.
    ended: whether an episode ends with this step: the first of a column, or a later one.
    scale: the divisor of the advantages, a scalar.
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
    """Play from a reset for the whole horizon, [time, episodes, ...].

    Steps after the first end in a column belong to another episode and must not be counted.

    Args:
        env: the environment.
        net: the network of the policy.
        head: the policy's distribution over actions.
        params: ``{"net": ..., "head": ...}``, the parameters of both.
        net_state: the network's state.
        key: the key of all random numbers.
        episodes: the number of episodes.
    """
    start_key, noise_key, env_key = jax.random.split(key, 3)
    params = jax.lax.stop_gradient(params)  # samples are data; derivatives come from their log-probabilities

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
    """The first episode of each column, with the advantages of its actions.

    The horizon is part of the task, and the time is a feature of the baseline. So the end of the
    horizon counts as an end of the episode, without a bootstrapped value, even where the
    environment calls it a truncation.

    Args:
        played: the result of `play_episodes`; ``extra`` holds the actions as sampled.
        discount, gae_lambda: the discount factor and lambda of generalized advantages (Schulman et al. 2016).
        ridge: see `fit_values`.
        normalize: whether to normalize advantages to mean 0 and deviation 1 over the steps that count.
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
        same = alike(advantage, counted)  # equal advantages differ by rounding, which must not be scaled up
        advantage = jnp.where(same, 0.0, advantage - average(advantage, counted))
        scale = jnp.where(same, 1.0, jnp.sqrt(average(advantage**2, counted)) + 1e-8)
    weight = advantage * counted / scale
    seen = Seen(played.observation, played.extra, reward, weight, counted, ended, scale)
    return jax.lax.stop_gradient(seen)


def log_probs(net: Net, head: PolicyHead, params: Params, net_state: NetState, seen: Seen) -> Array:
    """Differentiable log-probabilities [time, episodes] of the actions under a policy; 0 after the end."""
    time, episodes = seen.reward.shape
    # One pass of the network over all steps.
    flat = seen.observation.reshape(time * episodes, *seen.observation.shape[2:])
    out, _ = net.apply(params["net"], net_state, as_float(flat))
    out = out.reshape(time, episodes, -1)
    return head.log_prob(params["head"], out, seen.action) * seen.counted
