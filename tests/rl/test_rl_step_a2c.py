"""One whole iteration of A2C against a reference in plain NumPy, from a state in the middle of a training."""

from __future__ import annotations

from typing import Any, NamedTuple

import doubles
import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain
import pytest
import walk
from quick import run_once

from lrn.rl.a2c import A2CConfig, A2CState, a2c


class Case(NamedTuple):
    policy: doubles.Policy
    settings: A2CConfig
    seed: int


ODD: Any = dict(num_envs=5, rollout_length=6, discount=0.85, gae_lambda=0.7, entropy_coefficient=0.3)
CASES = {
    "discrete, RMSprop whose rate falls, the gradient cut": Case(
        doubles.DISCRETE,
        A2CConfig(**ODD, total_steps=300, learning_rate=0.05, value_coefficient=0.7, max_grad_norm=0.2),
        seed=1,
    ),
    "continuous, Adam, advantages normalized": Case(
        doubles.CONTINUOUS,
        A2CConfig(
            **ODD, optimizer="adam", learning_rate=0.03, value_coefficient=0.4, max_grad_norm=50.0,
            anneal=False, normalize_advantages=True, initial_log_std=-0.6,
        ),
        seed=1,
    ),
}  # fmt: skip


def made(case: Case) -> tuple[Any, A2CState]:
    """An agent, and its state in the middle of a training."""
    agent = a2c(walk.walk(case.policy is doubles.CONTINUOUS), doubles.pair(case.policy.k), case.settings)
    fresh = jax.jit(agent.init)(jax.random.key(0), None)
    params = doubles.numbers(fresh.params, 0.5, 3)
    if case.policy is doubles.CONTINUOUS:
        params["head"] = jnp.asarray(case.policy.extra, jnp.float32)
    opt_state = doubles.moved(fresh.opt_state)
    return agent, A2CState(params, jnp.float32(1.2), opt_state, walk.under_way(case.settings.num_envs))


def outputs(params: Any, state: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both = doubles.forward(params["net"], state, x)
    return both[..., :-1], both[..., -1]


def reference(case: Case, key: Any, state: A2CState) -> Any:
    """One step of Mnih et al. (2016), algorithm S3, with generalized advantages."""
    c, policy = case.settings, case.policy
    before, net_state = plain.as_float64(state.params), float(state.net_state)
    noise_key, env_key = jax.random.split(key)
    noise = policy.noise(noise_key, (c.rollout_length, c.num_envs))

    def act(t, observation):
        return policy.sample(before["head"], outputs(before, net_state, observation)[0], noise[t])

    live, played = walk.play(env_key, state.live, act, policy.send, c.rollout_length)
    walk.assert_every_ending(played)
    old, following = (outputs(before, net_state, x)[1] for x in (played.observation, played.following))
    advantage = walk.gae(played, played.reward, old, following, c.discount, c.gae_lambda)
    target, weight = advantage + old, advantage
    if c.normalize_advantages:
        weight = (weight - weight.mean()) / weight.std()

    def parts(params):
        out, value = outputs(params, net_state, played.observation)
        log_prob = policy.log_prob(params["head"], out, played.action)
        entropy = policy.entropy(params["head"], out).mean()
        return -(log_prob * weight).mean(), 0.5 * ((value - target) ** 2).mean(), entropy

    weights = np.array([1.0, c.value_coefficient, -c.entropy_coefficient])
    gradient = plain.gradient(lambda p: weights @ parts(p), before)  # pyright: ignore[reportArgumentType]
    metrics = doubles.episodes(played) | dict(zip(("policy_loss", "value_loss", "entropy"), parts(before)))
    metrics["gradient_norm"] = plain.global_norm(gradient)
    updates = c.total_steps / c.interactions if c.anneal else None
    optimizer = doubles.Optimizer(state.opt_state, before, c.learning_rate, updates, 1e-5)
    params = optimizer.step(before, plain.clipped(gradient, c.max_grad_norm))
    return A2CState(params, net_state, optimizer.state(), live), metrics  # pyright: ignore


@pytest.mark.parametrize("name", CASES)
def test_an_iteration_is_that_of_the_paper(name):
    case = CASES[name]
    agent, state = made(case)
    key = jax.random.key(case.seed)
    after, metrics = run_once(agent.step, key, state)
    expected, measured = reference(case, key, state)
    plain.assert_trees_close(after, expected)
    assert (measured["gradient_norm"] > 2 * case.settings.max_grad_norm) == (case.settings.max_grad_norm < 1)
    plain.assert_trees_close(metrics, measured)


@pytest.mark.parametrize("name", CASES)
def test_it_begins_with_its_keys_and_what_is_observed(name):
    case = CASES[name]
    agent, _ = made(case)
    key = jax.random.key(7)
    net_key, env_key = jax.random.split(key)
    live = walk.start(env_key, case.settings.num_envs)
    net, net_state = doubles.linear_init(net_key, case.policy.k + 1, live.observation)  # pyright: ignore[reportArgumentType]
    continuous = case.policy is doubles.CONTINUOUS
    params = {"net": net, "head": np.full(2, case.settings.initial_log_std) if continuous else ()}
    fresh = agent.init(key, None)
    zeros = jax.tree.map(np.zeros_like, params)
    adam = optax.ScaleByAdamState(0, zeros, zeros)  # pyright: ignore[reportArgumentType]
    opt_state = (adam if continuous else optax.ScaleByRmsState(zeros), optax.ScaleByScheduleState(0))  # pyright: ignore
    plain.assert_trees_close(fresh, A2CState(params, net_state, opt_state, live))


@pytest.mark.parametrize("name", CASES)
def test_the_greedy_policy_is_the_mode(name):
    case = CASES[name]
    agent, state = made(case)
    x = walk.observe(np.linspace(-1, 1.5, 7), np.arange(7) % 3)
    params = plain.as_float64(state.params)
    out, _ = outputs(params, float(state.net_state), x)
    x, key, memory = jnp.asarray(x, jnp.float32), jax.random.key(5), agent.policy.initial(7)
    action, memory = jax.jit(agent.policy.act)(key, state, memory, x)
    np.testing.assert_allclose(action, case.policy.send(case.policy.mode(params["head"], out)), atol=1e-5)
    drawn, memory = jax.jit(agent.policy.sample)(key, state, memory, x)
    expected = case.policy.sample(params["head"], out, case.policy.noise(key, (7,)))
    np.testing.assert_allclose(drawn, case.policy.send(expected), atol=1e-5)
    assert memory == ()
