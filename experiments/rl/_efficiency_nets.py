"""SAC, and SAC in a learned ensemble (MBPO), on Pendulum, and exactly what a policy and its model are worth.

The pendulum is deterministic, so a simulator gives the true return of a policy. An arm of MBPO may have the
simulator in place of its ensemble; all arms of MBPO are one program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lrn import nets
from lrn.config import config
from lrn.rl import env as envs
from lrn.rl.agent import Agent
from lrn.rl.model_based.dynamics import Dynamics, DynamicsConfig, dynamics
from lrn.rl.model_based.imagine import imagine
from lrn.rl.model_based.mbpo import MBPOConfig, mbpo
from lrn.rl.sac import SACConfig, sac
from lrn.types import Array, Key, Net

BEST, CHANCE = -150.0, -1200.0  # returns of a solved episode, and of random play
LENGTH, STARTS, LEAST_REWARD = 200, 16, -16.3
HORIZONS = (2, 10, 50, LENGTH)
WORTH, ERROR = "worth", "error of the told worth"
WIDTH, OUTPUTS = 32, 8  # units of a hidden layer; means and log-variances of three observations and a reward


@config
class Imagining:
    """An arm of MBPO.

    agent: its settings. exact: 1 for the simulator in place of the ensemble, else 0. units: of each hidden
    layer of the ensemble's networks, at most 32.
    """

    agent: MBPOConfig = MBPOConfig()
    exact: float = 0.0
    units: float = float(WIDTH)

    @property
    def interactions(self) -> int:
        """Real steps of one learner step."""
        return self.agent.interactions


def simulate(observation: Array, action: Array) -> tuple[Array, Array]:
    """Pendulum's next observation [..., 3] and reward [...], for torques [..., 1] (gymnax's equations)."""
    angle, speed = jnp.arctan2(observation[..., 1], observation[..., 0]), observation[..., 2]
    torque = jnp.clip(action[..., 0], -2.0, 2.0)
    reward = -(angle**2 + 0.1 * speed**2 + 0.001 * torque**2)
    speed = jnp.clip(speed + (15.0 * jnp.sin(angle) + 3.0 * torque) * 0.05, -8.0, 8.0)
    angle = angle + 0.05 * speed
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), speed], -1), reward


def narrow(units: Any) -> Net:
    """The ensemble's network; only the first ``units`` of each hidden layer are used. May be traced."""
    layers = [nets.mlp(None, (WIDTH,), activation="silu")] * 2 + [nets.mlp(OUTPUTS, ())]

    def init(key: Key, x: Array) -> tuple[Any, tuple[()]]:
        inputs = (x, *[jnp.zeros((1, WIDTH))] * 2)
        drawn = zip(layers, jax.random.split(key, 3), inputs)
        return tuple(layer.init(key, x)[0] for layer, key, x in drawn), ()

    def apply(params: Any, state: Any, x: Array, *, key: Any = None, train: bool = False) -> Any:
        used = (jnp.arange(WIDTH) < units)[None]
        for layer, own in zip(layers[:-1], params):
            x = jnp.where(used, layer.apply(own, (), x)[0], 0.0)
        return layers[-1].apply(params[-1], (), x)[0], state

    return Net(init, apply)


def ensemble_of(c: Imagining) -> Dynamics:
    """The learned ensemble of an arm, or the simulator in its place."""
    learned = dynamics(envs.make("Pendulum-v1"), narrow(c.units), c.agent.model)

    def sample(model: Any, noise: Array, observation: Array, action: Array) -> tuple[Array, Array]:
        guess = learned.sample(model, noise, observation, action)
        truth = simulate(observation, 2.0 * jnp.clip(action, -1.0, 1.0))
        return jax.tree.map(lambda x, y: jnp.where(c.exact > 0, y, x), guess, truth)

    return learned._replace(sample=sample)


def model_free(c: SACConfig) -> Agent:
    """SAC."""
    return sac(envs.make("Pendulum-v1"), *_networks(), c)


