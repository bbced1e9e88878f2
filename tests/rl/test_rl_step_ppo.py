"""One whole iteration of PPO against a reference in plain NumPy, from a state in the middle of a training."""

from __future__ import annotations

from typing import Any, NamedTuple

import doubles
import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
import walk
from quick import run_once

from lrn.rl import running
from lrn.rl.exploration.bonus import Bonus
from lrn.rl.ppo import PPOConfig, PPOState, ppo
from lrn.types import Net

NOW, NEXT = np.array([1.0, 0.5]), np.array([0.3, -0.7])


def novelty() -> Bonus:
    """A bonus proportional to a level, which each update changes by all of its arguments."""

    def total(x: Any) -> Any:
        return x.reshape(x.shape[0], -1).sum(-1)

    def init(key, observation):
        return jax.random.uniform(key) + observation.sum()

    def bonus(state, observation, action, following):
        now, after = (jnp.asarray(w, jnp.float32) for w in (NOW, NEXT))
        return 0.2 * state * (observation @ now + 0.3 * total(action) + following @ after)

    def update(key, state, seen):
        level = (seen.observation[:, 0] - 0.2 * total(seen.action) + 2 * seen.next_observation[:, 1]).mean()
        return 0.5 * state + level + jax.random.uniform(key)

    return Bonus(init, bonus, update)


def paid(key: Any, level: float, played: walk.Played) -> tuple[float, np.ndarray]:
    """The level after an update, and the bonus for each step."""
    total = played.sent.sum(-1) if played.sent.ndim == 3 else played.sent
    moved = (played.observation[..., 0] - 0.2 * total + 2 * played.following[..., 1]).mean()
    level = 0.5 * level + moved + float(jax.random.uniform(key))
    return level, 0.2 * level * (played.observation @ NOW + 0.3 * total + played.following @ NEXT)


class Case(NamedTuple):
    policy: doubles.Policy
    settings: PPOConfig
    seed: int
    bonus: bool = False


ODD: Any = dict(num_envs=5, rollout_length=6, discount=0.85, gae_lambda=0.7, entropy_coefficient=0.3)
CASES = {
    "discrete, advantages normalized, everything clipped, the rate falls": Case(
        doubles.DISCRETE,
        PPOConfig(
            **ODD, total_steps=150, epochs=2, minibatches=3, learning_rate=0.3, clip=0.15,
            value_coefficient=0.7, max_grad_norm=0.3,
        ),
        seed=1,
    ),
    "continuous, observations and rewards normalized, a bonus": Case(
        doubles.CONTINUOUS,
        PPOConfig(
            **ODD, epochs=3, minibatches=2, learning_rate=0.08, clip=0.3, value_coefficient=0.4,
            max_grad_norm=50.0, anneal=False, clip_value=False, normalize_advantages=False,
            normalize_observations=True, normalize_rewards=True, initial_log_std=-0.6,
        ),
        seed=3,
        bonus=True,
    ),
}  # fmt: skip


def made(case: Case) -> tuple[Any, PPOState]:
    """An agent, and its state in the middle of a training."""
    agent = ppo(
        walk.walk(case.policy is doubles.CONTINUOUS), doubles.pair(case.policy.k), case.settings,
        novelty() if case.bonus else None,
    )  # fmt: skip
    fresh = jax.jit(agent.init)(jax.random.key(0))  # pyright: ignore[reportCallIssue]
    params = doubles.numbers(fresh.params, 0.5, 3)
    if case.policy is doubles.CONTINUOUS:
        params["head"] = jnp.asarray(case.policy.extra, jnp.float32)
    n = case.settings.num_envs
    return agent, PPOState(
        params,
        jnp.float32(1.2),
        doubles.moved(fresh.opt_state),
        walk.under_way(n),
        running.Moments(jnp.array([0.3, -0.2]), jnp.array([0.5, 0.2]), jnp.float32(30.0)),
        (jnp.arange(n) * 0.3 + 0.1, running.Moments(jnp.float32(0.4), jnp.float32(2.0), jnp.float32(20.0))),
        jnp.float32(0.8) if case.bonus else (),
    )


