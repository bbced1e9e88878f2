"""One whole iteration of REINFORCE, with each of its estimators, against a reference in plain NumPy."""

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

from lrn.rl.reinforce import ReinforceConfig, ReinforceState, reinforce


class Case(NamedTuple):
    policy: doubles.Policy
    settings: ReinforceConfig
    baseline: bool
    seed: int
    params: int = 3


ODD: Any = dict(num_envs=5, rollout_length=6, discount=0.85, entropy_coefficient=0.3)
CASES = {
    "whole episodes, states discounted, a baseline, weights normalized, the rate falls": Case(
        doubles.DISCRETE,
        ReinforceConfig(
            **ODD, total_steps=300, learning_rate=0.05, anneal=True, discount_states=True,
            baseline_coefficient=0.7, max_grad_norm=0.2,
        ),
        baseline=True, seed=3,
    ),
    "whole returns of whole episodes": Case(
        doubles.CONTINUOUS,
        ReinforceConfig(
            **ODD, learning_rate=0.03, estimator="return", normalize_weights=False, max_grad_norm=50.0,
            initial_log_std=-0.6,
        ),
        baseline=False, seed=0, params=7,
    ),
    "rewards to go of what was played, a baseline": Case(
        doubles.CONTINUOUS,
        ReinforceConfig(
            **ODD, learning_rate=0.03, whole_episodes=False, normalize_weights=False,
            baseline_coefficient=0.4, max_grad_norm=50.0,
        ),
        baseline=True, seed=0, params=4,
    ),
    "whole returns of what was played, a baseline, weights normalized": Case(
        doubles.DISCRETE,
        ReinforceConfig(
            **ODD, learning_rate=0.03, whole_episodes=False, estimator="return", baseline_coefficient=0.4,
            max_grad_norm=50.0,
        ),
        baseline=True, seed=9,
    ),
}  # fmt: skip


def made(case: Case) -> tuple[Any, ReinforceState]:
    """An agent, and its state in the middle of a training."""
    env = walk.walk(case.policy is doubles.CONTINUOUS)
    baseline = doubles.linear(1) if case.baseline else None
    agent = reinforce(env, doubles.linear(case.policy.k), case.settings, baseline)
    fresh = jax.jit(agent.init)(jax.random.key(0), None)
    params = doubles.numbers(fresh.params, 0.4, case.params)
    if case.policy is doubles.CONTINUOUS:
        params["head"] = jnp.asarray(case.policy.extra, jnp.float32)
    net_state = (jnp.float32(1.2), jnp.float32(0.7)) if case.baseline else (jnp.float32(1.2),)
    live = walk.under_way(case.settings.num_envs)
    return agent, ReinforceState(params, net_state, doubles.moved(fresh.opt_state), live)


