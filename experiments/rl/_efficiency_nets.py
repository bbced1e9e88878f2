"""SAC, and planning in a learned ensemble, on Pendulum, and exactly what a policy and its model are worth.

The planner has the ensemble of PETS (Chua et al. 2018). It plans by value iteration on a grid over the angle
and the speed, which two dimensions allow, in place of a search. The pendulum is deterministic, so a simulator
gives the true return of a policy. A planner may have the simulator in place of its ensemble; all planners are
one program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import nets
from lrn.config import config
from lrn.rl import env as envs
from lrn.rl import play, rates, replay
from lrn.rl.agent import Agent, memoryless
from lrn.rl.continuous import collect, once_ready, start_replay, to_env
from lrn.rl.model_based.dynamics import Dynamics, DynamicsConfig, dynamics
from lrn.rl.model_based.imagine import imagine
from lrn.rl.sac import SACConfig, sac
from lrn.types import Array, Batch, Key, Metrics, Net

BEST, CHANCE = -150.0, -1200.0  # returns of a solved episode, and of random play
LENGTH, STARTS, LEAST_REWARD = 200, 16, -16.3
HORIZONS = (2, 10, 50, LENGTH)
WORTH, ERROR = "worth", "error of the told worth"
WIDTH, OUTPUTS = 32, 8  # units of a hidden layer; means and log-variances of three observations and a reward
ANGLES, SPEEDS, FASTEST, SWEEPS, DISCOUNT = 25, 21, 8.0, 10, 0.98
TORQUES = (-1.0, 0.0, 1.0)
TOGETHER, WARM_UP, EXPLORE = 10, 100, 0.1  # steps together; random steps; their share later


@config
class Planner:
    """Settings.

    model: of the ensemble. exact: 1 for the simulator in place of the ensemble, else 0. units: of each hidden
    layer of the ensemble's networks, at most 32. updates: gradient steps of the ensemble for a real step.
    batch: transitions in a gradient step. steps: real steps.
    """

    model: DynamicsConfig = DynamicsConfig()
    exact: float = 0.0
    units: float = float(WIDTH)
    updates: int = 8
    batch: int = 64
    steps: int = 1000

    @property
    def interactions(self) -> int:
        """Real steps of one learner step."""
        return TOGETHER


class Planning(NamedTuple):
    """State of a planner: model, real steps, environment, action values [cell, torque], and a count."""

    model: Any
    replay: replay.Played
    live: play.Live
    q: Array
    steps: Array


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


def ensemble_of(c: Planner) -> Dynamics:
    """The learned ensemble of an arm, or the simulator in its place."""
    learned = dynamics(envs.make("Pendulum-v1"), narrow(c.units), c.model)

    def sample(model: Any, noise: Array, observation: Array, action: Array) -> tuple[Array, Array]:
        guess = learned.sample(model, noise, observation, action)
        truth = simulate(observation, 2.0 * jnp.clip(action, -1.0, 1.0))
        return jax.tree.map(lambda x, y: jnp.where(c.exact > 0, y, x), guess, truth)

    return learned._replace(sample=sample)


def soft(rate: float, updates: int, steps: int, batch: int) -> SACConfig:
    """SAC with so many gradient steps for a real step."""
    return SACConfig(
        learning_rate=rate, temperature_learning_rate=rate, target_rate=0.01, discount=DISCOUNT,
        batch_size=batch, buffer_size=steps, rollout_length=TOGETHER, updates=TOGETHER * updates,
        learning_starts=WARM_UP, total_steps=steps,
    )  # fmt: skip


def model_free(c: SACConfig) -> Agent:
    """SAC."""
    return sac(envs.make("Pendulum-v1"), nets.mlp(2, (WIDTH, WIDTH)), nets.mlp(1, (WIDTH, WIDTH)), c)


def corners(observation: Array) -> tuple[Array, Array]:
    """The four cells of the grid around observations [..., 3], int32 [..., 4], and their weights [..., 4]."""
    angle = (jnp.arctan2(observation[..., 1], observation[..., 0]) / (2 * jnp.pi) + 0.5) * ANGLES
    speed = (jnp.clip(observation[..., 2], -FASTEST, FASTEST) / FASTEST + 1) / 2 * (SPEEDS - 1)
    i = jnp.floor(angle).astype(jnp.int32)
    j = jnp.clip(jnp.floor(speed).astype(jnp.int32), 0, SPEEDS - 2)
    f, g = angle - i, speed - j
    cells = [(k % ANGLES) * SPEEDS + m for k in (i, i + 1) for m in (j, j + 1)]
    weights = [(1 - f) * (1 - g), (1 - f) * g, f * (1 - g), f * g]
    return jnp.stack(cells, -1), jnp.stack(weights, -1)


def planned(ensemble: Dynamics, model: Any, q: Array) -> Array:
    """Action values [cell, torque] after sweeps of value iteration in the mean over the members."""
    angle, speed = jnp.meshgrid(
        2 * jnp.pi * (jnp.arange(ANGLES) / ANGLES - 0.5),
        jnp.linspace(-FASTEST, FASTEST, SPEEDS),
        indexing="ij",
    )
    cells = jnp.stack([jnp.cos(angle), jnp.sin(angle), speed], -1).reshape(-1, 1, 3)
    shape = (ensemble.members, cells.shape[0] * len(TORQUES))
    first = jnp.broadcast_to(cells, (cells.shape[0], len(TORQUES), 3)).reshape(1, -1, 3)
    torques = jnp.tile(jnp.array(TORQUES), cells.shape[0]).reshape(1, -1, 1)
    first, torques = jnp.broadcast_to(first, (*shape, 3)), jnp.broadcast_to(torques, (*shape, 1))
    after, reward = ensemble.sample(model, jnp.zeros((*shape, 4)), first, torques)
    near, weights = corners(after)

    def sweep(_: int, q: Array) -> Array:
        ahead = (weights * q.max(-1)[near]).sum(-1)
        return (reward + DISCOUNT * ahead).mean(0).reshape(q.shape)

    return jax.lax.fori_loop(0, SWEEPS, sweep, q)


def model_based(c: Planner) -> Agent:
    """A planner in an ensemble."""
    env, ensemble = envs.make("Pendulum-v1"), ensemble_of(c)

    def init(key: Key, batch: Batch = None) -> Planning:
        model_key, play_key = jax.random.split(key)
        live = play.start(env, play_key, 1)
        held = start_replay(env, live, c.steps, TOGETHER)
        zeros = jnp.zeros((ANGLES * SPEEDS, len(TORQUES)))
        return Planning(ensemble.init(model_key), held, live, zeros, jnp.int32(0))

    def unit(q: Array, observation: Array) -> Array:
        near, weights = corners(observation)
        return jnp.array(TORQUES)[jnp.argmax((weights[..., None] * q[near]).sum(-2), -1)][:, None]

    def step(key: Key, state: Planning, batch: Batch = None) -> tuple[Planning, Metrics]:
        play_key, noise_key, row_key = jax.random.split(key, 3)

        def act(noise: Array, observation: Array) -> Array:
            u = jax.scipy.stats.norm.cdf(noise)  # below EXPLORE it says which random torque is played
            return jnp.where(u < EXPLORE, 2 * u / EXPLORE - 1, unit(state.q, observation))

        noise = jax.random.normal(noise_key, (TOGETHER, 1, 1))
        live, fresh, ended = collect(env, play_key, state.live, act, noise, state.steps < WARM_UP)
        held, steps = replay.record(state.replay, fresh, live.observation), rates.count(state.steps, TOGETHER)
        before = ensemble.see(state.model, fresh)
        rows = replay.draw(row_key, held, (TOGETHER * c.updates, ensemble.members, c.batch))
        model, nll = jax.lax.scan(lambda m, r: ensemble.update(m, replay.take(held, r)), before, rows)
        new, old = (model, planned(ensemble, model, state.q)), (before, state.q)
        (model, q), metrics = once_ready(steps >= WARM_UP, new, old, {"nll": nll})
        return Planning(model, held, live, q, steps), {**metrics, **play.episode_metrics(ended)}

    return Agent(init, step, memoryless(lambda state, x: to_env(env, unit(state.q, x))))


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


def evaluate_model_based(agent: Agent, c: Planner, key: Key, state: Any, data: Any) -> Mapping[str, Array]:
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
