"""Whole meta-steps of MAML for reinforcement learning against the papers in plain NumPy.

What was sampled is played again from the same keys. Its dependence on the parameters is a ratio of
likelihoods, as in importance sampling, so that central differences over all of it give the meta-gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain import clipped, compiled, global_norm, gradient, log_softmax
from scipy import special, stats
from tiny import Momentum, Outer, fold_in, momentum, normal, nudged, slope, split, uniform, words

from lrn.meta.adapt import InnerConfig
from lrn.meta.rl.evaluate import evaluator
from lrn.meta.rl.maml_rl import MAMLRLConfig, maml_rl
from lrn.meta.rl.tasks import RLTaskFamily
from lrn.rl.env import Box, Discrete, Env, Step
from lrn.types import Net

TURN = np.array([[0.8, 0.3], [-0.4, 0.6]])
PUSHES = np.array([[0.5, -0.2], [-0.4, 0.3], [0.1, 0.6]])  # the push of each discrete action
LOW, HIGH = np.array([-2.0, -1.0]), np.array([1.0, 3.0])
EDGE, LENGTH = 0.6, 4
KEPT = 1.3  # the network's state: a factor on observations


class Place(NamedTuple):
    x: Any
    time: Any


def family(discrete: bool) -> RLTaskFamily:
    """An environment of two numbers that drift by the task's push; an edge or a time limit ends episodes."""

    def env(task: Any) -> Env:
        def reset(key: Any) -> Any:
            x = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
            return x, Place(x, jnp.int32(0))

        def move(key: Any, place: Place, action: Any) -> Any:
            push = jnp.asarray(PUSHES, jnp.float32)[action] if discrete else 0.3 * action
            drawn = 0.2 * jax.random.uniform(key, (2,))
            x = jnp.asarray(TURN, jnp.float32) @ place.x + push + task + drawn
            time = place.time + 1
            return Place(x, time), Step(x[0] - 0.5 * x[1] + 0.1 * push[1], x[0] > EDGE, time >= LENGTH, x)

        actions = Discrete(3) if discrete else Box(LOW.astype(np.float32), HIGH.astype(np.float32), (2,))
        return Env("drift", reset, move, (2,), actions, LENGTH)

    return RLTaskFamily("drifts", lambda key: jax.random.uniform(key, (2,), maxval=0.4), env)


