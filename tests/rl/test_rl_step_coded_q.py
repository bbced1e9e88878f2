"""Q-learning on codings: whole steps against Watkins (1989) in plain NumPy, every option on.

The reference draws random numbers from the same keys as the agent; it shares no other code with it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drift import PUSHES, Course, check_episodes, drift
from plain import compiled, numbers

from lrn.rl.env import Discrete
from lrn.rl.exploration.bonus import Bonus
from lrn.rl.exploration.coded_q import CodedQConfig, coded_q
from lrn.rl.exploration.coding import Coding
from lrn.rl.exploration.noise import Noise
from lrn.rl.rates import LARGEST

ENV, ACTIONS, STEPS = drift(Discrete(3)), 3, 4
X = np.array([[0.3, -0.8], [-0.9, 0.2], [0.5, 0.9], [-0.2, -0.6], [0.1, 0.1]])


def _encode(params: jax.Array, x: jax.Array) -> jax.Array:
    box = jnp.floor(1.5 * (x + params[None])).astype(jnp.int32) % 4
    return box + jnp.array([[0, 4]])


# Two grids, one for each number, whose origins depend on a key and on the first observations.
CODING = Coding(8, 2, lambda key, x: jax.random.uniform(key, (2,)) + x.mean(0), _encode)
PAID = np.array([0.3, -0.5])
BONUS = Bonus(
    init=lambda key, x: jax.random.uniform(key) + x.sum(),
    bonus=lambda state, x, action, after: state * (after @ PAID + 0.2 * action) + x[:, 0],
    update=lambda key, state, seen: (
        0.5 * state + jax.random.uniform(key)
        + (seen.observation[:, 1] + 0.1 * seen.action + seen.next_observation[:, 0]).mean()
    ),
)  # fmt: skip


def _noise(key: Any, state: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
    fresh = jax.random.uniform(key, (steps, *state.shape))
    return 2 * fresh - 1 + state[None], 0.5 * state - fresh[-1]


NOISE = Noise(lambda key, shape: jax.random.uniform(key, shape), _noise)
COMMON: Any = {"discount": 0.8, "total_steps": 50, "rollout_length": 5}
CONFIGS = {
    "all options": CodedQConfig(
        epsilon_start=0.9, epsilon_end=0.2, exploration_fraction=0.7, noise_scale=0.8, learning_rate=0.6,
        initial=0.5, num_envs=3, **COMMON,
    ),
    "Boltzmann": CodedQConfig("boltzmann", temperature=0.4, learning_rate=0.3, num_envs=2, **COMMON),
    "UCB": CodedQConfig("ucb", ucb_scale=0.7, learning_rate=0.4, initial=-0.3, num_envs=2, **COMMON),
}  # fmt: skip
AGENTS = {
    name: coded_q(ENV, CODING, config, BONUS, NOISE)
    if name == "all options"
    else coded_q(ENV, CODING, config)
    for name, config in CONFIGS.items()
}


@jax.jit
def _draws(key: Any) -> Any:
    """All draws of a choice of actions, for 2, 3 and 5 environments."""
    explore, lottery = jax.random.split(key)
    return {
        n: {
            "explore": jax.random.uniform(explore, (n,)),
            "lottery": jax.random.uniform(lottery, (n, ACTIONS)),
            "ties": jax.random.uniform(key, (n, ACTIONS)),
            "gumbel": jax.random.gumbel(key, (n, ACTIONS)),
            "uniform": jax.random.uniform(key, (n,)),
            "normal": jax.random.normal(key, (n,)),
        }
        for n in (2, 3, 5)
    } | {0: jax.random.uniform(key)}


class Reference:
    """The reference: an agent's weights after ``agent.init(key)``, and its steps, in NumPy."""

    def __init__(self, name: str, key: Any):
        self.config, self.full = CONFIGS[name], name == "all options"
        env_key, coding_key, bonus_key, noise_key = jax.random.split(key, 4)
        self.course = Course.begin(env_key, self.config.num_envs)
        x = self.course.x
        self.offset = numbers(jax.random.uniform(coding_key, (2,))) + x.mean(0)
        self.weights = np.full((8, ACTIONS), self.config.initial / 2)
        self.visits, self.steps = np.zeros((8, ACTIONS), int), 0
        self.bonus = float(_draws(bonus_key)[0]) + x.sum()
        self.noise = numbers(_draws(noise_key)[self.config.num_envs if self.full else 2]["uniform"])

    def active(self, x: np.ndarray) -> np.ndarray:
        place = 1.5 * (x + self.offset)
        assert (np.abs(place - np.round(place)) > 1e-4).all(), "too near to an edge; take another key"
        return np.floor(place).astype(int) % 4 + np.array([0, 4])

    def q(self, x: np.ndarray) -> np.ndarray:
        return self.weights[self.active(x)].sum(1)

    def choose(self, key: Any, x: np.ndarray) -> np.ndarray:
        """The chosen actions, before any noise."""
        c, q, drawn = self.config, self.q(x), jax.tree.map(numbers, _draws(key))[len(x)]
        if c.select == "boltzmann":
            return (q / c.temperature + drawn["gumbel"]).argmax(1)
        if c.select == "ucb":
            n = self.visits[self.active(x)].min(1)
            width = np.sqrt(np.log(np.maximum(n.sum(1, keepdims=True), 1)) / np.maximum(n, 1))
            return best(np.where(n == 0, np.inf, q + c.ucb_scale * width), drawn["ties"])
        share = min(self.steps / (c.exploration_fraction * c.total_steps), 1.0)
        epsilon = c.epsilon_start + (c.epsilon_end - c.epsilon_start) * share
        random = drawn["lottery"].argmax(1)
        return np.where(drawn["explore"] < epsilon, random, best(q, drawn["lottery"]))

    def pushed(self, action: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Actions moved by noise; a noise of 1 is half the range of actions, from 0 to 2."""
        return np.clip(np.round(action + self.config.noise_scale * noise), 0, 2).astype(int)

    def step(self, key: Any) -> tuple[dict[str, float], list[Any]]:
        errors, paid, over = [], [], []
        for step_key in jax.random.split(key, self.config.rollout_length):
            error, bonus, ended = self.one(step_key)
            errors.append(np.abs(error).mean())
            paid.append(bonus.mean())
            over += ended
        return {"td_error": float(np.mean(errors)), "bonus": float(np.mean(paid))}, over

    def one(self, key: Any) -> tuple[np.ndarray, np.ndarray, list[Any]]:
        c, x = self.config, self.course.x.copy()
        act_key, env_key, bonus_key, noise_key = jax.random.split(key, 4)
        action = self.choose(act_key, x)
        if self.full:
            fresh = numbers(_draws(noise_key)[c.num_envs]["uniform"])
            action = self.pushed(action, 2 * fresh - 1 + self.noise)
            self.noise = 0.5 * self.noise - fresh
        rows, ended = self.course.play(env_key, 1, lambda t, x: (PUSHES[action], action))
        after = np.stack([r["final_observation"] for r in rows])
        bonus = np.zeros(c.num_envs)
        if self.full:
            seen = (x[:, 1] + 0.1 * action + after[:, 0]).mean()
            self.bonus = 0.5 * self.bonus + float(_draws(bonus_key)[0]) + seen
            bonus = self.bonus * (after @ PAID + 0.2 * action) + x[:, 0]
        goes_on = np.array([not r["terminated"] for r in rows])
        target = np.array([r["reward"] for r in rows]) + bonus + c.discount * goes_on * self.q(after).max(1)
        error = target - self.q(x)[np.arange(len(x)), action]
        for features, a, e in zip(self.active(x), action, error):
            self.weights[features, a] += c.learning_rate / 2 * e
            self.visits[features, a] += 1
        self.steps += len(x)
        return error, bonus, ended

    def check(self, state: Any) -> None:
        """Assert that every leaf of the state equals that of the reference."""
        np.testing.assert_allclose(state.weights, self.weights, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(state.visits, self.visits)
        np.testing.assert_allclose(state.coding, self.offset, rtol=1e-5, atol=1e-6)
        assert int(state.steps) == self.steps
        self.course.check(state.live)
        if self.full:
            np.testing.assert_allclose(state.bonus, self.bonus, rtol=1e-4)
            np.testing.assert_allclose(state.noise[:, 0], self.noise, rtol=1e-4, atol=1e-5)
        else:
            assert state.bonus == state.noise == ()


def best(values: np.ndarray, lottery: np.ndarray) -> np.ndarray:
    """The best entry of each row, with ties broken by the lottery."""
    tied = np.isclose(values, values.max(1, keepdims=True), rtol=0, atol=1e-6)  # infinite ones are close
    return np.where(tied, lottery, -1).argmax(1)


@pytest.fixture(scope="module")
def ran():
    """States, metrics and actions of the agents, computed in one program, and the program of a step."""

    def init(key):
        return {name: agent.init(key, None) for name, agent in AGENTS.items()}

    def step(key, states):
        return {name: agent.step(key, states[name], None) for name, agent in AGENTS.items()}

    def act(key, states):
        x = jnp.asarray(X, jnp.float32)
        return {
            name: [f(key, states[name], (), x)[0] for f in (agent.policy.act, agent.policy.sample)]
            for name, agent in AGENTS.items()
        }

    key = jax.random.key(4)
    states = [compiled(init, key)(key)]
    metrics, stepped = [], compiled(step, key, states[0])
    for t in range(STEPS):
        result = stepped(jax.random.key(500 + t), states[-1])
        states.append({name: state for name, (state, _) in result.items()})
        metrics.append({name: measured for name, (_, measured) in result.items()})
    acted = [compiled(act, key, s)(jax.random.key(7), s) for s in states[1:3]]
    return states, metrics, acted, stepped


@pytest.mark.parametrize("name", CONFIGS)
def test_steps_are_those_of_the_paper(name, ran):
    states, metrics, acted, _ = ran
    reference, endings = Reference(name, jax.random.key(4)), []
    reference.check(states[0][name])
    for t in range(STEPS):
        measured, over = reference.step(jax.random.key(500 + t))
        endings += over
        reference.check(states[t + 1][name])
        check_episodes(metrics[t][name], over)
        assert set(metrics[t][name]) == {"return", "length", "td_error", "bonus"}
        for label, value in measured.items():
            np.testing.assert_allclose(metrics[t][name][label], value, rtol=1e-4, atol=1e-6)
        if t < 2:
            greedy, sampled = (np.asarray(a) for a in acted[t][name])
            np.testing.assert_array_equal(greedy, reference.q(X).argmax(1))
            act_key, noise_key = jax.random.split(jax.random.key(7))
            action = reference.choose(act_key, X)
            if reference.full:  # white noise, even if training's is colored
                action = reference.pushed(action, numbers(_draws(noise_key)[5]["normal"]))
            np.testing.assert_array_equal(sampled, action)
    lengths = [n for _, n in endings]
    assert min(lengths) < max(lengths) == 3  # ended, and cut


def test_counts_stop_at_the_largest(ran):
    """Counts that wrap around would make widths NaN, and would start the schedule of epsilon again."""
    states, _, _, step = ran
    full = {
        name: s._replace(visits=jnp.full_like(s.visits, LARGEST), steps=jnp.int32(LARGEST))
        for name, s in states[-1].items()
    }
    for name, (state, metrics) in step(jax.random.key(1), full).items():
        assert (state.visits == LARGEST).all(), name
        assert state.steps == LARGEST, name
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((state, metrics))), name
