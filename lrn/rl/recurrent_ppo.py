"""PPO with a recurrent network, for partially observed environments.

The method is that of `lrn.rl.ppo`, with these details of a memory:
- The memory is reset at the start of an episode, in the rollout and in training alike.
- Training replays whole rollouts from the memory at their start and backpropagates through them, so a
  minibatch is a set of environments, not of steps.
- A truncated episode is bootstrapped from its final observation, with the memory at the end of the episode.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.rl import minibatch, play, returns, running
from lrn.rl.agent import Agent, Policy
from lrn.rl.env import Env, as_float
from lrn.rl.heads import check_recurrent
from lrn.rl.policy_head import policy_head
from lrn.rl.ppo import MEASURED, Minibatch, PPOConfig, ppo_loss, ppo_optimizer, rescale_rewards
from lrn.types import Array, Example, Goal, Key, Metrics, Params, PyTree, RecurrentNet
from lrn.xla.descend import clipped_step


class RecurrentPPOState(NamedTuple):
    """State of recurrent PPO.

    params: parameters, {"net": those of the network, "head": those of the policy head}.
    opt_state: state of the optimizer.
    live: the environments in the middle of their episodes.
    memory: memory of the network, leaves [num_envs, ...].
    first: bool [num_envs], whether the next step begins an episode.
    observations: running moments of the observations, for ``normalize_observations``.
    scale: the running discounted return [num_envs] and its moments, for ``normalize_rewards``.
    """

    params: Params
    opt_state: optax.OptState
    live: play.Live
    memory: PyTree
    first: Array
    observations: running.Moments
    scale: tuple[Array, running.Moments]


class _Extra(NamedTuple):
    """Results of acting that training needs, stored at each step; ``memory`` includes the observation."""

    action: Array
    log_prob: Array
    value: Array
    memory: PyTree
    first: Array


def recurrent_ppo(env: Env, net: RecurrentNet, config: PPOConfig) -> Agent:
    """PPO on ``env`` with a recurrent actor-critic.

    Args:
        env: the environment, with discrete or continuous actions.
        net: gives ``(policy [batch, k], value [batch])`` at each step; `lrn.nets.gru_actor_critic` makes one.
        config: settings.

    Metrics: those of `lrn.rl.ppo.ppo`.

    Raises:
        ValueError: the network's outputs do not fit the environment, or ``num_envs`` does not divide into
            the minibatches.
    """
    check_recurrent("the network of recurrent_ppo", net, env)
    if config.num_envs % config.minibatches:
        raise check.InputError(
            f"{config.num_envs} environments do not divide into {config.minibatches} minibatches, but a "
            "recurrent agent trains on whole rollouts; choose minibatches that divide num_envs."
        )
    head = policy_head(env, config.initial_log_std)
    optimizer = ppo_optimizer(config)

    def init(key: Key, batch: Any = None) -> RecurrentPPOState:
        net_key, env_key = jax.random.split(key)
        live = play.start(env, env_key, config.num_envs)
        params = {"net": net.init(net_key, as_float(live.observation)), "head": head.init()}
        return RecurrentPPOState(
            params,
            optimizer.init(params),
            live,
            net.initial(config.num_envs),
            jnp.ones(config.num_envs, bool),
            running.moments(env.observation_shape),
            (jnp.zeros(config.num_envs), running.moments()),
        )

    def see(stats: running.Moments, observation: Array) -> Array:
        """The observation as the network gets it, normalized if the settings say so."""
        return running.normalize(stats, observation) if config.normalize_observations else observation

    def evaluate(params: Params, memory: PyTree, observation: Array, first: Array) -> Any:
        return net.apply(params["net"], memory, as_float(observation), first)

    def collect(key: Key, state: RecurrentPPOState) -> Any:
        noise_key, env_key = jax.random.split(key)
        params = state.params

        def act(noise: Array, observation: Array, carried: Any) -> Any:
            memory, first = carried
            (out, value), memory = evaluate(params, memory, see(state.observations, observation), first)
            action = head.sample(params["head"], out, noise)
            extra = _Extra(action, head.log_prob(params["head"], out, action), value, memory, first)
            return head.to_env(action), extra, memory

        noise = head.noise(noise_key, (config.rollout_length, config.num_envs))
        return play.unroll(
            env, env_key, state.live, act, state.memory, noise, config.rollout_length, first=state.first
        )

    def prepare(state: RecurrentPPOState, trajectory: play.Trajectory, reward: Array) -> Minibatch:
        extra: _Extra = trajectory.extra
        final = see(state.observations, trajectory.final_observation)
        not_first = jnp.zeros(config.num_envs, bool)
        (_, following), _ = jax.vmap(lambda m, x: evaluate(state.params, m, x, not_first))(
            extra.memory, final
        )
        advantage = returns.gae(
            reward, extra.value, following, trajectory.terminated, trajectory.ended,
            config.discount, config.gae_lambda,
        )  # fmt: skip
        seen = see(state.observations, trajectory.observation)
        return Minibatch(seen, extra.action, extra.log_prob, extra.value, advantage, advantage + extra.value)

    def loss(params: Params, memory: PyTree, first: Array, rows: Minibatch) -> Any:
        """The loss of whole rollouts.

        ``rows`` has leaves [time, batch, ...], ``memory`` is the memory before the first step, leaves
        [batch, ...], and ``first`` [time, batch] says where episodes begin.
        """

        def replay(memory: PyTree, now: Any) -> Any:
            out, memory = evaluate(params, memory, *now)
            return memory, out

        _, (out, value) = jax.lax.scan(replay, memory, (rows.observation, first))
        return ppo_loss(config, head, params["head"], out, value, rows)

    def step(key: Key, state: RecurrentPPOState, batch: Any = None) -> tuple[RecurrentPPOState, Metrics]:
        play_key, shuffle_key = jax.random.split(key)
        live, memory, trajectory, ended = collect(play_key, state)
        scale, reward = state.scale, trajectory.reward
        if config.normalize_rewards:
            scale, reward = rescale_rewards(scale, reward, trajectory.ended, config.discount)
        rows = prepare(state, trajectory, reward)

        def descend(carry: Any, index: Array) -> Any:
            params, opt_state = carry
            begin = jax.tree.map(lambda x: x[index], state.memory)
            chosen, first = jax.tree.map(lambda x: x[:, index], (rows, trajectory.extra.first))
            gradient, measured = jax.grad(loss, has_aux=True)(params, begin, first, chosen)
            return clipped_step(optimizer, gradient, opt_state, params, config.max_grad_norm), measured

        order = minibatch.shuffled(shuffle_key, config.num_envs, config.epochs)
        order = order.reshape(-1, config.num_envs // config.minibatches)
        (params, opt_state), measured = jax.lax.scan(descend, (state.params, state.opt_state), order)
        observations = state.observations
        if config.normalize_observations:
            observations = running.update(observations, trajectory.observation)
        state = RecurrentPPOState(params, opt_state, live, memory, trajectory.ended[-1], observations, scale)
        return state, {**play.episode_metrics(ended), **dict(zip(MEASURED, measured.mean(axis=0)))}

    def act(key: Key, state: RecurrentPPOState, memory: PyTree, observation: Array) -> tuple[Array, PyTree]:
        continued = jnp.zeros(observation.shape[0], bool)
        seen = see(state.observations, observation)
        (out, _), memory = evaluate(state.params, memory, seen, continued)
        return head.to_env(head.mode(state.params["head"], out)), memory

    def sample(
        key: Key, state: RecurrentPPOState, memory: PyTree, observation: Array
    ) -> tuple[Array, PyTree]:
        continued = jnp.zeros(observation.shape[0], bool)
        seen = see(state.observations, observation)
        (out, _), memory = evaluate(state.params, memory, seen, continued)
        noise = head.noise(key, observation.shape[:1])
        return head.to_env(head.sample(state.params["head"], out, noise)), memory

    return Agent(init, step, Policy(net.initial, act, sample))


def example() -> Example:
    """A small GRU on the memory environment."""
    from lrn import nets
    from lrn.rl.identity import memory

    net = nets.gru_actor_critic(2, 8)
    settings = PPOConfig(total_steps=20_000, rollout_length=8, epochs=2, minibatches=2, learning_rate=0.01)
    return Example(
        factory=lambda config: recurrent_ppo(memory(), net, config),
        config=settings,
        solves=Goal("return", above=0.9),
    )