def net(discrete: bool) -> Net:
    """A linear network whose state scales its inputs."""
    outputs = 2 + discrete

    def init(key: Any, x: Any) -> Any:
        return {
            "b": jnp.linspace(-0.2, 0.3, outputs),
            "w": jax.random.normal(key, (2, outputs)) + x.mean(),
        }, (jnp.float32(KEPT))

    def apply(params: Any, kept: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        assert not train
        return kept * x @ params["w"] + params["b"][None], kept

    return Net(init, apply)  # pyright: ignore[reportArgumentType]


class Played(NamedTuple):
    """First episodes of a task, as lists with a row per step; ``old`` holds sampling log-probabilities."""

    observation: list[np.ndarray]
    action: list[np.ndarray]
    advantage: list[np.ndarray]
    reward: list[np.ndarray]
    old: list[np.ndarray]
    scale: float


class Reference:
    """The agent's state, and its meta-steps."""

    def __init__(self, config: MAMLRLConfig, discrete: bool, meta: Any):
        self.config, self.discrete = config, discrete
        optimizer = "momentum" if config.optimizer is momentum else "adam"
        self.outer = Outer(meta, config.meta_rate, optimizer)

    def log_prob(self, params: Any, x: np.ndarray, action: np.ndarray) -> np.ndarray:
        """[..., time], of leaves that may have leading axes."""
        out = KEPT * x @ params["net"]["w"] + params["net"]["b"][..., None, :]
        if self.discrete:
            return log_softmax(out)[..., np.arange(len(x)), action]
        log_std = params["head"][..., None, :]
        return (-0.5 * ((action - out) / np.exp(log_std)) ** 2 - log_std - np.log(2 * np.pi) / 2).sum(-1)

    def play(self, params: Any, key: np.ndarray, task: np.ndarray) -> Played:
        """Sample episodes, and judge each action."""
        c, n = self.config, self.config.episodes
        start_key, noise_key, env_key = split(key, 3)
        move_keys, _ = split(env_key, (2, LENGTH, n))
        if self.discrete:
            noise = -np.log(-np.log(uniform(noise_key, (LENGTH, n, 3))))
        else:
            noise = normal(noise_key, (LENGTH, n, 2))
        seen: list[Any] = [[], [], []]
        for i, begin_key in enumerate(split(start_key, n)):
            x, rows = uniform(begin_key, (2,), -1.0, 1.0), [[], [], []]
            for t in range(LENGTH):
                out = KEPT * x @ params["net"]["w"] + params["net"]["b"]
                if self.discrete:
                    action = int(np.argmax(out + noise[t, i]))
                    push = PUSHES[action]
                else:
                    action = out + np.exp(params["head"]) * noise[t, i]
                    push = 0.3 * (LOW + (np.clip(action, -1, 1) + 1) * (HIGH - LOW) / 2)
                rows[0].append(x)
                rows[1].append(action)
                x = TURN @ x + push + task + 0.2 * uniform(move_keys[t, i], (2,))
                rows[2].append(x[0] - 0.5 * x[1] + 0.1 * push[1])
                if x[0] > EDGE:
                    break
            for part, row in zip(seen, rows):
                part.append(np.array(row))
        old = [self.log_prob(params, x, a) for x, a in zip(seen[0], seen[1])]
        values = self.values(seen[0], seen[2])
        advantage, scale = [], 1.0
        for reward, value in zip(seen[2], values):
            later, returns = 0.0, np.zeros(len(reward))
            for t in reversed(range(len(reward))):
                follows = value[t + 1] if t + 1 < len(reward) else 0.0
                later = reward[t] + c.discount * follows - value[t] + c.discount * c.gae_lambda * later
                returns[t] = later
            advantage.append(returns)
        if c.normalize:
            every = np.concatenate(advantage)
            scale = every.std() + 1e-8
            advantage = [(a - every.mean()) / scale for a in advantage]
        return Played(seen[0], seen[1], advantage, seen[2], old, scale)

    def values(self, observations: list[np.ndarray], rewards: list[np.ndarray]) -> list[np.ndarray]:
        """Ridge regression of the rewards to go on Duan et al.'s features, of deviation 1."""
        rows = []
        for x in observations:
            t = np.arange(len(x))[:, None] / LENGTH
            rows.append(np.concatenate([x, x**2, t, t**2, t**3], 1))
        to_go = [[self.discounted(reward[t:]) for t in range(len(reward))] for reward in rewards]
        x, y = np.concatenate(rows), np.concatenate(to_go)
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-12)
        weights = np.linalg.solve(
            x.T @ x / len(x) + self.config.ridge * np.eye(7), x.T @ (y - y.mean()) / len(x)
        )
        return np.split(y.mean() + x @ weights, np.cumsum([len(r) for r in rows])[:-1])

    def discounted(self, reward: np.ndarray) -> float:
        return float(reward @ self.config.discount ** np.arange(len(reward)))

    def loss(self, params: Any, played: Played) -> Any:
        """Minus the surrogate; its value is that of the ratios at these parameters."""
        c, total = self.config, 0.0
        for x, action, advantage, old in zip(*played[:3], played.old):
            new = self.log_prob(params, x, action)
            time = np.arange(len(x))
            weight = advantage * (c.discount**time if c.discount_states else 1.0)
            if c.surrogate != "dice":
                total = total + (new * weight).sum(-1)
                continue
            # The weight of step s in the likelihood of step t, which falls with the time between them.
            owes = np.tril(c.dependence ** np.maximum(time[:, None] - time, 0.0))
            through = np.exp((new - old) @ owes.T)
            before = np.exp((new - old) @ (owes - np.eye(len(x))).T)
            total = total + ((through - before) * weight).sum(-1)
        return -total / c.episodes / LENGTH

    def path(self, meta: Any, key: np.ndarray, task: np.ndarray, steps: int, held: Any = None) -> Any:
        """Adapt, with what was ``held`` on the same episodes: parameters; episodes, gradients, likelihood."""
        params, inner = meta, self.config.inner
        inner_key, last_key = split(key)
        stepper = Momentum(meta, 0.6 if inner.optimizer is momentum else 0.0)
        played, slopes, likelihood = [], [], 0.0
        for t in range(steps):
            seen = held[0][t] if held else self.play(params, fold_in(inner_key, t), task)
            down = slope(lambda p: self.loss(p, seen), params)  # noqa: B023
            down = held[1][t] if held and inner.order == "first" else down
            for x, action in zip(seen.observation, seen.action):
                likelihood += self.log_prob(params, x, action).sum()
            played.append(seen)
            slopes.append(down)
            params = stepper.step(params, down, inner.rate)
        played.append(held[0][-1] if held else self.play(params, last_key, task))
        return params, (played, slopes, likelihood)

    def step(self, key: np.ndarray) -> dict[str, float]:
        c = self.config
        task_keys, play_keys = split(key, (2, c.tasks))
        given = [(k, uniform(t, (2,), 0.0, 0.4)) for k, t in zip(play_keys, task_keys)]
        base = [self.path(self.outer.meta, k, task, c.inner.steps)[1] for k, task in given]
        lengths = [len(x) for held in base for played in held[0] for x in played.reward]
        assert 1 <= min(lengths) < LENGTH == max(lengths)
        outcome = [np.mean([self.discounted(r) for r in held[0][-1].reward]) for held in base]

        def mean(meta: Any) -> float:
            losses = []
            for i, ((k, task), held) in enumerate(zip(given, base)):
                params, (played, _, likelihood) = self.path(meta, k, task, c.inner.steps, held)
                value = float(self.loss(params, played[-1]))
                if c.surrogate == "e-maml":
                    others = np.mean([o for j, o in enumerate(outcome) if j != i])
                    credit = np.exp(likelihood - held[2]) * (outcome[i] - others)
                    value -= credit / (played[-1].scale * LENGTH)
                losses.append(value)
            return float(np.mean(losses))

        down = gradient(mean, self.outer.meta)
        norm = global_norm(down)
        assert (norm > 1.5 * c.max_grad_norm) == (c.max_grad_norm < 1)
        self.outer.follow(clipped(down, c.max_grad_norm))
        returns = np.array([[np.mean([r.sum() for r in p.reward]) for p in held[0]] for held in base])
        return {
            "unadapted_return": returns[:, 0].mean(),
            "adapted_return": returns[:, -1].mean(),
            "gradient_norm": norm,
        }


