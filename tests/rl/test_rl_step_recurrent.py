"""One whole iteration of recurrent PPO against a reference in plain NumPy, from the middle of a training."""

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

from lrn.rl import running
from lrn.rl.ppo import PPOConfig
from lrn.rl.recurrent_ppo import RecurrentPPOState, recurrent_ppo
from lrn.types import RecurrentNet

FORGOTTEN = np.array([0.3, -0.2])  # the memory at the start of an episode


def remembering(k: int) -> RecurrentNet:
    """A linear network with a memory of two numbers, which halves at each step."""

    def init(key, x):
        return {"in": jax.random.normal(key, (2, 2)) + x.sum(), "out": jnp.ones((4, k + 1)) - 0.7}

    def apply(params, memory, x, first):
        fresh = jnp.broadcast_to(jnp.asarray(FORGOTTEN, jnp.float32), memory.shape)
        memory = 0.5 * jnp.where(first[:, None], fresh, memory) + x @ params["in"]
        out = jnp.concatenate([memory, x], 1) @ params["out"]
        return (out[:, :k], out[:, k]), memory

    return RecurrentNet(init, lambda n: jnp.full((n, 2), 0.4), apply)


def think(params: Any, memory: np.ndarray, x: np.ndarray, first: np.ndarray) -> Any:
    """The network in NumPy: policy outputs, value, and the next memory."""
    memory = 0.5 * np.where(first[:, None], FORGOTTEN, memory) + x @ params["net"]["in"]
    out = np.concatenate([memory, x], 1) @ params["net"]["out"]
    return out[:, :-1], out[:, -1], memory


class Case(NamedTuple):
    policy: doubles.Policy
    settings: PPOConfig
    seed: int


ODD: Any = dict(num_envs=6, rollout_length=5, discount=0.85, gae_lambda=0.7, entropy_coefficient=0.3)
CASES = {
    "discrete, advantages normalized, everything clipped, the rate falls": Case(
        doubles.DISCRETE,
        PPOConfig(
            **ODD, total_steps=150, epochs=2, minibatches=3, learning_rate=0.2, clip=0.15,
            value_coefficient=0.7, max_grad_norm=0.3,
        ),
        seed=1,
    ),
    "continuous, observations and rewards normalized": Case(
        doubles.CONTINUOUS,
        PPOConfig(
            **ODD, epochs=3, minibatches=2, learning_rate=0.08, clip=0.3, value_coefficient=0.4,
            max_grad_norm=50.0, anneal=False, clip_value=False, normalize_advantages=False,
            normalize_observations=True, normalize_rewards=True, initial_log_std=-0.6,
        ),
        seed=80,
    ),
}  # fmt: skip


def made(case: Case) -> tuple[Any, RecurrentPPOState]:
    """An agent, and its state in the middle of a training."""
    env, n = walk.walk(case.policy is doubles.CONTINUOUS), case.settings.num_envs
    agent = recurrent_ppo(env, remembering(case.policy.k), case.settings)
    fresh = jax.jit(agent.init)(jax.random.key(0), None)
    params = doubles.numbers(fresh.params, 0.4, 3)
    if case.policy is doubles.CONTINUOUS:
        params["head"] = jnp.asarray(case.policy.extra, jnp.float32)
    live = walk.under_way(n)
    return agent, RecurrentPPOState(
        params,
        doubles.moved(fresh.opt_state),
        live,
        doubles.numbers(jnp.zeros((n, 2)), 0.6, 4),
        live.state.time == 0,
        running.Moments(jnp.array([0.3, -0.2]), jnp.array([0.5, 0.2]), jnp.float32(30.0)),
        (jnp.arange(n) * 0.3 + 0.1, running.Moments(jnp.float32(0.4), jnp.float32(2.0), jnp.float32(20.0))),
    )


