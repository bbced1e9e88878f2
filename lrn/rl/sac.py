"""Soft actor-critic: off-policy learning of a stochastic policy with a bonus for its entropy.

Haarnoja et al. 2018 (arXiv 1812.05905): twin critics, a squashed Gaussian policy, and a temperature that is
learned so that the policy keeps a target entropy of minus one nat per dimension of the action.

    agent = sac(env, nets.mlp(2 * dim), nets.mlp(1), config)
    steps = config.total_steps // config.interactions
    train.fit(lambda c: sac(env, actor, critic, c), config, seeds, steps=steps)

One thing differs from the paper: critics, actor and temperature step together, each from the parameters
before the step, so that one gradient and one Adam serve all three. `soft_actor_critic` is the learning part
alone; it learns from any transitions (`lrn.rl.model_based.mbpo` gives it imagined ones).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.rl import distributions, play, rates, replay
from lrn.rl.agent import Agent, memoryless
from lrn.rl.continuous import check_networks, collect, explored, once_ready, start_replay, to_env, twin
from lrn.rl.env import Env, as_float, require_continuous
from lrn.rl.exploration.noise import Noise, white
from lrn.rl.replay import Transition
from lrn.types import Array, Batch, Example, Goal, Key, Metrics, Net, Params, State
from lrn.xla.serial import serial_alone

LOG_STD = (-10.0, 2.0)  # bounds of the policy's log deviation; beyond them the density under- or overflows


@config
class SACConfig:
    """Settings. A learner step plays ``rollout_length`` steps in each environment, then learns.

    learning_rate: step size of Adam for actor and critics.
    temperature_learning_rate: step size of Adam for the log of the temperature.
    discount: discount per step, in [0, 1].
    target_rate: share of the critics that enters the target critics at each update.
    initial_temperature: weight of the entropy at the start.
    target_entropy: entropy that the temperature is learned for, in nats per dimension of the action.
    batch_size: transitions in a gradient step.
    buffer_size: transitions that the replay keeps, see `lrn.rl.replay.start`.
    num_envs: environments played side by side.
    rollout_length: steps in each environment of one learner step.
    updates: gradient steps of one learner step; `update_to_data` is their ratio to environment steps.
    learning_starts: environment steps before the first update; their actions are uniformly random.
    total_steps: environment steps of the training, all environments together.
    """

    learning_rate: float = 1e-3
    temperature_learning_rate: float = 1e-3
    discount: float = 0.99
    target_rate: float = 0.005
    initial_temperature: float = 1.0
    target_entropy: float = -1.0
    batch_size: int = 256
    buffer_size: int = 100_000
    num_envs: int = 1
    rollout_length: int = 1
    updates: int = 1
    learning_starts: int = 1000
    total_steps: int = 10_000

    def __post_init__(self) -> None:
        check.positive("learning_rate", self.learning_rate)
        check.non_negative("temperature_learning_rate", self.temperature_learning_rate)
        check.between("discount", self.discount, 0, 1)
        check.between("target_rate", self.target_rate, 0, 1)
        check.positive("initial_temperature", self.initial_temperature)
        check.finite("target_entropy", self.target_entropy)
        for name in ("batch_size", "num_envs", "rollout_length", "updates", "learning_starts"):
            check.integer(name, getattr(self, name), 1)
        check.integer("buffer_size", self.buffer_size, low=self.interactions)
        rates.check_total_steps(self.total_steps)
        rates.check_warm_up(self.learning_starts, self.total_steps, self.interactions)
        replay.check_sizes(self.buffer_size, self.batch_size)

    @property
    def interactions(self) -> int:
        """Environment steps of one learner step."""
        return self.num_envs * self.rollout_length

    @property
    def update_to_data(self) -> float:
        """Gradient steps per environment step."""
        return self.updates / self.interactions


class SACParams(NamedTuple):
    """Parameters that gradients change.

    actor: parameters of the actor.
    critics: parameters of the two critics.
    log_temperature: scalar, log of the weight of the entropy.
    """

    actor: Params
    critics: Params
    log_temperature: Array


class Learned(NamedTuple):
    """The part of the state that learning changes.

    params: parameters of actor, critics and temperature.
    target: parameters of the two target critics.
    opt_state: state of Adam.
    """

    params: SACParams
    target: Params
    opt_state: optax.OptState


class SACState(NamedTuple):
    """State of SAC.

    learned: parameters, target critics and the state of the optimizer.
    replay: the transitions that are kept, with actions [dim] in [-1, 1].
    live: the environments in the middle of their episodes.
    noise: state of the exploration noise.
    steps: int32, environment steps so far.
    """

    learned: Learned
    replay: replay.Played
    live: play.Live
    noise: State
    steps: Array


class SoftActorCritic(NamedTuple):
    """SAC without an environment.

    init: ``init(key) -> Learned``.
    act: ``act(params, observation [n, ...], noise [n, dim]) -> action [n, dim]`` in (-1, 1), from standard
        normal noise; zero noise gives the greedy action.
    update: ``update(noise [2, batch, dim], learned, transitions) -> (learned, metrics)``: one gradient step.
    """

    init: Callable[[Key], Learned]
    act: Callable[[SACParams, Array, Array], Array]
    update: Callable[[Array, Learned, Transition], tuple[Learned, dict[str, Array]]]


def soft_actor_critic(env: Env, actor: Net, critic: Net, config: SACConfig) -> SoftActorCritic:
    """The learning part of SAC, with the shapes of an environment.

    Args:
        env: the environment, with continuous actions; only its shapes are used.
        actor: maps observations to [batch, 2 * dim]: means and log standard deviations before tanh.
        critic: maps flattened observations joined with actions in [-1, 1] to [batch, 1].
        config: settings.

    Raises:
        ValueError: the actions are discrete, or a network does not fit; raised before anything compiles.
    """
    box = require_continuous(env, "sac")
    check_networks("sac", env, actor, critic, 2 * box.size)
    critics, adam = twin(critic, env.observation_shape, box.size), optax.scale_by_adam()

    def policy(params: Params, observation: Array) -> tuple[Array, Array]:
        mean, log_std = jnp.split(actor.apply(params, (), as_float(observation))[0], 2, -1)
        return mean, jnp.clip(log_std, *LOG_STD)

    def init(key: Key) -> Learned:
        actor_key, critic_key = jax.random.split(key)
        params = SACParams(
            actor.init(actor_key, jnp.zeros((1, *env.observation_shape)))[0],
            critics.init(critic_key),
            jnp.log(jnp.asarray(config.initial_temperature, jnp.float32)),
        )
        # Copied, because a donated state must not hold the same buffer twice.
        return Learned(params, jax.tree.map(jnp.copy, params.critics), adam.init(params))

    def act(params: SACParams, observation: Array, noise: Array) -> Array:
        return jnp.tanh(distributions.normal_sample(*policy(params.actor, observation), noise))

    def objective(params: SACParams, target: Params, noise: Array, batch: Transition):
        fixed: SACParams = jax.lax.stop_gradient(params)
        temperature = jnp.exp(fixed.log_temperature)

        next_action, next_log_prob = distributions.tanh_normal_sample(
            *policy(fixed.actor, batch.final_observation), noise[1]
        )
        next_value = critics.values(target, batch.final_observation, next_action).min(0)
        alive = 1.0 - batch.terminated
        goal = batch.reward + config.discount * alive * (next_value - temperature * next_log_prob)
        error = critics.values(params.critics, batch.observation, batch.action) - goal[None]
        critic_loss = 0.5 * jnp.mean(error**2, 1).sum()

        action, log_prob = distributions.tanh_normal_sample(
            *policy(params.actor, batch.observation), noise[0]
        )
        value = critics.values(fixed.critics, batch.observation, action).min(0)
        actor_loss = jnp.mean(temperature * log_prob - value)

        entropy = -jax.lax.stop_gradient(log_prob.mean())
        # Linear in the log, as in the authors' code, so the gradient does not vanish with the temperature.
        temperature_loss = params.log_temperature * (entropy - config.target_entropy * box.size)
        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "entropy": entropy,
            "temperature": temperature,
            "value": value.mean(),
        }
        return critic_loss + actor_loss + temperature_loss, metrics

    def update(noise: Array, learned: Learned, batch: Transition) -> tuple[Learned, dict[str, Array]]:
        gradient, metrics = jax.grad(objective, has_aux=True)(learned.params, learned.target, noise, batch)
        direction: Any
        direction, opt_state = adam.update(gradient, learned.opt_state)
        rates = (config.learning_rate, config.learning_rate, config.temperature_learning_rate)
        params = SACParams(
            *(
                jax.tree.map(lambda p, d, rate=rate: p - rate * d, part, change)
                for part, change, rate in zip(learned.params, direction, rates)
            )
        )
        target = optax.incremental_update(params.critics, learned.target, config.target_rate)
        return Learned(params, target, opt_state), metrics

    return SoftActorCritic(init, act, update)


def sac(env: Env, actor: Net, critic: Net, config: SACConfig, noise: Noise | None = None) -> Agent:
    """Soft actor-critic (Haarnoja et al. 2018).

    Args:
        env: the environment, with continuous actions.
        actor: maps observations to [batch, 2 * dim]: means and log standard deviations before tanh.
        critic: maps flattened observations joined with actions in [-1, 1] to [batch, 1].
        config: settings.
        noise: the noise that is scaled by the policy's standard deviation while it explores; white by
            default. Colored noise explores further with the same policy (Eberhard et al. 2023).

    Metrics: ``return`` and ``length`` of the episodes that ended; ``critic_loss`` (both critics),
    ``actor_loss``, ``entropy`` (nats), ``temperature``, ``value`` (of the policy's own actions).

    Raises:
        ValueError: the actions are discrete, or a network does not fit; raised before anything compiles.
    """
    core, box = soft_actor_critic(env, actor, critic, config), require_continuous(env, "sac")
    color, shape = noise or white(), (config.num_envs, box.size)

    def init(key: Key, batch: Batch = None) -> SACState:
        net_key, play_key, noise_key = jax.random.split(key, 3)
        live = play.start(env, play_key, config.num_envs)
        return SACState(
            core.init(net_key),
            start_replay(env, live, config.buffer_size, config.interactions),
            live,
            color.init(noise_key, shape),
            jnp.int32(0),
        )

    def step(key: Key, state: SACState, batch: Batch = None) -> tuple[SACState, Metrics]:
        play_key, color_key, noise_key, row_key = jax.random.split(key, 4)
        exploring, color_state = color.sample(color_key, state.noise, config.rollout_length)

        def act(noise: Array, observation: Array) -> Array:
            return core.act(state.learned.params, observation, noise)

        live, fresh, ended = collect(
            env, play_key, state.live, act, exploring, state.steps < config.learning_starts
        )
        buffer = replay.record(state.replay, fresh, live.observation)
        steps = rates.count(state.steps, config.interactions)
        rows = replay.draw(row_key, buffer, (config.updates, config.batch_size))
        noises = jax.random.normal(noise_key, (config.updates, 2, config.batch_size, box.size))

        def learn(learned: Learned, x: tuple[Array, Array]):
            rows, noise = x
            return core.update(noise, learned, replay.take(buffer, rows))

        learned, metrics = jax.lax.scan(learn, state.learned, (rows, noises))
        learned, metrics = once_ready(steps >= config.learning_starts, learned, state.learned, metrics)
        return SACState(learned, buffer, live, color_state, steps), {
            **metrics,
            **play.episode_metrics(ended),
        }

    def greedy(state: SACState, observation: Array) -> Array:
        silent = jnp.zeros((observation.shape[0], box.size))
        return to_env(env, core.act(state.learned.params, observation, silent))

    def sample(key: Key, state: SACState, observation: Array) -> Array:
        noise = jax.random.normal(key, (observation.shape[0], box.size))  # white, whatever `noise` is
        unit = core.act(state.learned.params, observation, noise)
        return to_env(env, explored(noise, unit, state.steps < config.learning_starts))

    return Agent(init, serial_alone(step), memoryless(greedy, sample))


def example() -> Example:
    """A small agent on the environment that pays for repeating a number."""
    from lrn import nets
    from lrn.rl import identity

    env, actor, critic = identity.continuous_echo(), nets.mlp(2, (16,)), nets.mlp(1, (16,))
    return Example(
        factory=lambda config: sac(env, actor, critic, config),
        config=SACConfig(
            num_envs=4,
            rollout_length=2,
            updates=2,
            batch_size=16,
            buffer_size=500,
            learning_starts=20,
            total_steps=400,
        ),
        solves=Goal("return", above=-0.3),
    )
