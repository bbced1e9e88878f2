"""PETS: whole steps against Chua et al. (2018, 1805.12114) in plain NumPy.

The reference draws random numbers from the same keys as the agent; it shares no other code with it.
"""

from __future__ import annotations

import functools
from typing import Any

import dream
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drift import BOX, Course, Ring, check_episodes, drift
from plain import assert_trees_close, compiled, numbers
from soft import to_env

from lrn.rl.model_based.cem import CEMConfig
from lrn.rl.model_based.dynamics import DynamicsConfig
from lrn.rl.model_based.imagine import Known
from lrn.rl.model_based.pets import PETSConfig, pets

ENV = drift(BOX)
# The first two rounds act randomly, and learning starts in the second, to test "after eight steps" exactly.
KNOWING = PETSConfig(
    search=CEMConfig(population=7, elites=3, iterations=3, inertia=0.2, spread=0.4),
    model=DynamicsConfig(members=2, learning_rate=0.03, weight_decay=0.2, bound_penalty=0.15),
    horizon=3, particles=4, propagation="ts1", batch_size=3, buffer_size=11, num_envs=2, rollout_length=2,
    updates=2, learning_starts=8, total_steps=40,
)  # fmt: skip
LEARNING = PETSConfig(
    search=CEMConfig(population=6, elites=2, iterations=2, inertia=0.0, spread=0.3),
    model=DynamicsConfig(members=3, learning_rate=0.02, weight_decay=0.0, bound_penalty=0.0),
    horizon=2, particles=3, propagation="tsinf", batch_size=4, buffer_size=8, num_envs=1, rollout_length=3,
    updates=1, learning_starts=5, total_steps=40,
)  # fmt: skip


def plan_draws(c: PETSConfig, key: Any) -> Any:
    """The draws of the search for one plan: its samples, and those of imagination in each iteration."""
    noise_key, score_key = jax.random.split(key)
    shape = (c.search.iterations, c.search.population, c.horizon, 2)
    keys = jax.vmap(lambda i: jax.random.fold_in(score_key, i))(jnp.arange(c.search.iterations))
    luck = jax.vmap(lambda k: dream.luck(k, c.horizon, c.particles))(keys)
    return jax.random.truncated_normal(noise_key, -2.0, 2.0, shape), luck


def act_draws(c: PETSConfig, n: int, key: Any) -> Any:
    """The draws of the searches for n plans."""
    return jax.vmap(functools.partial(plan_draws, c))(jax.random.split(key, n))


def step_draws(c: PETSConfig, key: Any, filled: Any) -> Any:
    """The draws of a step: for each time the environments' key, random actions and draws of planning."""
    play_key, row_key = jax.random.split(key)

    def moment(key: Any) -> Any:
        plan_key, random_key, env_key = jax.random.split(key, 3)
        drawn = jax.random.uniform(random_key, (c.num_envs, 2), minval=-1.0, maxval=1.0)
        return env_key, drawn, act_draws(c, c.num_envs, jax.random.split(plan_key)[1])

    moments = jax.vmap(moment)(jax.random.split(play_key, c.rollout_length))
    env_keys, *drawn = moments
    index = jax.random.randint(row_key, (c.updates, c.model.members, c.batch_size), 0, filled)
    return [env_keys[t] for t in range(c.rollout_length)], *drawn, index


