"""MBPO: SAC that learns from short rollouts in a learned ensemble (Janner et al. 2019).

arXiv 1906.08253. Imagined rollouts start from visited states and stay short, because the error of the model
grows with every imagined step. Imagined data are cheap, so SAC can make many more gradient steps for each
environment step than it could on real data without overfitting.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl import play, rates, replay
from lrn.rl.agent import Agent, memoryless
from lrn.rl.continuous import collect, empty_replay, explored, once_ready, start_replay, to_env
from lrn.rl.env import Env, require_continuous
from lrn.rl.model_based.dynamics import Dynamics, DynamicsConfig, dynamics
from lrn.rl.model_based.imagine import Imagined, Known, imagine
from lrn.rl.replay import Transition
from lrn.rl.sac import Learned, SACConfig, soft_actor_critic
from lrn.types import Array, Batch, Example, Goal, Key, Metrics, Net, PyTree


@config
class MBPOConfig:
    """Settings. A learner step plays, updates the model, imagines rollouts, then updates the policy.

    sac: settings of SAC. Its ``rollout_length``, ``num_envs`` and ``updates`` set the real steps and the
        policy's gradient steps of a learner step.
    model: settings of the ensemble.
    model_updates: gradient steps of the ensemble in a learner step.
    model_batch: transitions in a gradient step of each member.
    rollouts: imagined rollouts in a learner step, a multiple of the ensemble's members.
    rollout_length: steps of an imagined rollout.
    imagined_size: the largest number of imagined transitions that are kept; the newest are kept.
    real: number of real transitions in each batch of SAC; the others are imagined.
    """

    sac: SACConfig = SACConfig(rollout_length=10, updates=100, learning_starts=200, total_steps=3_000)
    model: DynamicsConfig = DynamicsConfig()
    model_updates: int = 50
    model_batch: int = 128
    rollouts: int = 400
    rollout_length: int = 1
    imagined_size: int = 20_000
    real: int = 13

    def __post_init__(self) -> None:
        for name in ("model_updates", "model_batch", "rollouts", "rollout_length"):
            check.integer(name, getattr(self, name), 1)
        check.integer("imagined_size", self.imagined_size, self.rollouts * self.rollout_length)
        check.integer("real", self.real, 0)
        if self.real >= self.sac.batch_size:
            raise check.InputError(
                f"real must be below the batch size, got {self.real} of {self.sac.batch_size}; "
                "use sac to learn from real transitions alone."
            )

    @property
    def interactions(self) -> int:
        """Environment steps of one learner step."""
        return self.sac.interactions

    @property
    def total_steps(self) -> int:
        """Environment steps of the training, all environments together."""
        return self.sac.total_steps


class MBPOState(NamedTuple):
    """State of MBPO.

    learned: the learned part of SAC.
    model: the learned model.
    real: replay of real transitions, with actions [dim] in [-1, 1].
    imagined: replay of imagined transitions, with actions [dim] in [-1, 1].
    live: the environments in the middle of their episodes.
    steps: int32, environment steps so far.
    """

    learned: Learned
    model: PyTree
    real: replay.Played
    imagined: replay.Replay
    live: play.Live
    steps: Array


def mbpo(
    env: Env, actor: Net, critic: Net, net: Net | Dynamics, config: MBPOConfig, known: Known | None = None
) -> Agent:
    """Model-based policy optimization.

    Args:
        env: the environment, with continuous actions and flat observations [size].
        actor: the actor, see `lrn.rl.sac.sac`.
        critic: the critic, see `lrn.rl.sac.sac`.
        net: the network of the ensemble, see `lrn.rl.model_based.dynamics`; or another model, as `Dynamics`.
        config: settings.
        known: parts of the task that need no learning: its reward and its terminations.

    Metrics: those of SAC, and ``nll``, the negative log-likelihood of the ensemble in nats per output of unit
    variance.

    Raises:
        ValueError: the actions are discrete, observations are not flat, a network does not fit, or the
            rollouts are no multiple of the members.
    """
    box, settings = require_continuous(env, "mbpo"), config.sac
    if len(env.observation_shape) != 1:
        raise check.InputError(
            f"mbpo needs flat observations [size], but those of {env.name} are "
            f"{list(env.observation_shape)}; flatten them in the environment."
        )
    core = soft_actor_critic(env, actor, critic, settings)
    ensemble = net if isinstance(net, Dynamics) else dynamics(env, net, config.model)
    if config.rollouts % ensemble.members:
        raise check.InputError(
            f"rollouts must be a multiple of the {ensemble.members} members of the ensemble, got "
            f"{config.rollouts}; choose such a number."
        )

    def init(key: Key, batch: Batch = None) -> MBPOState:
        policy_key, model_key, play_key = jax.random.split(key, 3)
        live = play.start(env, play_key, settings.num_envs)
        return MBPOState(
            core.init(policy_key),
            ensemble.init(model_key),
            start_replay(env, live, settings.buffer_size, settings.interactions),
            empty_replay(env, config.imagined_size),
            live,
            jnp.int32(0),
        )

    def dream(key: Key, learned: Learned, model: PyTree, start: Array) -> Transition:
        """Imagined transitions [rollouts * rollout_length] from first observations [rollouts, size]."""
        play_key, noise_key = jax.random.split(key)

        def act(noise: Array, observation: Array) -> Array:
            return core.act(learned.params, observation[:, 0], noise)[:, None]

        noise = jax.random.normal(noise_key, (config.rollout_length, config.rollouts, box.size))
        return flat(
            imagine(env, ensemble, model, play_key, start[:, None], act, noise, config.rollout_length, known)
        )

    def step(key: Key, state: MBPOState, batch: Batch = None) -> tuple[MBPOState, Metrics]:
        play_key, act_key, model_key, start_key, dream_key, row_key, dreamt_key, noise_key = jax.random.split(
            key, 8
        )
        exploring = jax.random.normal(act_key, (settings.rollout_length, settings.num_envs, box.size))
        live, fresh, ended = collect(
            env,
            play_key,
            state.live,
            lambda noise, observation: core.act(state.learned.params, observation, noise),
            exploring,
            state.steps < settings.learning_starts,
        )
        real = replay.record(state.real, fresh, live.observation)
        steps = rates.count(state.steps, config.interactions)
        before = ensemble.see(state.model, fresh)
        rows = replay.draw(model_key, real, (config.model_updates, ensemble.members, config.model_batch))
        model, nll = jax.lax.scan(
            lambda model, rows: ensemble.update(model, replay.take(real, rows)), before, rows
        )

        start = replay.take(real, replay.draw(start_key, real, (config.rollouts,))).observation
        imagined = replay.add(state.imagined, dream(dream_key, state.learned, model, start))

        size = settings.batch_size
        real_rows = replay.draw(row_key, real, (settings.updates, config.real))
        dreamt_rows = replay.draw(dreamt_key, imagined, (settings.updates, size - config.real))
        noises = jax.random.normal(noise_key, (settings.updates, 2, size, box.size))

        def learn(learned: Learned, x: tuple[Array, Array, Array]):
            real_rows, dreamt_rows, noise = x
            parts = replay.take(real, real_rows), replay.take(imagined, dreamt_rows)
            return core.update(noise, learned, jax.tree.map(lambda *x: jnp.concatenate(x), *parts))

        learned, metrics = jax.lax.scan(learn, state.learned, (real_rows, dreamt_rows, noises))
        (learned, model), metrics = once_ready(
            steps >= settings.learning_starts,
            (learned, model),
            (state.learned, before),
            {**metrics, "nll": nll},
        )
        metrics = {**metrics, **play.episode_metrics(ended)}
        return MBPOState(learned, model, real, imagined, live, steps), metrics

    def greedy(state: MBPOState, observation: Array) -> Array:
        silent = jnp.zeros((observation.shape[0], box.size))
        return to_env(env, core.act(state.learned.params, observation, silent))

    def sample(key: Key, state: MBPOState, observation: Array) -> Array:
        noise = jax.random.normal(key, (observation.shape[0], box.size))
        unit = core.act(state.learned.params, observation, noise)
        return to_env(env, explored(noise, unit, state.steps < settings.learning_starts))

    return Agent(init, step, memoryless(greedy, sample))


def flat(rows: Imagined) -> Transition:
    """Transitions [length * particles] from imagined steps with one episode for each particle (n = 1).

    A step after a termination does not count. The first step of the same particle, which always counts, takes
    its place.
    """

    def kept(x: Array) -> Array:
        x = x[:, :, 0]
        happened = jnp.expand_dims(rows.alive[:, :, 0], range(2, x.ndim))
        return jnp.where(happened, x, x[:1]).reshape(-1, *x.shape[2:])

    terminated = kept(rows.terminated)
    return Transition(
        kept(rows.observation),
        kept(rows.action),
        kept(rows.reward),
        terminated,
        jnp.zeros_like(terminated),
        kept(rows.final_observation),
    )


def example() -> Example:
    """A small agent on the environment that pays for repeating a number."""
    from lrn import nets
    from lrn.rl import identity

    env = identity.continuous_echo()
    return Example(
        factory=lambda config: mbpo(env, nets.mlp(2, (16,)), nets.mlp(1, (16,)), nets.mlp(4, (16,)), config),
        config=MBPOConfig(
            sac=SACConfig(
                num_envs=2, rollout_length=2, updates=2, batch_size=16, buffer_size=200, learning_starts=8
            ),
            model=DynamicsConfig(members=2),
            model_updates=2,
            model_batch=8,
            rollouts=8,
            rollout_length=2,
            imagined_size=100,
            real=4,
        ),
        solves=Goal("return", above=-0.45),
    )
