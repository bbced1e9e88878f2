"""Tabular methods: whole steps against the papers' updates in plain NumPy, every option on.

The reference draws random numbers from the same keys as the agent; it shares no other code with it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import ACTIONS, PLACES, Move, Walker, check_every_ending, compiled, places, scheduled

from lrn.rl import tabular
from lrn.rl.rates import LARGEST
from lrn.rl.tabular import Schedule

ENV = places()
CONTROL = {
    "q_learning": tabular.q_learning,
    "sarsa": tabular.sarsa,
    "expected_sarsa": tabular.expected_sarsa,
    "double_q_learning": tabular.double_q_learning,
}
STEPS = 3
CONFIG = tabular.ControlConfig(
    discount=0.7, step_size=Schedule(0.8, rate=0.3, power=0.6), epsilon=Schedule(0.9, rate=0.5, power=0.4),
    initial=0.25, interactions=9,
)  # fmt: skip
GIVEN = np.sin(np.arange(PLACES * ACTIONS, dtype=np.float32)).reshape(PLACES, ACTIONS)
EYE: Any = np.eye(PLACES, dtype=np.float32).reshape(PLACES, 2, 3)


class Control:
    """The reference: an agent's tables after ``agent.init(key)``, and its steps, in NumPy."""

    def __init__(self, name: str, config: tabular.ControlConfig, key: Any, initial: np.ndarray | None):
        self.name, self.config = name, config
        start_key, act_key = jax.random.split(key)
        self.walker = Walker.begin(start_key)
        shape = (2 if name == "double_q_learning" else 1, PLACES, ACTIONS)
        self.tables = np.full(shape, config.initial) + (0 if initial is None else initial - config.initial)
        self.visits, self.moves = np.zeros(shape, int), []
        self.action = self.act(jax.random.uniform(act_key, (ACTIONS + 1,)), self.walker.number)

    @property
    def q(self) -> np.ndarray:
        return self.tables.mean(0)

    def epsilon(self, state: int) -> float:
        """Epsilon at the next visit of the state."""
        return scheduled(self.config.epsilon, self.visits[:, state].sum() + 1)

    def act(self, u: Any, state: int) -> int:
        u, q = np.asarray(u, np.float64), self.q[state]
        if u[-1] < self.epsilon(state):
            return int(u[:-1].argmax())
        best = np.flatnonzero(np.abs(q - q.max()) < 1e-6)
        return int(best[u[best].argmax()])

    def target(self, move: Move, table: int, following: int) -> float:
        """The target of the updated action value, without reward and discount."""
        here, values = move.following, self.tables[0, move.following]
        if self.name == "q_learning":
            return values.max()
        if self.name == "sarsa":
            return values[following]
        if self.name == "expected_sarsa":
            return (1 - self.epsilon(here)) * values.max() + self.epsilon(here) * values.mean()
        return self.tables[1 - table, here, self.tables[table, here].argmax()]

    def step(self, key: Any) -> list[float]:
        """One step of the learner; returns the errors."""
        env_key, act_key = jax.random.split(key)
        n, errors = self.config.interactions, []
        u = np.asarray(jax.random.uniform(act_key, (n, 3, ACTIONS + 1)))
        draws = self.walker.draws(jax.random.split(env_key, n))
        for t in range(n):
            move = self.walker.move(self.action, draws[t])
            table, q = int(u[t, 0, 0] * len(self.tables)), self.q.copy()
            self.visits[table, move.state, move.action] += 1
            following, fresh = (self.act(u[t, i], s) for i, s in ((1, move.following), (2, move.begins)))
            follows = 0.0 if move.terminated else self.target(move, table, following)
            error = move.reward + self.config.discount * follows - self.tables[table, move.state, move.action]
            size = scheduled(self.config.step_size, self.visits[table, move.state, move.action])
            self.tables[table, move.state, move.action] += size * error
            assert np.array_equal(q, self.q) == (error == 0)  # actions are chosen before the update
            self.action = fresh if move.ended else following
            self.moves.append(move)
            errors.append(error)
        return errors

    def check(self, state: Any) -> None:
        """Assert that every leaf of the state equals that of the reference."""
        np.testing.assert_allclose(state.tables, self.tables, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(state.visits, self.visits)
        assert state.visits.dtype == jnp.int32
        np.testing.assert_allclose(state.q, self.q, rtol=1e-4, atol=1e-5)
        assert state.action.tolist() == [self.action]
        self.walker.check(state.live)


def initial_of(name: str) -> Any:
    """The initial table of an agent, for two of the four; else None."""
    return GIVEN if name in ("sarsa", "double_q_learning") else None


@pytest.fixture(scope="module")
def control():
    """Initial states, states, metrics, greedy and sampled actions of the agents, computed in one program."""
    agents = {name: make(ENV, CONFIG, initial_of(name)) for name, make in CONTROL.items()}

    def init(key):
        return {name: agent.init(key, None) for name, agent in agents.items()}

    def step(key, states):
        return {name: agent.step(key, states[name], None) for name, agent in agents.items()}

    def act(key, states):
        policies = {name: agent.policy for name, agent in agents.items()}
        return {
            name: (p.act(key, states[name], (), EYE)[0], p.sample(key, states[name], (), EYE)[0])
            for name, p in policies.items()
        }

    key = jax.random.key(5)
    states = [compiled(init, key)(key)]
    metrics, stepped = [], compiled(step, key, states[0])
    for t in range(STEPS):
        result = stepped(jax.random.key(100 + t), states[-1])
        states.append({name: state for name, (state, _) in result.items()})
        metrics.append({name: measured for name, (_, measured) in result.items()})
    acted = compiled(act, key, states[-1])
    return states, metrics, acted(jax.random.key(7), states[-1]), stepped


@pytest.mark.parametrize("name", CONTROL)
def test_control_steps_are_those_of_the_papers(name, control):
    states, metrics, (greedy, sampled), _ = *control[:2], control[2][name], None
    reference = Control(name, CONFIG, jax.random.key(5), initial_of(name))
    reference.check(states[0][name])
    for t in range(STEPS):
        errors = reference.step(jax.random.key(100 + t))
        reference.check(states[t + 1][name])
        reference.walker.check_metrics(metrics[t][name], errors)
    check_every_ending(reference.moves)

    np.testing.assert_array_equal(greedy, reference.q.argmax(-1))
    u = jax.random.uniform(jax.random.key(7), (PLACES, ACTIONS + 1))
    np.testing.assert_array_equal(sampled, [reference.act(u[s], s) for s in range(PLACES)])
    assert sampled.tolist() != greedy.tolist()


@pytest.mark.parametrize("name", CONTROL)
def test_counts_of_visits_stop_at_the_largest(name, control):
    """A count that wraps around would make step size and epsilon NaN."""
    states, _, _, step = control
    full = {k: s._replace(visits=jnp.full_like(s.visits, LARGEST)) for k, s in states[-1].items()}
    after, metrics = step(jax.random.key(3), full)[name]
    assert (after.visits == LARGEST).all()
    assert np.isfinite(after.tables).all()
    assert np.isfinite(metrics["td_error"])
    size, moved = scheduled(CONFIG.step_size, LARGEST), np.abs(after.tables - full[name].tables).max()
    assert 0 < moved < 10 * CONFIG.interactions * size


# Prediction.

POLICY = np.array(
    [[0.2, 0.5, 0.3], [0.6, 0.0, 0.4], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7], [0.3, 0.3, 0.4], [0.5, 0.25, 0.25]]
)
SHARED: Any = {
    "discount": 0.8,
    "step_size": Schedule(0.7, rate=0.4, power=0.5),
    "initial": 0.3,
    "interactions": 9,
}
LEARNERS = {
    "td": tabular.td(ENV, POLICY, tabular.TDConfig(**SHARED)),
    **{
        trace: tabular.td_lambda(ENV, POLICY, tabular.TDLambdaConfig(lambda_=0.6, trace=trace, **SHARED))
        for trace in ("accumulating", "replacing", "dutch")
    },
}