class Reference:
    """The reference: an agent's state after ``agent.init(key)``, and its steps, in NumPy."""

    def __init__(self, config: PETSConfig, state: Any, known: Known | None):
        self.config, self.known = config, known
        self.model, self.plans = dream.Ensemble(state.model, config.model), numbers(state.plans)
        self.course, self.ring, self.steps = Course(state.live), Ring(config.buffer_size), 0

    @functools.cached_property
    def draws(self) -> Any:
        """The compiled function from a key and the number of rows in the replay to the draws of a step."""
        return compiled(functools.partial(step_draws, self.config), jax.random.key(0), 0)

    def search(self, drawn: Any, x: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, float]:
        """The cross-entropy method for one plan [horizon, 2]; also the mean score of the last elites."""
        c, (noises, luck) = self.config.search, drawn
        mean, std, scored = first, np.full(first.shape, c.spread), np.zeros(0)
        for i, noise in enumerate(numbers(noises)):
            room = (1 - abs(mean)) / 2  # two standard deviations stay within the box
            plans = mean + np.minimum(std, room) * noise
            start = np.broadcast_to(x, (self.config.particles, c.population, 2))
            steps = self.model.imagine(
                jax.tree.map(lambda v, i=i: v[i], luck), start,
                lambda t, x, plans=plans: np.broadcast_to(plans[:, t], x.shape),
                self.known, self.config.propagation,
            )  # fmt: skip
            score = np.sum([np.where(s["alive"], s["reward"], 0.0) for s in steps], 0).mean(0)
            best = np.argsort(-score)[: c.elites]
            scored, elites = score[best], plans[best]
            std = np.sqrt(c.inertia * std**2 + (1 - c.inertia) * elites.var(0))
            mean = c.inertia * mean + (1 - c.inertia) * elites.mean(0)
        return mean, scored.mean()

    def plan(self, draws: Any, x: np.ndarray, plans: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Actions [n, 2] in [-1, 1], the plans for the next step, and expected returns."""
        each = [jax.tree.map(lambda v, e=e: v[e], draws) for e in range(len(x))]
        results = [self.search(*args) for args in zip(each, x, plans)]
        best = np.stack([plan for plan, _ in results])
        later = np.concatenate([best[:, 1:], np.zeros_like(best[:, :1])], 1)
        return best[:, 0], later, np.array([score for _, score in results])

    def step(self, key: Any) -> tuple[dict[str, Any], list[Any]]:
        c, filled = self.config, min(self.ring.written + self.config.interactions, self.config.buffer_size)
        env_keys, *drawn = self.draws(key, filled)
        random, planning, index = jax.tree.map(np.asarray, drawn)
        played, over, expected = [], [], []
        for t in range(c.rollout_length):

            def act(_: int, x: np.ndarray, t: int = t) -> tuple[np.ndarray, np.ndarray]:
                if self.steps < c.learning_starts:
                    unit, told = numbers(random[t]), np.zeros(c.num_envs)
                else:
                    draws = jax.tree.map(lambda v: v[t], planning)
                    unit, self.plans, told = self.plan(draws, x, self.plans)
                expected.append(told)
                return 0.3 * to_env(unit), unit

            rows, ended = self.course.play(env_keys[t], 1, act)
            for e, row in enumerate(rows):
                if row["terminated"] or row["truncated"]:
                    self.plans[e] = 0.0
            played, over = played + rows, over + ended
        self.ring.add(played)
        self.model.see(played)
        self.steps += len(played)
        measured: dict[str, Any] = {"expected_return": np.mean(expected)}
        if self.steps >= c.learning_starts:
            measured["nll"] = np.mean([self.learn(rows) for rows in index])
        return measured, over

    def learn(self, index: np.ndarray) -> float:
        batches = [self.ring.take(rows) for rows in index]
        return self.model.learn({k: np.stack([b[k] for b in batches]) for k in batches[0]})

    def check(self, state: Any, metrics: Any, measured: dict[str, Any], over: list[Any]) -> None:
        """Assert that every leaf of the state and every metric equal those of the reference."""
        self.model.check(state.model)
        np.testing.assert_allclose(state.plans, self.plans, rtol=1e-4, atol=1e-5)
        self.course.check(state.live)
        self.ring.check(state.replay)
        assert int(state.steps) == self.steps
        check_episodes(metrics, over)
        assert set(metrics) == {"return", "length", "nll", "expected_return"}
        np.testing.assert_allclose(metrics["expected_return"], measured["expected_return"], rtol=1e-4)
        assert float(metrics["nll"].weight) == ("nll" in measured)
        if "nll" in measured:
            np.testing.assert_allclose(metrics["nll"].value, measured["nll"], rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "known"), [(KNOWING, dream.KNOWN), (LEARNING, None)], ids=["reward known", "reward learned"]
)
def test_steps_are_those_of_the_paper(config, known):
    agent, key = pets(ENV, dream.NET, config, known), jax.random.key(2)
    state = compiled(agent.init, key, None)(key, None)

    # The initial state, and the keys that it is drawn from.
    model_key, play_key = jax.random.split(key)
    Course.begin(play_key, config.num_envs).check(state.live)
    dream.check_init(model_key, state.model, config.model.members)
    shape = (config.num_envs, config.horizon, 2)
    np.testing.assert_array_equal(state.plans, np.zeros(shape))

    plans = np.linspace(-0.8, 0.9, np.prod(shape)).reshape(shape)
    state = state._replace(model=dream.narrowed(state.model), plans=jnp.asarray(plans, jnp.float32))
    reference, step = Reference(config, state, known), compiled(agent.step, key, state, None)
    for t in range(6):
        measured, over = reference.step(jax.random.key(100 + t))
        state, metrics = step(jax.random.key(100 + t), state, None)
        reference.check(state, metrics, measured, over)
    assert reference.ring.written > 1.5 * config.buffer_size


def test_the_policy_plans_on():
    agent, key = pets(ENV, dream.NET, KNOWING, dream.KNOWN), jax.random.key(5)
    state = compiled(agent.init, key, None)(key, None)
    state = state._replace(model=dream.narrowed(state.model))
    reference, x = Reference(KNOWING, state, dream.KNOWN), np.array([[0.3, -0.8], [-0.9, 0.2], [0.5, 0.4]])
    np.testing.assert_array_equal(agent.policy.initial(3), np.zeros((3, 3, 2)))
    plans = np.linspace(-0.7, 0.8, 18, dtype=np.float32).reshape(3, 3, 2)
    act_key, sample_key = jax.random.split(key)
    plan_key, random_key = jax.random.split(sample_key)

    def both(state: Any, x: Any, plans: Any) -> Any:
        return (
            agent.policy.act(act_key, state, plans, x),
            agent.policy.sample(sample_key, state, plans, x),
            [act_draws(KNOWING, 3, k) for k in (act_key, plan_key)],
            jax.random.uniform(random_key, (3, 2), minval=-1.0, maxval=1.0),
        )

    told = compiled(both, state, x.astype(np.float32), plans)

    # `act` is greedy at all times; `sample` acts as training does: at random before step 8.
    early = state._replace(steps=jnp.int32(7))
    act, sample, draws, random = jax.tree.map(np.asarray, told(early, x.astype(np.float32), plans))
    unit, later, _ = reference.plan(draws[0], x, plans)
    assert_trees_close(act, (to_env(unit), later))
    assert_trees_close(sample, (to_env(random), plans))

    # From step 8 on `sample` acts by its plans.
    late = state._replace(steps=jnp.int32(8))
    _, sample, _, _ = told(late, x.astype(np.float32), plans)
    unit, later, _ = reference.plan(draws[1], x, plans)
    assert_trees_close(sample, (to_env(unit), later))
