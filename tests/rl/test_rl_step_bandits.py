"""Bandits: every policy and whole steps against the book and the papers in plain NumPy, every option on.

The reference draws random numbers from the same keys as the agent; it shares no other code with it.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import compiled

from lrn.rl import bandits
from lrn.rl.rates import LARGEST

ARMS, PROBLEMS, PULLS, STEPS = 4, 3, 6, 3
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


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def uniforms(key: Any) -> Any:
    return jax.random.uniform(key, (ARMS,))


def explored(key: Any) -> Any:
    """The random numbers of an exploring choice: one to decide, and one for each arm."""
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


class Player:
    """One problem: the state of a policy, and its choices given random draws."""

    def __init__(self, name: str, means: np.ndarray):
        self.name, self.means, self.pulls = name, means, np.zeros(ARMS, int)
        self.mean = np.full(ARMS, 2.5 if name.startswith("optimistic") else 0.0)
        self.preference, self.baseline = np.zeros(ARMS), 0.0
        self.a, self.b = np.full(ARMS, 1.5), np.full(ARMS, 0.7)

    def choose(self, key: Any, noise: np.ndarray | None) -> int:
        if noise is None:
            return int(np.argmax(jax.random.beta(key, jnp.float32(self.a), jnp.float32(self.b))))
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
            center = variance * (0.4 / 1.3**2 + self.pulls * self.mean / 0.8**2)
            return int(np.argmax(center + np.sqrt(variance) * noise))
        if self.name == "UCB1":
            untried = self.pulls == 0
            width = np.sqrt(0.8 * np.log(max(t - 1, 1)) / np.maximum(self.pulls, 1))
            return self.best(np.where(untried, np.inf, self.mean + width), noise)
        return self.best(self.mean, noise)

    def best(self, values: np.ndarray, lottery: np.ndarray) -> int:
        """The best arm, with ties broken by the lottery."""
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
        """The expected state of the policy, by field."""
        every = {
            "mean": self.baseline if "gradient" in self.name else self.mean,
            "pulls": self.pulls.sum() if "gradient" in self.name else self.pulls,
            "preference": self.preference, "a": self.a, "b": self.b,
        }  # fmt: skip
        return {field: every[field] for field in state._fields}


@functools.cache
def compiled_policy(name: str) -> Any:
    """``(the choices with each of 12 keys, the update)`` of a policy."""
    policy = POLICIES[name]
    return jax.jit(jax.vmap(policy.choose, (0, None))), jax.jit(policy.update)


@pytest.mark.parametrize("name", POLICIES)
def test_policies_are_those_of_the_papers(name):
    """Policies agree pull by pull, for arms that tie, that were never tried, and that differ."""
    player, (choose, update) = Player(name, np.zeros(ARMS)), compiled_policy(name)
    keys = jax.random.split(jax.random.key(2), 12)
    noise = np.asarray(jax.jit(jax.vmap(NOISE[name]))(keys), np.float64) if name in NOISE else [None] * 12
    state, rewards = POLICIES[name].init(), np.sin(np.arange(1, 13) * 1.7)
    if name == "Beta Thompson":
        rewards = (rewards > 0).astype(float)
    pulled = set()
    for t, (drawn, reward) in enumerate(zip(noise, rewards)):
        check_policy([player], jax.tree.map(lambda x: x[None], jax.device_get(state)))
        arms = np.asarray(choose(keys, state))
        assert arms.dtype == np.int32
        arm = int(arms[t])
        assert arm == player.choose(keys[t] if drawn is None else None, drawn)
        state = update(state, arm, np.float32(reward))
        player.update(arm, reward)
        pulled.add(arm)
    check_policy([player], jax.tree.map(lambda x: x[None], jax.device_get(state)))
    assert len(pulled) > 1


PLAYED = {"UCB1": bandits.bernoulli(ARMS), "gradient": bandits.gaussian(ARMS, std=0.7, spread=1.4)}


@pytest.mark.parametrize("name", PLAYED)
def test_steps_play_every_problem(name):
    """Problems have Bernoulli arms with uniform means, or normal arms."""
    coins, key = name == "UCB1", jax.random.key(9)
    learner = bandits.play(PLAYED[name], POLICIES[name], PROBLEMS, PULLS)
    state = compiled(learner.init, key, None)(key, None)
    step = compiled(learner.step, key, state, None)
    draw_means = uniforms if coins else lambda k: 1.4 * normals(k)
    draw_reward = jax.random.uniform if coins else jax.random.normal
    means = np.asarray(jax.jit(jax.vmap(draw_means))(jax.random.split(key, PROBLEMS)), np.float64)

    @jax.jit
    def draws(key):
        keys = jax.random.split(key, (PULLS, 2, PROBLEMS))
        return jax.vmap(jax.vmap(NOISE[name]))(keys[:, 0]), jax.vmap(jax.vmap(draw_reward))(keys[:, 1])

    players = [Player(name, m) for m in means]
    check(players, state)
    for t in range(STEPS):
        noise, paid = (np.asarray(x, np.float64) for x in draws(jax.random.key(400 + t)))
        rewards, gaps = [], []
        for i in range(PULLS):
            for p, player in enumerate(players):
                arm = player.choose(None, noise[i, p])
                mean = player.means[arm]
                rewards.append(float(paid[i, p] < mean) if coins else mean + 0.7 * paid[i, p])
                gaps.append(player.means.max() - mean)
                player.update(arm, rewards[-1])
        state, metrics = step(jax.random.key(400 + t), state, None)
        check(players, state)
        assert set(metrics) == {"reward", "gap", "optimal"}
        np.testing.assert_allclose(metrics["reward"], np.mean(rewards), rtol=1e-4)
        np.testing.assert_allclose(metrics["gap"], np.mean(gaps), rtol=1e-4)
        np.testing.assert_allclose(metrics["optimal"], np.mean(np.array(gaps) == 0), rtol=1e-5)
    gaps = [(p.means.max() - p.means) @ p.pulls for p in players]
    np.testing.assert_allclose(bandits.pseudo_regret(state), gaps, rtol=1e-4)
    regret = bandits.regret(None, None, jax.random.key(0), state, None)
    np.testing.assert_allclose(regret["regret"], np.mean(gaps), rtol=1e-4)

    full = state._replace(pulls=jnp.asarray(np.full(state.pulls.shape, LARGEST), jnp.int32))
    assert (np.asarray(step(key, full, None)[0].pulls) == LARGEST).all()


def check(players: list[Player], state: Any) -> None:
    """Assert that every leaf of the state equals that of the reference."""
    np.testing.assert_allclose(state.means, [p.means for p in players], rtol=1e-5)
    np.testing.assert_array_equal(state.pulls, [p.pulls for p in players])
    check_policy(players, state.policy)


def check_policy(players: list[Player], policy: Any) -> None:
    """Assert that every leaf of the policies' states [problems, ...] equals that of the reference."""
    for field, leaf in policy._asdict().items():
        expected = np.stack([p.expected(policy)[field] for p in players])
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5, err_msg=field)


@pytest.mark.parametrize("name", [n for n in POLICIES if n != "Beta Thompson"])
def test_counts_of_pulls_stop_at_the_largest(name):
    """Sums of counts exceed an int32; epsilon, temperatures and widths stay those of a late pull.

    So the best arm is pulled, and a mean does not change.
    """
    late, (choose, update) = np.linspace(0.0, 30.0, ARMS, dtype=np.float32), compiled_policy(name)
    state = POLICIES[name].init()
    state = state._replace(pulls=jnp.asarray(np.full(state.pulls.shape, LARGEST), jnp.int32))
    if "gradient" not in name:
        state = state._replace(mean=jnp.asarray(late))
    after = jax.device_get(update(state, 1, np.float32(4.0)))
    assert (after.pulls == LARGEST).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))
    if name not in ("epsilon-greedy", "optimistic") and "gradient" not in name:
        np.testing.assert_allclose(after.mean, late, rtol=1e-5)
        assert set(np.asarray(choose(jax.random.split(jax.random.key(1), 12), state)).tolist()) == {ARMS - 1}