def reference(case: Case, key: Any, state: RecurrentPPOState) -> Any:
    """One iteration of Schulman et al. (2017), algorithm 1, with minibatches of whole sequences."""
    c, policy, params = case.settings, case.policy, plain.as_float64(state.params)
    play_key, shuffle_key = jax.random.split(key)
    noise_key, env_key = jax.random.split(play_key)
    noise = policy.noise(noise_key, (c.rollout_length, c.num_envs))
    see = lambda x: doubles.normalized(state.observations, x, c.normalize_observations)  # noqa: E731
    outs, values, memories = [], [], [np.asarray(state.memory, np.float64)]
    begins = [np.asarray(state.first)]

    def act(t, observation):
        # The time in the observation tells whether an episode begins.
        first = np.isclose(observation[:, 1], -(observation[:, 0] ** 2), atol=1e-6)
        if t:
            begins.append(first)
        out, value, memory = think(params, memories[-1], see(observation), begins[t])
        outs.append(out)
        values.append(value)
        memories.append(memory)
        return policy.sample(params["head"], out, noise[t])

    live, played = walk.play(env_key, state.live, act, policy.send, c.rollout_length)
    walk.assert_every_ending(played)
    assert all((b == e).all() for b, e in zip(begins[1:], played.ended[:-1]))
    reward, scale = played.reward, state.scale
    if c.normalize_rewards:
        scale, reward = doubles.scaled_rewards(scale, reward, played.ended, c.discount)
    goes_on = np.zeros(c.num_envs, bool)
    following = [think(params, m, see(x), goes_on)[1] for m, x in zip(memories[1:], played.following)]
    out, value, following = np.stack(outs), np.stack(values), np.stack(following)
    advantage = walk.gae(played, reward, value, following, c.discount, c.gae_lambda)
    old = policy.log_prob(params["head"], out, played.action)
    whole = played.action, old, value, advantage, advantage + value
    updates = c.total_steps / c.interactions * c.epochs * c.minibatches
    optimizer = doubles.Optimizer(
        state.opt_state, params, c.learning_rate, updates if c.anneal else None, 1e-5
    )
    measured = []
    for index in doubles.orders(shuffle_key, c.num_envs, c.epochs).reshape(c.epochs * c.minibatches, -1):

        def loss(p, index=index):
            memory, again = memories[0][index], []
            for x, first in zip(see(played.observation), begins):
                *given, memory = think(p, memory, x[index], first[index])
                again.append(given)
            out, value = (np.stack(x) for x in zip(*again))
            return doubles.ppo_loss(c, policy, p["head"], out, value, *(x[:, index] for x in whole))

        measured.append(loss(params)[1])
        gradient = plain.gradient(lambda p, loss=loss: loss(p)[0], params)
        params = optimizer.step(params, plain.clipped(gradient, c.max_grad_norm))
    seen = state.observations
    stats = doubles.pooled(seen, played.observation) if c.normalize_observations else seen
    after = RecurrentPPOState(
        params, optimizer.state(), live, memories[-1], played.ended[-1], stats, scale  # pyright: ignore
    )  # fmt: skip
    return after, doubles.episodes(played) | doubles.ppo_metrics(measured)


@pytest.mark.parametrize("name", CASES)
def test_an_iteration_is_that_of_the_paper(name):
    case = CASES[name]
    agent, state = made(case)
    key = jax.random.key(case.seed)
    after, metrics = run_once(agent.step, key, state)
    expected, measured = reference(case, key, state)
    plain.assert_trees_close(after, expected)
    assert 0.02 < measured["clipped"] < 0.95
    plain.assert_trees_close(metrics, measured)


@pytest.mark.parametrize("name", CASES)
def test_it_begins_with_its_keys_and_what_is_observed(name):
    case = CASES[name]
    agent, _ = made(case)
    key = jax.random.key(7)
    net_key, env_key = jax.random.split(key)
    n, k = case.settings.num_envs, case.policy.k
    live = walk.start(env_key, n)
    drawn = np.asarray(jax.random.normal(net_key, (2, 2)), np.float64)
    net = {"in": drawn + live.observation.sum(), "out": np.full((4, k + 1), 0.3)}
    continuous = case.policy is doubles.CONTINUOUS
    params = {"net": net, "head": np.full(2, case.settings.initial_log_std) if continuous else ()}
    zeros = jax.tree.map(np.zeros_like, params)
    opt_state = (optax.ScaleByAdamState(0, zeros, zeros), optax.ScaleByScheduleState(0))  # pyright: ignore
    nothing = running.Moments(np.zeros(2), np.ones(2), 0.0), (np.zeros(n), running.Moments(0.0, 1.0, 0.0))  # pyright: ignore
    expected = RecurrentPPOState(
        params, opt_state, live, np.full((n, 2), 0.4), np.ones(n, bool), *nothing  # pyright: ignore
    )  # fmt: skip
    plain.assert_trees_close(agent.init(key, None), expected)


@pytest.mark.parametrize("name", CASES)
def test_the_greedy_policy_remembers_what_it_is_shown(name):
    case = CASES[name]
    agent, state = made(case)
    x = walk.observe(np.linspace(-1, 1.5, 7), np.arange(7) % 3)
    params = plain.as_float64(state.params)
    memory = agent.policy.initial(7)
    np.testing.assert_allclose(memory, np.full((7, 2), 0.4))
    given, key = (state, memory + 1, jnp.asarray(x, jnp.float32)), jax.random.key(5)
    action, after = jax.jit(agent.policy.act)(key, *given)
    seen = doubles.normalized(state.observations, x, case.settings.normalize_observations)
    out, _, expected = think(params, np.full((7, 2), 1.4), seen, np.zeros(7, bool))
    np.testing.assert_allclose(after, expected, atol=1e-5)
    np.testing.assert_allclose(action, case.policy.send(case.policy.mode(params["head"], out)), atol=1e-5)
    action, after = jax.jit(agent.policy.sample)(key, *given)
    np.testing.assert_allclose(after, expected, atol=1e-5)
    drawn = case.policy.sample(params["head"], out, case.policy.noise(key, (7,)))
    np.testing.assert_allclose(action, case.policy.send(drawn), atol=1e-5)