CASES = {
    "dice, every option": (
        False,
        MAMLRLConfig(
            InnerConfig(steps=2, rate=0.4, optimizer=momentum), tasks=2, episodes=3, discount=0.8,
            gae_lambda=0.7, dependence=0.6, discount_states=True, ridge=0.05, meta_rate=0.05,
            max_grad_norm=0.02, initial_log_std=-0.4,
        ),
    ),
    "credit for sampling, recomputed": (
        True,
        MAMLRLConfig(
            InnerConfig(steps=2, rate=0.5, checkpoint=True), tasks=3, episodes=4, discount=0.9,
            surrogate="e-maml", ridge=0.2, meta_rate=0.3, optimizer=momentum, max_grad_norm=50.0,
        ),
    ),
    "naive, first order": (
        True,
        MAMLRLConfig(
            InnerConfig(steps=1, rate=0.5, order="first"), tasks=2, episodes=4, discount=0.85, gae_lambda=0.9,
            surrogate="naive", normalize=False, ridge=0.1, meta_rate=0.3, optimizer=momentum,
            max_grad_norm=50.0, dependence=0.5,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_steps_are_those_of_the_papers(name):
    """Finn et al. 2017; Farquhar et al. 2019 (loaded DiCE); Stadie et al. 2018 (E-MAML)."""
    discrete, config = CASES[name]
    tasks = family(discrete)
    agent, key = maml_rl(tasks, net(discrete), config), jax.random.key(1)
    state = jax.jit(agent.init)(key, None)
    first = {"b": np.linspace(-0.2, 0.3, 2 + discrete), "w": normal(words(1), (2, 2 + discrete))}
    head = () if discrete else np.full(2, -0.4)
    Reference(config, discrete, {"net": first, "head": head}).outer.check(state, KEPT)

    state = state._replace(meta=nudged(state.meta))
    reference = Reference(config, discrete, state.meta)
    step = compiled(lambda key, state: agent.step(key, state, None), key, state)
    for t in range(2):
        state, metrics = step(jax.random.key(30 + t), state)
        expected = reference.step(words(30 + t))
        assert set(metrics) == set(expected)
        for metric, value in expected.items():
            np.testing.assert_allclose(metrics[metric], value, rtol=5e-4, err_msg=metric)
        reference.outer.check(state, KEPT)

    if name == "naive, first order":
        return
    # The evaluation has other numbers of steps than the training, and keys of its own for tasks and episodes.
    measure = evaluator(lambda config: tasks, tasks=3, at=(3, 0), tasks_at_once=2)
    measured = compiled(lambda key, state: measure(agent, config, key, state, None), key, state)(key, state)
    returns = []
    for one, own in split(words(1), (3, 2)):
        _, (played, _, _) = reference.path(reference.outer.meta, own, uniform(one, (2,), 0.0, 0.4), 3)
        returns.append([np.mean([r.sum() for r in p.reward]) for p in played])
    returns, expected = np.array(returns), {}
    for label, values in (("return@0", returns[:, 0]), ("return@3", returns[:, 3]),
                          ("gain@3", returns[:, 3] - returns[:, 0])):  # fmt: skip
        half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
        expected |= {label: values.mean(), f"{label} halfwidth": half, f"{label} median": np.median(values)}
    assert set(measured) == set(expected)
    for label, value in expected.items():
        np.testing.assert_allclose(measured[label], value, rtol=1e-3, atol=1e-4, err_msg=label)
    assert special.stdtrit(2, 0.975) > 4  # few tasks give wide intervals
