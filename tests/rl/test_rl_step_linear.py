"""Linear methods: whole steps against the papers' updates in plain NumPy, every option on.

The reference draws random numbers from the same keys as the agent; it shares no other code with it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import PLACES, Move, Walker, check_every_ending, compiled, places, scheduled

from lrn.rl import identity, linear
from lrn.rl.rates import LARGEST
from lrn.rl.tabular import Schedule
from lrn.types import Learner

ENV = places()
STEPS = 3
RNG = np.random.default_rng(0)
FEATURES = RNG.uniform(0.2, 1.2, (PLACES, 4)) * RNG.choice([-1, 1], (PLACES, 4))
TARGET = np.array(
    [[0.2, 0.5, 0.3], [0.6, 0.0, 0.4], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7], [0.3, 0.3, 0.4], [0.5, 0.25, 0.25]]
)
ACTING = np.array(
    [[0.4, 0.2, 0.4], [0.3, 0.3, 0.4], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4]]
)
FIRST = np.array([0.4, -0.3, 0.2, 0.1])
DISCOUNT, INTERACTIONS = 0.8, 9
SLOW, FAST = Schedule(0.09, rate=0.2, power=0.6), Schedule(0.2, rate=0.1, power=0.7)
TD = linear.LinearTDConfig(DISCOUNT, SLOW, INTERACTIONS)
TDC = linear.TDCConfig(DISCOUNT, SLOW, FAST, INTERACTIONS)
LSTD = linear.LSTDConfig(DISCOUNT, lambda_=0.6, ridge=0.05, interactions=INTERACTIONS)
LEARNERS: dict[str, Learner] = {
    "td": linear.semi_gradient_td(ENV, FEATURES, TARGET, TD, ACTING, FIRST),
    "tdc": linear.tdc(ENV, FEATURES, TARGET, TDC, ACTING, FIRST),
    "emphatic": linear.emphatic_td(ENV, FEATURES, TARGET, TD, ACTING, FIRST),
    "lstd": linear.lstd(ENV, FEATURES, TARGET, LSTD, ACTING),
    # Without a behavior the target policy acts; a number is the initial value of every weight.
    "td on-policy": linear.semi_gradient_td(ENV, FEATURES, TARGET, TD, initial=0.5),
}


class Reference:
    """The reference: a learner's weights after ``learner.init(key)``, and its steps, in NumPy."""

    def __init__(self, name: str, key: Any):
        self.method, _, self.on_policy = name.partition(" ")
        self.acting = TARGET if self.on_policy else ACTING
        self.walker, self.moves, self.steps = Walker.begin(key), [], 0
        first = np.full(4, 0.5) if self.on_policy else FIRST
        self.weights = np.zeros(4) if self.method == "lstd" else first.copy()
        self.second, self.emphasis = np.zeros(4), 1.0
        self.a, self.b, self.trace = np.zeros((4, 4)), np.zeros(4), np.zeros(4)

    def step(self, key: Any) -> list[float]:
        env_key, act_key = jax.random.split(key)
        u = np.asarray(jax.random.uniform(act_key, (INTERACTIONS,)), np.float64)
        draws = self.walker.draws(jax.random.split(env_key, INTERACTIONS))
        errors = []
        for t in range(INTERACTIONS):
            action = int((self.acting[self.walker.number].cumsum() <= u[t]).sum())
            move = self.walker.move(action, draws[t])
            self.steps += 1
            errors.append(self.learn(move))
            self.moves.append(move)
        if self.method == "lstd":
            # Boyan (2002), with the sums of all steps: (A + ridge) w = b.
            self.weights = np.linalg.solve(self.a + LSTD.ridge * np.eye(4), self.b)
        return errors

    def learn(self, move: Move) -> float:
        """An update (Sutton and Barto 2018, 9.3, 11.7, 11.8); the importance ratio weighs all of it."""
        ratio = TARGET[move.state, move.action] / self.acting[move.state, move.action]
        x, after = FEATURES[move.state], FEATURES[move.following] * (not move.terminated)
        error = move.reward + DISCOUNT * after @ self.weights - x @ self.weights
        size = scheduled(SLOW, self.steps)
        if self.method == "td":
            self.weights = self.weights + size * ratio * error * x
        elif self.method == "tdc":
            correction = DISCOUNT * after * (x @ self.second)
            self.weights = self.weights + size * ratio * (error * x - correction)
            change = ratio * (error - x @ self.second) * x
            self.second = self.second + scheduled(FAST, self.steps) * change
        elif self.method == "emphatic":
            self.weights = self.weights + size * self.emphasis * ratio * error * x
            self.emphasis = 1.0 if move.ended else 1 + DISCOUNT * ratio * self.emphasis
        else:
            self.trace = ratio * (DISCOUNT * LSTD.lambda_ * self.trace + x)
            self.a = self.a + np.outer(self.trace, x - DISCOUNT * after)
            self.b = self.b + self.trace * move.reward
            self.trace = self.trace * (not move.ended)
        return error

    def check(self, state: Any) -> None:
        """Assert that every leaf of the state equals that of the reference."""
        expected = {"weights": self.weights, "steps": self.steps}
        if self.method == "tdc":
            expected["second"] = self.second
        if self.method == "emphatic":
            expected["emphasis"] = self.emphasis
        learnt = state.learnt._asdict()
        if self.method == "lstd":
            learnt |= learnt.pop("system")._asdict()
            n = max(self.steps, 1)
            expected |= {"a": self.a / n, "b": self.b / n, "trace": self.trace}
        assert set(learnt) == set(expected)
        for leaf, value in expected.items():
            np.testing.assert_allclose(learnt[leaf], value, rtol=2e-4, atol=1e-5, err_msg=leaf)
        self.walker.check(state.live)