def weights_of(c: ReinforceConfig, to_go: np.ndarray, value: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """The weights of the log-probabilities of actions, before any normalization."""
    weight = to_go - value
    for i in range(weight.shape[1]):
        begin = 0
        for t in range(len(weight)):
            if c.estimator == "return":
                weight[t, i] = weight[begin, i]
            elif c.discount_states:
                weight[t, i] *= c.discount ** (t - begin)
            begin = t + 1 if ended[t, i] else begin
    return weight


def reference(case: Case, key: Any, state: ReinforceState) -> Any:
    """One iteration of REINFORCE (Williams 1992; Sutton and Barto 2018, section 13.4)."""
    c, policy, before = case.settings, case.policy, plain.as_float64(state.params)
    states = [float(x) for x in state.net_state]
    noise_key, env_key, start_key = jax.random.split(key, 3)
    noise = policy.noise(noise_key, (c.rollout_length, c.num_envs))

    def act(t, observation):
        return policy.sample(before["head"], doubles.forward(before["net"], states[0], observation), noise[t])

    live = walk.start(start_key, c.num_envs) if c.whole_episodes else state.live
    live, played = walk.play(env_key, live, act, policy.send, c.rollout_length)
    walk.assert_every_ending(played)

    def values(params, x):
        if not case.baseline:
            return np.zeros(x.shape[:-1])
        return doubles.forward(params["baseline"], states[1], x)[..., 0]

    old, following = values(before, played.observation), values(before, played.following)
    ends = played.ended.copy()
    ends[-1] = True
    to_go, later = np.zeros_like(old), following[-1]
    for t in reversed(range(c.rollout_length)):
        later = played.reward[t] + c.discount * ~played.terminated[t] * np.where(ends[t], following[t], later)
        to_go[t] = later
    weight = weights_of(c, to_go, old, played.ended)
    counted = np.ones(weight.shape, bool)
    if c.whole_episodes:
        counted[1:] = np.cumsum(played.ended, 0)[:-1] == 0
        assert not counted.all()
    if c.normalize_weights:
        weight = (weight - weight[counted].mean()) / weight[counted].std()

    def parts(params):
        out = doubles.forward(params["net"], states[0], played.observation)
        gain = policy.log_prob(params["head"], out, played.action) * weight
        entropy = policy.entropy(params["head"], out)[counted].mean()
        error = 0.5 * (values(params, played.observation) - to_go)[counted] ** 2
        return -gain[counted].sum() / (c.num_envs if c.whole_episodes else gain.size), entropy, error.mean()

    coefficients = np.array([1.0, -c.entropy_coefficient, case.baseline * c.baseline_coefficient])
    gradient = plain.gradient(lambda p: coefficients @ parts(p), before)  # pyright: ignore[reportArgumentType]
    metrics = doubles.episodes(played)
    if c.whole_episodes:
        firsts = [np.flatnonzero(played.ended[:, i])[0] + 1 for i in range(c.num_envs)]
        totals = [played.reward[:n, i].sum() for i, n in enumerate(firsts)]
        metrics = doubles.episodes(played._replace(returns=totals, lengths=firsts))
    metrics |= dict(zip(("policy_loss", "entropy", "baseline_loss")[: 2 + case.baseline], parts(before)))
    metrics["gradient_norm"] = plain.global_norm(gradient)
    updates = c.total_steps / c.interactions if c.anneal else None
    optimizer = doubles.Optimizer(state.opt_state, before, c.learning_rate, updates, 1e-8)
    params = optimizer.step(before, plain.clipped(gradient, c.max_grad_norm))
    return ReinforceState(params, tuple(states), optimizer.state(), live), metrics  # pyright: ignore


@pytest.mark.parametrize("name", CASES)
def test_an_iteration_is_that_of_the_books(name):
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
    net_key, baseline_key, env_key = jax.random.split(key, 3)
    live = walk.start(env_key, case.settings.num_envs)
    net, net_state = doubles.linear_init(net_key, case.policy.k, live.observation)  # pyright: ignore[reportArgumentType]
    head = np.full(2, case.settings.initial_log_std) if case.policy is doubles.CONTINUOUS else ()
    params, states = {"net": net, "head": head}, (net_state,)
    if case.baseline:
        params["baseline"], other = doubles.linear_init(baseline_key, 1, live.observation)  # pyright: ignore[reportArgumentType]
        states = (net_state, other)
    zeros = jax.tree.map(np.zeros_like, params)
    opt_state = (optax.ScaleByAdamState(0, zeros, zeros), optax.ScaleByScheduleState(0))  # pyright: ignore
    plain.assert_trees_close(agent.init(key, None), ReinforceState(params, states, opt_state, live))


@pytest.mark.parametrize("name", list(CASES)[:2])
def test_the_greedy_policy_is_the_mode(name):
    case = CASES[name]
    agent, state = made(case)
    x = walk.observe(np.linspace(-1, 1.5, 7), np.arange(7) % 3)
    params = plain.as_float64(state.params)
    out = doubles.forward(params["net"], float(state.net_state[0]), x)
    x, key, memory = jnp.asarray(x, jnp.float32), jax.random.key(5), agent.policy.initial(7)
    action, memory = jax.jit(agent.policy.act)(key, state, memory, x)
    np.testing.assert_allclose(action, case.policy.send(case.policy.mode(params["head"], out)), atol=1e-5)
    drawn, memory = jax.jit(agent.policy.sample)(key, state, memory, x)
    expected = case.policy.sample(params["head"], out, case.policy.noise(key, (7,)))
    np.testing.assert_allclose(drawn, case.policy.send(expected), atol=1e-5)
    assert memory == ()