def outputs(params: Any, state: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both = doubles.forward(params["net"], state, x)
    return both[..., :-1], both[..., -1]


def reference(case: Case, key: Any, state: PPOState) -> Any:
    """One iteration of Schulman et al. (2017), algorithm 1."""
    c, policy = case.settings, case.policy
    params, net_state = plain.as_float64(state.params), float(state.net_state)
    play_key, bonus_key, shuffle_key = jax.random.split(key, 3)
    noise_key, env_key = jax.random.split(play_key)
    noise = policy.noise(noise_key, (c.rollout_length, c.num_envs))
    see = lambda x: doubles.normalized(state.observations, x, c.normalize_observations)  # noqa: E731

    def act(t, observation):
        return policy.sample(params["head"], outputs(params, net_state, see(observation))[0], noise[t])

    live, played = walk.play(env_key, state.live, act, policy.send, c.rollout_length)
    walk.assert_every_ending(played)
    metrics, reward, level, scale = doubles.episodes(played), played.reward, state.bonus, state.scale
    if case.bonus:
        level, extra = paid(bonus_key, float(state.bonus), played)
        reward, metrics["bonus"] = reward + extra, extra.mean()
    if c.normalize_rewards:
        scale, reward = doubles.scaled_rewards(scale, reward, played.ended, c.discount)
    out, value = outputs(params, net_state, see(played.observation))
    _, following = outputs(params, net_state, see(played.following))
    advantage = walk.gae(played, reward, value, following, c.discount, c.gae_lambda)
    whole = (
        see(played.observation), played.action, policy.log_prob(params["head"], out, played.action), value,
        advantage, advantage + value,
    )  # fmt: skip
    whole = [x.reshape(-1, *x.shape[2:]) for x in whole]
    updates = c.total_steps / c.interactions * c.epochs * c.minibatches
    optimizer = doubles.Optimizer(
        state.opt_state, params, c.learning_rate, updates if c.anneal else None, 1e-5
    )
    measured = []
    for index in doubles.orders(shuffle_key, c.interactions, c.epochs).reshape(c.epochs * c.minibatches, -1):
        rows = [x[index] for x in whole]
        measured.append(loss(case, net_state, rows, params)[1])
        gradient = plain.gradient(lambda p, rows=rows: loss(case, net_state, rows, p)[0], params)
        params = optimizer.step(params, plain.clipped(gradient, c.max_grad_norm))
    metrics |= doubles.ppo_metrics(measured)
    stats = (
        doubles.pooled(state.observations, played.observation)
        if c.normalize_observations
        else state.observations
    )
    return PPOState(params, net_state, optimizer.state(), live, stats, scale, level), metrics  # pyright: ignore


def loss(case: Case, net_state: float, rows: list[np.ndarray], params: Any) -> tuple[float, tuple]:
    """The loss of a minibatch, and its parts."""
    out, value = outputs(params, net_state, rows[0])
    return doubles.ppo_loss(case.settings, case.policy, params["head"], out, value, *rows[1:])


@pytest.mark.parametrize("name", CASES)
def test_an_iteration_is_that_of_the_paper(name):
    case = CASES[name]
    agent, state = made(case)
    key = jax.random.key(case.seed)
    after, metrics = run_once(agent.step, key, state)
    expected, measured = reference(case, key, state)
    plain.assert_trees_close(after, expected)
    assert 0.05 < measured["clipped"] < 0.95
    plain.assert_trees_close(metrics, measured)


@pytest.mark.parametrize("name", CASES)
def test_it_begins_with_its_keys_and_what_is_observed(name):
    case = CASES[name]
    agent, _ = made(case)
    key = jax.random.key(7)
    net_key, env_key, bonus_key = jax.random.split(key, 3)
    n, k = case.settings.num_envs, case.policy.k
    live = walk.start(env_key, n)
    net, net_state = doubles.linear_init(net_key, k + 1, live.observation)  # pyright: ignore[reportArgumentType]
    head = np.full(k, case.settings.initial_log_std) if case.policy is doubles.CONTINUOUS else ()
    params = {"net": net, "head": head}
    zeros = jax.tree.map(np.zeros_like, params)
    adam = agent.init(key).opt_state[0]._replace(count=0, mu=zeros, nu=zeros)
    opt_state = (adam, agent.init(key).opt_state[1]._replace(count=0))
    level = float(jax.random.uniform(bonus_key)) + live.observation.sum() if case.bonus else ()
    nothing = running.Moments(np.zeros(2), np.ones(2), 0.0), (np.zeros(n), running.Moments(0.0, 1.0, 0.0))  # pyright: ignore
    plain.assert_trees_close(agent.init(key), PPOState(params, net_state, opt_state, live, *nothing, level))  # pyright: ignore


@pytest.mark.parametrize("name", CASES)
def test_the_greedy_policy_is_the_mode_at_what_is_seen(name):
    case = CASES[name]
    agent, state = made(case)
    x = walk.observe(np.linspace(-1, 1.5, 7), np.arange(7) % 3)
    params = plain.as_float64(state.params)
    seen = doubles.normalized(state.observations, x, case.settings.normalize_observations)
    out, _ = outputs(params, float(state.net_state), seen)
    x, key, memory = jnp.asarray(x, jnp.float32), jax.random.key(5), agent.policy.initial(7)
    action, memory = jax.jit(agent.policy.act)(key, state, memory, x)
    np.testing.assert_allclose(action, case.policy.send(case.policy.mode(params["head"], out)), atol=1e-5)
    drawn, memory = jax.jit(agent.policy.sample)(key, state, memory, x)
    expected = case.policy.sample(params["head"], out, case.policy.noise(key, (7,)))
    np.testing.assert_allclose(drawn, case.policy.send(expected), atol=1e-5)
    assert memory == ()


def test_the_greedy_policy_sees_normalized_observations():
    """With raw observations action 1 scores 1.2 against 1; normalized, the second number gives only .12."""
    actor = jnp.array([[1.0, 0.0, -9.0], [0.0, 1.2, -9.0]])
    net = Net(
        lambda key, x: (actor, ()),
        lambda params, state, x, *, key=None, train=False: ((x @ params, jnp.zeros(x.shape[0])), state),  # pyright: ignore[reportArgumentType]
    )
    agent = ppo(walk.walk(), net, PPOConfig(normalize_observations=True))
    stats = running.Moments(jnp.array([0.0, 0.9]), jnp.ones(2), jnp.float32(10.0))
    state = jax.jit(agent.init)(jax.random.key(0))._replace(observations=stats)  # pyright: ignore[reportCallIssue]
    assert jax.jit(agent.policy.act)(jax.random.key(0), state, (), jnp.ones((1, 2)))[0].tolist() == [0]
