"""TD3: deterministic policy gradients with remedies against overestimation (Fujimoto et al. 2018).

arXiv 1802.09477. TD3 adds three parts to DDPG: twin critics, targets smoothed over nearby actions, and an
actor that moves once for every ``policy_delay`` critic updates. The policy explores by noise, white or
colored, that is added to its action.

    agent = td3(env, nets.mlp(dim), nets.mlp(1), config, noise=pink(env.horizon))
    steps = config.total_steps // config.interactions
    train.fit(lambda c: td3(env, actor, critic, c), config, seeds, steps=steps)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.rl import play, rates, replay
from lrn.rl.agent import Agent, memoryless
from lrn.rl.continuous import check_networks, collect, explored, once_ready, start_replay, to_env, twin
from lrn.rl.env import Env, as_float, require_continuous
from lrn.rl.exploration.noise import Noise, white
from lrn.rl.replay import Transition
from lrn.types import Array, Batch, Example, Goal, Key, Metrics, Net, Params, State
from lrn.xla.serial import serial_alone


@config
class TD3Config:
    """Settings. A learner step plays ``rollout_length`` steps in each environment, then learns.

    actor_learning_rate: step size of Adam for the actor.
    critic_learning_rate: step size of Adam for the critics.
    discount: discount per step, in [0, 1].
    target_rate: share of the networks that enters their target networks when the actor moves.
    exploration_noise: standard deviation of the noise added to the policy's actions, in units of half the
        action range.
    target_noise: standard deviation of the noise added to the target policy's actions, in the same units.
    target_noise_clip: largest size of that noise.
    policy_delay: critic updates for each update of the actor and the targets; must divide ``updates``.
    batch_size: transitions in a gradient step.
    buffer_size: transitions that the replay keeps, see `lrn.rl.replay.start`.
    num_envs: environments played side by side.
    rollout_length: steps in each environment of one learner step.
    updates: critic updates of one learner step; `update_to_data` is their ratio to environment steps.
    learning_starts: environment steps before the first update; their actions are uniformly random.
    total_steps: environment steps of the training, all environments together.
    """

    actor_learning_rate: float = 1e-3
    critic_learning_rate: float = 1e-3
    discount: float = 0.99
    target_rate: float = 0.005
    exploration_noise: float = 0.1
    target_noise: float = 0.2
    target_noise_clip: float = 0.5
    policy_delay: int = 2
    batch_size: int = 256
    buffer_size: int = 100_000
    num_envs: int = 1
    rollout_length: int = 2
    updates: int = 2
    learning_starts: int = 1000
    total_steps: int = 10_000

    def __post_init__(self) -> None:
        check.positive("actor_learning_rate", self.actor_learning_rate)
        check.positive("critic_learning_rate", self.critic_learning_rate)
        check.between("discount", self.discount, 0, 1)
        check.between("target_rate", self.target_rate, 0, 1)
        for name in ("exploration_noise", "target_noise", "target_noise_clip"):
            check.non_negative(name, getattr(self, name))
        for name in ("batch_size", "num_envs", "rollout_length", "updates", "learning_starts"):
            check.integer(name, getattr(self, name), 1)
        check.integer("buffer_size", self.buffer_size, low=self.interactions)
        rates.check_total_steps(self.total_steps)
        rates.check_warm_up(self.learning_starts, self.total_steps, self.interactions)
        replay.check_sizes(self.buffer_size, self.batch_size)
        check.integer("policy_delay", self.policy_delay, 1)
        if self.updates % self.policy_delay:
            raise check.InputError(
                f"updates must be a multiple of policy_delay, got {self.updates} and {self.policy_delay}; "
                "learn more often at once (raise rollout_length with it to keep the update-to-data ratio)."
            )

    @property
    def interactions(self) -> int:
        """Environment steps of one learner step."""
        return self.num_envs * self.rollout_length

    @property
    def update_to_data(self) -> float:
        """Critic updates per environment step."""
        return self.updates / self.interactions


class Learned(NamedTuple):
    """The part of the state that learning changes.

    actor: parameters of the actor.
    critics: parameters of the two critics.
    target_actor: parameters of the target actor.
    target_critics: parameters of the two target critics.
    actor_opt_state: state of the actor's Adam.
    critic_opt_state: state of the critics' Adam.
    """

    actor: Params
    critics: Params
    target_actor: Params
    target_critics: Params
    actor_opt_state: optax.OptState
    critic_opt_state: optax.OptState


class TD3State(NamedTuple):
    """State of TD3.

    learned: networks, target networks and states of the optimizers.
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


