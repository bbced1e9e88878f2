"""Bandits: whole steps of every policy against the book and the papers in plain NumPy, every option on.

The reference makes the random draws from the same keys; all else is its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import compiled

from lrn.rl import bandits
from lrn.rl.rates import LARGEST

ARMS, PROBLEMS, PULLS, STEPS = 4, 3, 6, 3
NORMAL = bandits.gaussian(ARMS, std=0.7, spread=1.4)
COINS = bandits.bernoulli(ARMS)
POLICIES = {
    "epsilon-greedy": bandits.epsilon_greedy(ARMS, bandits.EpsilonGreedyConfig(epsilon=0.35)),
    "decaying epsilon": bandits.epsilon_greedy(
        ARMS, bandits.EpsilonGreedyConfig(schedule="decaying", scale=0.6, gap=0.7)
    ),
    "Boltzmann": bandits.boltzmann(ARMS, bandits.BoltzmannConfig(temperature=0.6)),
    "decaying Boltzmann": bandits.boltzmann(ARMS, bandits.BoltzmannConfig(0.6, schedule="decaying")),
    "optimistic": bandits.optimistic(ARMS, bandits.OptimisticConfig(initial=2.5, step_size=0.3)),
    "optimistic means": bandits.optimistic(ARMS, bandits.OptimisticConfig(initial=2.5, step="mean")),
    "UCB1": bandits.ucb1(ARMS, bandits.UCB1Config(scale=0.8)),
    "Gaussian Thompson": bandits.gaussian_thompson(
        ARMS, bandits.GaussianThompsonConfig(mean=0.4, std=1.3, noise=0.8)
    ),
    "Beta Thompson": bandits.beta_thompson(ARMS, bandits.BetaThompsonConfig(a=1.5, b=0.7)),
    "gradient": bandits.gradient(ARMS, bandits.GradientConfig(step_size=0.4)),
    "gradient without a baseline": bandits.gradient(
        ARMS, bandits.GradientConfig(step_size=0.2, baseline=False)
    ),
}


def bandit_of(name: str) -> bandits.Bandit:
    return COINS if name == "Beta Thompson" else NORMAL


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


@functools.cache
def drawn(draw: Callable[..., Any]) -> Callable[..., Any]:
    """``draw`` for keys [...], compiled once."""

    def every(keys: Any) -> Any:
        return jax.vmap(draw)(keys.reshape(-1))

    compiled = jax.jit(every)
    return lambda keys: np.asarray(compiled(keys), np.float64).reshape(*keys.shape, *np.shape(draw_one(draw)))


def draw_one(draw: Callable[..., Any]) -> Any:
    return jax.eval_shape(draw, jax.random.key(0))


def uniforms(key: Any) -> Any:
    return jax.random.uniform(key, (ARMS,))


def explored(key: Any) -> Any:
    """Whether, and where to: one number, and one for each arm."""
    explore, lottery = jax.random.split(key)
    return jnp.append(jax.random.uniform(explore), jax.random.uniform(lottery, (ARMS,)))


def gumbels(key: Any) -> Any:
    return jax.random.gumbel(key, (ARMS,))


def normals(key: Any) -> Any:
    return jax.random.normal(key, (ARMS,))


NOISE = {
    "epsilon-greedy": explored, "decaying epsilon": explored, "Boltzmann": gumbels,
    "decaying Boltzmann": gumbels, "optimistic": uniforms, "optimistic means": uniforms, "UCB1": uniforms,
    "Gaussian Thompson": normals, "gradient": gumbels, "gradient without a baseline": gumbels,
}  # fmt: skip
beta = jax.jit(jax.random.beta)


class Player:
    """One problem in play: the policy's numbers, and what it does with draws."""

    def __init__(self, name: str, means: np.ndarray):
        self.name, self.means, self.pulls = name, means, np.zeros(ARMS, int)
        self.mean = np.full(ARMS, 2.5 if name.startswith("optimistic") else 0.0)
        self.preference, self.baseline = np.zeros(ARMS), 0.0
        self.a, self.b = np.full(ARMS, 1.5), np.full(ARMS, 0.7)

    def choose(self, key: Any, noise: np.ndarray | None) -> int:
        if noise is None:
            return int(np.argmax(beta(key, jnp.float32(self.a), jnp.float32(self.b))))
        t = self.pulls.sum() + 1
        if "epsilon" in self.name:
            epsilon = 0.35 if self.name == "epsilon-greedy" else min(1, 0.6 * ARMS / (0.7**2 * t))
            return int(noise[1:].argmax()) if noise[0] < epsilon else self.best(self.mean, noise[1:])
        if "Boltzmann" in self.name:
            temperature = 0.6 if self.name == "Boltzmann" else 0.6 / np.log(t + 1)
            return int(np.argmax(self.mean / temperature + noise))
        if "gradient" in self.name:
            return int(np.argmax(np.log(softmax(self.preference)) + noise))
        if self.name == "Gaussian Thompson":
            # The posterior of a normal mean under a normal prior.
            variance = 1 / (1 / 1.3**2 + self.pulls / 0.8**2)
            centre = variance * (0.4 / 1.3**2 + self.pulls * self.mean / 0.8**2)
            return int(np.argmax(centre + np.sqrt(variance) * noise))
        if self.name == "UCB1":
            untried = self.pulls == 0
            width = np.sqrt(0.8 * np.log(max(t - 1, 1)) / np.maximum(self.pulls, 1))
            return self.best(np.where(untried, np.inf, self.mean + width), noise)
        return self.best(self.mean, noise)

    def best(self, values: np.ndarray, lottery: np.ndarray) -> int:
        """The first of the best by lot."""
        tied = np.flatnonzero(values == values.max())
        return int(tied[lottery[tied].argmax()])

    def update(self, arm: int, reward: float) -> None:
        self.pulls[arm] += 1
        step = {"optimistic": 0.3, "optimistic means": 1 / (self.pulls[arm] + 1)}.get(
            self.name, 1 / self.pulls[arm]
        )
        self.mean[arm] += step * (reward - self.mean[arm])
        self.a[arm] += reward
        self.b[arm] += 1 - reward
        size, before = (0.4, self.baseline) if self.name == "gradient" else (0.2, 0.0)
        chances = softmax(self.preference)
        self.preference = self.preference + size * (reward - before) * (np.eye(ARMS)[arm] - chances)
        self.baseline += (reward - self.baseline) / self.pulls.sum()

    def expected(self, state: Any) -> dict[str, Any]:
        """The policy's state by its fields."""
        every = {
            "mean": self.baseline if "gradient" in self.name else self.mean,
            "pulls": self.pulls.sum() if "gradient" in self.name else self.pulls,
            "preference": self.preference, "a": self.a, "b": self.b,
        }  # fmt: skip
        return {field: every[field] for field in state._fields}