class Prediction:
    """The reference: a learner's values after ``learner.init(key)``, and its steps, in NumPy."""

    def __init__(self, name: str, key: Any):
        self.name, self.walker, self.moves = name, Walker.begin(key), []
        self.values, self.visits = np.full(PLACES, SHARED["initial"]), np.zeros(PLACES, int)
        self.trace, self.old = np.zeros(PLACES), SHARED["initial"]

    def step(self, key: Any) -> list[float]:
        env_key, act_key = jax.random.split(key)
        n, errors = SHARED["interactions"], []
        u = np.asarray(jax.random.uniform(act_key, (n,)), np.float64)
        draws = self.walker.draws(jax.random.split(env_key, n))
        for t in range(n):
            action = int((POLICY[self.walker.number].cumsum() <= u[t]).sum())
            move = self.walker.move(action, draws[t])
            self.visits[move.state] += 1
            errors.append(self.learn(move, scheduled(SHARED["step_size"], self.visits[move.state])))
            self.moves.append(move)
        return errors

    def learn(self, move: Move, size: float) -> float:
        """An update (Sutton and Barto 2018, 6.2, and 12.2 to 12.5 for a table); traces include step sizes."""
        here = np.eye(PLACES)[move.state]
        value, following = self.values[move.state], self.values[move.following] * (not move.terminated)
        error = move.reward + SHARED["discount"] * following - value
        if self.name == "td":
            self.values = self.values + size * error * here
            return error
        # At the start of an episode the trace is 0, and the earlier bootstrap value cancels.
        begins, faded = not self.trace.any(), SHARED["discount"] * 0.6 * self.trace
        if self.name == "accumulating":
            self.trace = faded + size * here
        elif self.name == "replacing":
            self.trace = faded * (1 - here) + size * here
        else:
            self.trace = faded + size * (1 - faded[move.state]) * here
        self.values = self.values + error * self.trace
        if self.name == "dutch":
            change = 0.0 if begins else value - self.old
            self.values = self.values + change * (self.trace - size * here)
        self.old, self.trace = following, self.trace * (not move.ended)
        return error

    def check(self, state: Any) -> None:
        """Assert that every leaf of the state equals that of the reference."""
        assert set(state.learnt._fields) - {"trace", "expected"} == {"values", "visits"}
        np.testing.assert_allclose(state.learnt.values, self.values, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(state.learnt.visits, self.visits)
        if self.name != "td":
            np.testing.assert_allclose(state.learnt.trace, self.trace, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(state.learnt.expected, self.old, rtol=1e-4, atol=1e-5)
        self.walker.check(state.live)


@pytest.fixture(scope="module")
def prediction():
    """Initial states, states and metrics of the learners, computed in one program."""

    def init(key):
        return {name: learner.init(key, None) for name, learner in LEARNERS.items()}

    def step(key, states):
        return {name: learner.step(key, states[name], None) for name, learner in LEARNERS.items()}

    key = jax.random.key(6)
    states = [compiled(init, key)(key)]
    metrics, stepped = [], compiled(step, key, states[0])
    for t in range(STEPS):
        result = stepped(jax.random.key(200 + t), states[-1])
        states.append({name: state for name, (state, _) in result.items()})
        metrics.append({name: measured for name, (_, measured) in result.items()})
    return states, metrics, stepped


@pytest.mark.parametrize("name", LEARNERS)
def test_prediction_steps_are_those_of_the_papers(name, prediction):
    states, metrics, _ = prediction
    reference = Prediction(name, jax.random.key(6))
    reference.check(states[0][name])
    for t in range(STEPS):
        errors = reference.step(jax.random.key(200 + t))
        reference.check(states[t + 1][name])
        reference.walker.check_metrics(metrics[t][name], errors)
    check_every_ending(reference.moves)


@pytest.mark.parametrize("name", LEARNERS)
def test_counts_of_updates_stop_at_the_largest(name, prediction):
    states, _, step = prediction
    full = {
        k: s._replace(learnt=s.learnt._replace(visits=jnp.full_like(s.learnt.visits, LARGEST)))
        for k, s in states[-1].items()
    }
    after, _ = step(jax.random.key(3), full)[name]
    assert (after.learnt.visits == LARGEST).all()
    assert np.isfinite(after.learnt.values).all()