def td3(env: Env, actor: Net, critic: Net, config: TD3Config, noise: Noise | None = None) -> Agent:
    """Twin delayed deep deterministic policy gradients (Fujimoto et al. 2018).

    Args:
        env: the environment, with continuous actions.
        actor: maps observations to [batch, dim]; the action is the tanh of the output.
        critic: maps flattened observations joined with actions in [-1, 1] to [batch, 1].
        config: settings.
        noise: the exploration noise, white by default; see `lrn.rl.exploration.noise`.

    Metrics: ``return`` and ``length`` of the exploring episodes that ended; ``critic_loss`` (sum over both
    critics), ``value`` (of the policy's own actions; the actor maximizes it).

    Raises:
        ValueError: the actions are discrete, or a network does not fit; raised before anything compiles.
    """
    box = require_continuous(env, "td3")
    check_networks("td3", env, actor, critic, box.size)
    critics, color, shape = (
        twin(critic, env.observation_shape, box.size),
        noise or white(),
        (config.num_envs, box.size),
    )
    actor_adam, critic_adam = optax.adam(config.actor_learning_rate), optax.adam(config.critic_learning_rate)

    def policy(params: Params, observation: Array) -> Array:
        return jnp.tanh(actor.apply(params, (), as_float(observation))[0])

    def init(key: Key, batch: Batch = None) -> TD3State:
        actor_key, critic_key, play_key, noise_key = jax.random.split(key, 4)
        actor_params = actor.init(actor_key, jnp.zeros((1, *env.observation_shape)))[0]
        critic_params = critics.init(critic_key)
        # Copied, because a donated state must not hold the same buffer twice.
        targets: Any = jax.tree.map(jnp.copy, (actor_params, critic_params))
        live = play.start(env, play_key, config.num_envs)
        opt_states = actor_adam.init(actor_params), critic_adam.init(critic_params)
        return TD3State(
            Learned(actor_params, critic_params, targets[0], targets[1], *opt_states),
            start_replay(env, live, config.buffer_size, config.interactions),
            live,
            color.init(noise_key, shape),
            jnp.int32(0),
        )

    def critic_loss(params: Params, learned: Learned, noise: Array, batch: Transition) -> Array:
        clip = config.target_noise_clip
        smoothing = jnp.clip(config.target_noise * noise, -clip, clip)
        action = jnp.clip(policy(learned.target_actor, batch.final_observation) + smoothing, -1.0, 1.0)
        value = critics.values(learned.target_critics, batch.final_observation, action).min(0)
        goal = batch.reward + config.discount * (1.0 - batch.terminated) * value
        return (
            0.5
            * jnp.mean((critics.values(params, batch.observation, batch.action) - goal[None]) ** 2, 1).sum()
        )

    def negative_value(params: Params, learned: Learned, batch: Transition) -> Array:
        return -critics.values(learned.critics, batch.observation, policy(params, batch.observation))[
            0
        ].mean()

    def learn(learned: Learned, batches: Transition, noises: Array) -> tuple[Learned, dict[str, Array]]:
        """``policy_delay`` steps of the critics, then one step of the actor and the targets.

        ``batches`` has leaves [policy_delay, batch, ...], ``noises`` is [policy_delay, batch, dim].
        """

        def evaluate(learned: Learned, x: tuple[Transition, Array]):
            batch, noise = x
            loss, gradient = jax.value_and_grad(critic_loss)(learned.critics, learned, noise, batch)
            change, opt_state = critic_adam.update(gradient, learned.critic_opt_state)
            stepped = optax.apply_updates(learned.critics, change)
            return learned._replace(critics=stepped, critic_opt_state=opt_state), loss

        learned, losses = jax.lax.scan(evaluate, learned, (batches, noises))
        last = jax.tree.map(lambda x: x[-1], batches)
        loss, gradient = jax.value_and_grad(negative_value)(learned.actor, learned, last)
        change, opt_state = actor_adam.update(gradient, learned.actor_opt_state)
        actor_params = optax.apply_updates(learned.actor, change)
        learned = learned._replace(
            actor=actor_params,
            actor_opt_state=opt_state,
            target_actor=optax.incremental_update(actor_params, learned.target_actor, config.target_rate),
            target_critics=optax.incremental_update(
                learned.critics, learned.target_critics, config.target_rate
            ),
        )
        return learned, {"critic_loss": losses.mean(), "value": -loss}

    def step(key: Key, state: TD3State, batch: Batch = None) -> tuple[TD3State, Metrics]:
        play_key, color_key, noise_key, row_key = jax.random.split(key, 4)
        exploring, color_state = color.sample(color_key, state.noise, config.rollout_length)

        def act(noise: Array, observation: Array) -> Array:
            unit = policy(state.learned.actor, observation)
            return jnp.clip(unit + config.exploration_noise * noise, -1.0, 1.0)

        live, fresh, ended = collect(
            env, play_key, state.live, act, exploring, state.steps < config.learning_starts
        )
        buffer = replay.record(state.replay, fresh, live.observation)
        steps = rates.count(state.steps, config.interactions)
        grouped = (config.updates // config.policy_delay, config.policy_delay, config.batch_size)
        rows = replay.draw(row_key, buffer, grouped)
        noises = jax.random.normal(noise_key, (*grouped, box.size))
        learned, metrics = jax.lax.scan(
            lambda learned, x: learn(learned, replay.take(buffer, x[0]), x[1]), state.learned, (rows, noises)
        )
        learned, metrics = once_ready(steps >= config.learning_starts, learned, state.learned, metrics)
        metrics = {**metrics, **play.episode_metrics(ended)}
        return TD3State(learned, buffer, live, color_state, steps), metrics

    def greedy(state: TD3State, observation: Array) -> Array:
        return to_env(env, policy(state.learned.actor, observation))

    def sample(key: Key, state: TD3State, observation: Array) -> Array:
        noise = jax.random.normal(key, (observation.shape[0], box.size))  # white, whatever `noise` is
        unit = policy(state.learned.actor, observation) + config.exploration_noise * noise
        unit = explored(noise, jnp.clip(unit, -1.0, 1.0), state.steps < config.learning_starts)
        return to_env(env, unit)

    return Agent(init, serial_alone(step), memoryless(greedy, sample))


def example() -> Example:
    """A small agent on the environment that pays for repeating a number, exploring with pink noise."""
    from lrn import nets
    from lrn.rl import identity
    from lrn.rl.exploration.noise import pink

    env, actor, critic = identity.continuous_echo(), nets.mlp(1, (16,)), nets.mlp(1, (16,))
    return Example(
        factory=lambda config: td3(env, actor, critic, config, noise=pink(env.horizon)),
        config=TD3Config(num_envs=4, updates=4, batch_size=16, buffer_size=500, learning_starts=20),
        solves=Goal("return", above=0.8),
    )