@pytest.fixture(scope="module")
def ran():
    """States and metrics of the learners, computed in one program, and the program of a step."""

    def init(key):
        return {name: learner.init(key, None) for name, learner in LEARNERS.items()}

    def step(key, states):
        return {name: learner.step(key, states[name], None) for name, learner in LEARNERS.items()}

    key = jax.random.key(8)
    states = [compiled(init, key)(key)]
    metrics, stepped = [], compiled(step, key, states[0])
    for t in range(STEPS):
        result = stepped(jax.random.key(300 + t), states[-1])
        states.append({name: state for name, (state, _) in result.items()})
        metrics.append({name: measured for name, (_, measured) in result.items()})
    return states, metrics, stepped


@pytest.mark.parametrize("name", LEARNERS)
def test_steps_are_those_of_the_papers(name, ran):
    states, metrics, _ = ran
    reference = Reference(name, jax.random.key(8))
    reference.check(states[0][name])
    for t in range(STEPS):
        errors = reference.step(jax.random.key(300 + t))
        reference.check(states[t + 1][name])
        reference.walker.check_metrics(metrics[t][name], errors)
    check_every_ending(reference.moves)


def test_counts_of_updates_stop_at_the_largest(ran):
    """A count that wraps around would make step sizes NaN, or means wrong."""

    def full(state: Any) -> Any:
        learnt, most = state.learnt, jnp.int32(LARGEST)
        if hasattr(learnt, "system"):
            return state._replace(learnt=learnt._replace(system=learnt.system._replace(steps=most)))
        return state._replace(learnt=learnt._replace(steps=most))

    before = {name: full(state) for name, state in ran[0][-1].items()}
    for name, (state, _) in ran[2](jax.random.key(3), before).items():
        learnt = state.learnt.system if hasattr(state.learnt, "system") else state.learnt
        assert learnt.steps == LARGEST, name
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.learnt)), name
        if "lstd" not in name:  # after nearly infinitely many steps, weights hardly move
            moved = np.abs(state.learnt.weights - before[name].learnt.weights).max()
            assert 0 < moved < 1e-3, name


def test_the_emphasis_of_episodes_of_one_step_is_one():
    """For every importance ratio, no emphasis is carried into the next episode."""
    config = linear.LinearTDConfig(0.9, Schedule(0.1), interactions=4)
    target = np.array([[0.9, 0.1], [0.3, 0.7]])
    learner = linear.emphatic_td(identity.echo(2, length=1), np.eye(2), target, config, np.full((2, 2), 0.5))
    key = jax.random.key(0)
    state = jax.jit(learner.init)(key, None)
    assert state.learnt.emphasis == 1
    after, metrics = jax.jit(learner.step)(key, state, None)
    assert after.learnt.emphasis == 1
    assert metrics["length"].weight == 4