@pytest.fixture(scope="module")
def ran():
    """What the learners do, in one program: states, metrics, and the program of a step."""
    learners = {name: bandits.play(bandit_of(name), p, PROBLEMS, PULLS) for name, p in POLICIES.items()}

    def init(key):
        return {name: learner.init(key, None) for name, learner in learners.items()}

    def step(key, states):
        return {name: learner.step(key, states[name], None) for name, learner in learners.items()}

    key = jax.random.key(9)
    states = [compiled(init, key)(key)]
    metrics, stepped = [], compiled(step, key, states[0])
    for t in range(STEPS):
        result = stepped(jax.random.key(400 + t), states[-1])
        states.append({name: state for name, (state, _) in result.items()})
        metrics.append({name: found for name, (_, found) in result.items()})
    return states, metrics, stepped


@pytest.mark.parametrize("name", POLICIES)
def test_steps_are_those_of_the_papers(name, ran):
    states, metrics, _ = ran
    coins = name == "Beta Thompson"
    keys = jax.random.split(jax.random.key(9), PROBLEMS)
    means = drawn(uniforms)(keys) if coins else 1.4 * drawn(normals)(keys)
    players = [Player(name, m) for m in means]
    check(players, states[0][name])
    for t in range(STEPS):
        keys = jax.random.split(jax.random.key(400 + t), (PULLS, 2, PROBLEMS))
        noise = drawn(NOISE[name])(keys[:, 0]) if name in NOISE else None
        paid = drawn(jax.random.uniform if coins else jax.random.normal)(keys[:, 1])
        rewards, gaps = [], []
        for i in range(PULLS):
            for p, player in enumerate(players):
                arm = player.choose(keys[i, 0, p], None if noise is None else noise[i, p])
                reward = (
                    float(paid[i, p] < player.means[arm]) if coins else player.means[arm] + 0.7 * paid[i, p]
                )
                player.update(arm, reward)
                rewards.append(reward)
                gaps.append(player.means.max() - player.means[arm])
        check(players, states[t + 1][name])
        found = metrics[t][name]
        assert set(found) == {"reward", "gap", "optimal"}
        np.testing.assert_allclose(found["reward"], np.mean(rewards), rtol=1e-4)
        np.testing.assert_allclose(found["gap"], np.mean(gaps), rtol=1e-4)
        np.testing.assert_allclose(found["optimal"], np.mean(np.array(gaps) == 0), rtol=1e-5)
    gaps = [(p.means.max() - p.means) @ p.pulls for p in players]
    np.testing.assert_allclose(bandits.pseudo_regret(states[-1][name]), gaps, rtol=1e-4)
    regret = bandits.regret(None, jax.random.key(0), states[-1][name], None)
    np.testing.assert_allclose(regret["regret"], np.mean(gaps), rtol=1e-4)


def check(players: list[Player], state: Any) -> None:
    """Every leaf of the state."""
    np.testing.assert_allclose(state.means, [p.means for p in players], rtol=1e-5)
    np.testing.assert_array_equal(state.pulls, [p.pulls for p in players])
    for field, leaf in state.policy._asdict().items():
        expected = np.stack([p.expected(state.policy)[field] for p in players])
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5, err_msg=field)


def test_counts_of_pulls_stop_at_the_largest(ran):
    """Sums of counts are more than an int32 holds: epsilon, temperatures and widths are still those of a
    late pull, so that the best arm is pulled, and a sample mean stays where it is."""
    states, _, step = ran
    late = np.linspace(0, 30, ARMS)

    def full(state: Any) -> Any:
        policy = state.policy
        if "pulls" in policy._fields:
            policy = policy._replace(pulls=jnp.full_like(policy.pulls, LARGEST))
        if policy.__class__.__name__ == "SampleMeans":
            policy = policy._replace(mean=jnp.broadcast_to(jnp.float32(late), policy.mean.shape))
        return state._replace(pulls=jnp.full_like(state.pulls, LARGEST), policy=policy)

    for name, (state, metrics) in step(
        jax.random.key(1), {k: full(s) for k, s in states[-1].items()}
    ).items():
        assert (state.pulls == LARGEST).all(), name
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((state, metrics))), name
        if "pulls" in state.policy._fields:
            assert (state.policy.pulls == LARGEST).all(), name
        if name in ("decaying epsilon", "decaying Boltzmann", "UCB1", "optimistic means"):
            gap = state.means.max(-1) - state.means[:, -1]
            np.testing.assert_allclose(metrics["gap"], gap.mean(), rtol=1e-4, err_msg=name)
            np.testing.assert_allclose(state.policy.mean, np.tile(late, (PROBLEMS, 1)), rtol=1e-5)