def model_based(c: Imagining) -> Agent:
    """SAC in an ensemble."""
    return mbpo(envs.make("Pendulum-v1"), *_networks(), ensemble_of(c), c.agent)


def _networks() -> tuple[Net, Net]:
    """Actor and critic, the same in all arms."""
    return nets.mlp(2, (WIDTH, WIDTH)), nets.mlp(1, (WIDTH, WIDTH))


def soft(rate: float, updates: int, steps: int, batch: int) -> SACConfig:
    """SAC with so many gradient steps for each of ten real steps, the same for all arms."""
    return SACConfig(
        learning_rate=rate, temperature_learning_rate=rate, target_rate=0.01, discount=0.98, batch_size=batch,
        buffer_size=steps, rollout_length=10, updates=10 * updates, learning_starts=min(100, steps // 2),
        total_steps=steps,
    )  # fmt: skip


def imagining(agent: SACConfig, exact: float = 0.0, units: float = float(WIDTH)) -> Imagining:
    """MBPO with SAC's settings; in ten real steps 100 rollouts of 5 steps."""
    size = agent.batch_size
    own = MBPOConfig(
        sac=agent, model=DynamicsConfig(learning_rate=3e-3), model_updates=40, model_batch=64, rollouts=100,
        rollout_length=5, imagined_size=5000, real=size // 8,
    )  # fmt: skip
    return Imagining(own, exact, units)


def starts() -> Array:
    """The first observations [16, 3] of the judged episodes, the same for all arms and seeds."""
    env = envs.make("Pendulum-v1")
    return jax.vmap(env.reset)(jax.random.split(jax.random.key(0), STARTS))[0]


def rewards_of(act: Callable[[Array], Array], first: Array) -> Array:
    """The true rewards [200, n] of a policy from torques ``act(observation [n, 3]) -> [n, 1]``."""

    def move(observation: Array, _: None) -> tuple[Array, Array]:
        return simulate(observation, act(observation))

    return jax.lax.scan(move, first, None, length=LENGTH)[1]


def evaluate_model_free(agent: Agent, c: Any, key: Key, state: Any, data: Any) -> Mapping[str, Array]:
    """The return of the greedy policy, from random play, 0, to a solved episode, 1."""
    del c, data
    rewards = rewards_of(lambda x: agent.policy.act(key, state, (), x)[0], starts())
    return {WORTH: (rewards.sum(0).mean() - CHANCE) / (BEST - CHANCE)}


def evaluate_model_based(agent: Agent, c: Imagining, key: Key, state: Any, data: Any) -> Mapping[str, Array]:
    """The same, and how far what the model says lies above, over several horizons.

    An error over a shorter horizon is that of an episode with such rewards at every step. The model tells
    rewards between the least one and 0, the range of the task.
    """
    del data
    first, model = starts(), ensemble_of(c)

    def torque(x: Array) -> Array:
        return agent.policy.act(key, state, (), x)[0]

    def act(_: None, x: Array) -> Array:
        return torque(x.reshape(-1, 3)).reshape(*x.shape[:-1], 1) / 2.0

    env, each = envs.make("Pendulum-v1"), jnp.broadcast_to(first[None], (model.members, STARTS, 3))
    told = imagine(env, model, state.model, key, each, act, None, LENGTH, propagation="tsinf").reward
    said, true = (
        jnp.clip(jnp.nan_to_num(told, nan=LEAST_REWARD), LEAST_REWARD, 0.0),
        rewards_of(torque, first),
    )
    gap = jnp.cumsum(said.mean((1, 2)) - true.mean(1)) / (BEST - CHANCE)
    errors = {f"{ERROR} over {h}": gap[h - 1] * LENGTH / h for h in HORIZONS}
    return {WORTH: (true.sum(0).mean() - CHANCE) / (BEST - CHANCE), ERROR: gap[-1], **errors}
