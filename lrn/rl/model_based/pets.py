"""PETS: plan by sampling in a learned ensemble, act, and learn the model from the data (Chua et al. 2018).

arXiv 1805.12114. PETS has no policy. At every step the cross-entropy method searches for the sequence of
actions with the largest return that the ensemble expects. The first action is played, and the other actions
start the search of the next step.

One thing differs from the paper: the model makes ``updates`` gradient steps for every ``rollout_length``
environment steps, and is not trained anew after every episode, so that a learner step has a fixed cost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl import play, rates, replay
from lrn.rl.agent import Agent, Policy
from lrn.rl.continuous import once_ready, start_replay, to_env
from lrn.rl.env import Env, require_continuous
from lrn.rl.model_based.cem import CEMConfig, cem, shift
from lrn.rl.model_based.dynamics import Dynamics, DynamicsConfig, dynamics
from lrn.rl.model_based.imagine import Known, imagine
from lrn.rl.replay import Transition
from lrn.types import Array, Batch, Example, Goal, Key, Metrics, Net, PyTree


@config
class PETSConfig:
    """Settings. A learner step plays ``rollout_length`` steps in each environment, then updates the model.

    search: settings of the planner.
    model: settings of the ensemble.
    horizon: number of steps of a plan.
    particles: number of imagined courses of events for each plan, a multiple of the ensemble's members.
    propagation: assignment of particles to members: "ts1" or "tsinf", see `lrn.rl.model_based.imagine`.
    batch_size: transitions in a gradient step of each member.
    buffer_size: transitions that the replay keeps, see `lrn.rl.replay.start`.
    num_envs: environments played side by side.
    rollout_length: steps in each environment of one learner step.
    updates: gradient steps of the ensemble in a learner step, each member on a batch of its own.
    learning_starts: environment steps before the first update; their actions are uniformly random.
    total_steps: environment steps of the training, all environments together.
    """

    search: CEMConfig = CEMConfig()
    model: DynamicsConfig = DynamicsConfig()
    horizon: int = 20
    particles: int = 5
    propagation: str = "ts1"
    batch_size: int = 128
    buffer_size: int = 20_000
    num_envs: int = 1
    rollout_length: int = 10
    updates: int = 50
    learning_starts: int = 200
    total_steps: int = 2_000

    def __post_init__(self) -> None:
        for name in (
            "horizon",
            "particles",
            "batch_size",
            "num_envs",
            "rollout_length",
            "updates",
            "learning_starts",
        ):
            check.integer(name, getattr(self, name), 1)
        rates.check_total_steps(self.total_steps)
        rates.check_warm_up(self.learning_starts, self.total_steps, self.interactions)
        check.integer("buffer_size", self.buffer_size, low=self.interactions)
        replay.check_sizes(self.buffer_size, self.batch_size)

    @property
    def interactions(self) -> int:
        """Environment steps of one learner step."""
        return self.num_envs * self.rollout_length


class PETSState(NamedTuple):
    """State of PETS.

    model: the learned model.
    replay: the transitions that are kept, with actions [dim] in [-1, 1].
    live: the environments in the middle of their episodes.
    plans: plans that start the next searches, [num_envs, horizon, dim] in [-1, 1].
    steps: int32, environment steps so far.
    """

    model: PyTree
    replay: replay.Played
    live: play.Live
    plans: Array
    steps: Array


def pets(env: Env, net: Net | Dynamics, config: PETSConfig, known: Known | None = None) -> Agent:
    """Probabilistic ensembles with trajectory sampling.

    Args:
        env: the environment, with continuous actions.
        net: the network of the ensemble, see `lrn.rl.model_based.dynamics`; or another model as `Dynamics`,
            such as a simulator.
        config: settings.
        known: parts of the task that need no learning: its reward and its terminations.

    Metrics: ``return`` and ``length`` of the episodes that ended; ``nll``, the negative log-likelihood of the
    ensemble in nats per output of unit variance; ``expected_return``, the return that the ensemble expects of
    the plans over their horizon.

    Raises:
        ValueError: the actions are discrete, the network does not fit, or the particles are no multiple of
        the
            members.
    """
    box, known = require_continuous(env, "pets"), known or Known()
    ensemble = net if isinstance(net, Dynamics) else dynamics(env, net, config.model)
    if config.particles % ensemble.members:
        raise check.InputError(
            f"particles must be a multiple of the {ensemble.members} members of the ensemble, got "
            f"{config.particles}; choose such a number."
        )

    def blank(n: int) -> Array:
        return jnp.zeros((n, config.horizon, box.size))

    def plan(model: PyTree, key: Key, observation: Array, first: Array) -> tuple[Array, Array]:
        """The best plan [horizon, dim] found for one observation, and its expected return."""
        flat = observation.reshape(1, 1, -1)

        def score(key: Key, plans: Array) -> Array:
            population = plans.shape[0]
            start = jnp.broadcast_to(flat, (config.particles, population, flat.shape[-1]))

            def act(actions: Array, observation: Array) -> Array:
                return jnp.broadcast_to(actions, (*observation.shape[:2], box.size))

            steps = jnp.moveaxis(plans, 1, 0)[:, None]  # [horizon, 1, population, dim]
            return imagine(
                env, ensemble, model, key, start, act, steps, config.horizon, known, config.propagation
            ).returns()

        result = cem(score, key, first, config.search)
        return result.mean, result.score

    def act(model: PyTree, key: Key, observation: Array, plans: Array) -> tuple[Array, Array, Array]:
        keys = jax.random.split(key, observation.shape[0])
        plans, expected = jax.vmap(plan, in_axes=(None, 0, 0, 0))(model, keys, observation, plans)
        return plans[:, 0], jax.vmap(shift)(plans), expected

    def init(key: Key, batch: Batch = None) -> PETSState:
        model_key, play_key = jax.random.split(key)
        live = play.start(env, play_key, config.num_envs)
        return PETSState(
            ensemble.init(model_key),
            start_replay(env, live, config.buffer_size, config.interactions),
            live,
            blank(config.num_envs),
            jnp.int32(0),
        )

    def collect(key: Key, state: PETSState) -> tuple[play.Live, Array, Transition, tuple[play.Ended, Array]]:
        random = state.steps < config.learning_starts

        def move(carry: tuple[play.Live, Array], key: Key):
            live, plans = carry
            plan_key, random_key, env_key = jax.random.split(key, 3)
            drawn = jax.random.uniform(random_key, (config.num_envs, box.size), minval=-1.0, maxval=1.0)

            # A while loop of at most one turn: under vmap a `cond` would always plan, which is expensive.
            def search(x: Any) -> Any:
                key, use = jax.random.split(x[1])
                return jnp.array(False), key, *act(state.model, use, live.observation, plans)

            idle = (~random, plan_key, drawn, plans, jnp.zeros(config.num_envs))
            _, _, unit, plans, expected = jax.lax.while_loop(lambda x: x[0], search, idle)
            after, step, ended = play.advance(env, env_key, live, to_env(env, unit))
            plans = jnp.where(jnp.expand_dims(step.ended, (1, 2)), 0.0, plans)
            row = Transition(
                live.observation, unit, step.reward, step.terminated, step.truncated, step.final_observation
            )
            return (after, plans), (row, (ended, expected))

        keys = jax.random.split(key, config.rollout_length)
        (live, plans), (rows, outcomes) = jax.lax.scan(move, (state.live, state.plans), keys)
        return live, plans, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows), outcomes

    def step(key: Key, state: PETSState, batch: Batch = None) -> tuple[PETSState, Metrics]:
        play_key, row_key = jax.random.split(key)
        live, plans, fresh, (ended, expected) = collect(play_key, state)
        buffer = replay.record(state.replay, fresh, live.observation)
        steps = rates.count(state.steps, config.interactions)
        before = ensemble.see(state.model, fresh)
        rows = replay.draw(row_key, buffer, (config.updates, ensemble.members, config.batch_size))
        model, nll = jax.lax.scan(
            lambda model, rows: ensemble.update(model, replay.take(buffer, rows)), before, rows
        )
        model, metrics = once_ready(steps >= config.learning_starts, model, before, {"nll": nll})
        metrics = {**metrics, "expected_return": expected.mean(), **play.episode_metrics(ended)}
        return PETSState(model, buffer, live, plans, steps), metrics

    def greedy(key: Key, state: PETSState, plans: Array, observation: Array) -> tuple[Array, Array]:
        unit, plans, _ = act(state.model, key, observation, plans)
        return to_env(env, unit), plans

    def sample(key: Key, state: PETSState, plans: Array, observation: Array) -> tuple[Array, Array]:
        plan_key, random_key = jax.random.split(key)
        unit, planned, _ = act(state.model, plan_key, observation, plans)
        drawn = jax.random.uniform(random_key, unit.shape, minval=-1.0, maxval=1.0)
        random = state.steps < config.learning_starts
        return to_env(env, jnp.where(random, drawn, unit)), jnp.where(random, plans, planned)

    return Agent(init, step, Policy(blank, greedy, sample))


def example() -> Example:
    """A small agent on the environment that pays for repeating a number."""
    from lrn import nets
    from lrn.rl import identity

    env, net = identity.continuous_echo(), nets.mlp(4, (16,))
    return Example(
        factory=lambda config: pets(env, net, config),
        config=PETSConfig(
            search=CEMConfig(population=16, elites=4, iterations=2),
            model=DynamicsConfig(members=2),
            horizon=2,
            particles=2,
            batch_size=16,
            buffer_size=200,
            num_envs=2,
            rollout_length=2,
            updates=2,
            learning_starts=8,
        ),
        solves=Goal("return", above=0.8),
    )
