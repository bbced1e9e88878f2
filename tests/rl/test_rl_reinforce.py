"""Gradient estimators, averaged over all trajectories, and REINFORCE's gradient, equal the exact gradient."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check, nets
from lrn.rl import identity, mdp, returns
from lrn.rl.reinforce import (
    ReinforceConfig,
    episode_discounts,
    first_episodes,
    over_episode,
    policy_gradient_loss,
    reinforce,
)


def layered():
    """An MDP of three steps with two states each and two actions; every episode ends after the third step."""
    rng = np.random.RandomState(0)
    p = np.zeros((6, 2, 6))
    p[0, :, 1], p[0, :, 2] = (0.3, 0.8), (0.7, 0.2)
    for s in (1, 2):
        p[s, :, 3] = rng.rand(2)
        p[s, :, 4] = 1 - p[s, :, 3]
    p[3:, :, 5] = 1.0
    return mdp.make(p, rng.randn(6, 2), np.eye(6)[0], 0.8, np.arange(6) == 5)


LOGITS = jnp.asarray(np.random.RandomState(1).randn(6, 2))
STEPS = 3


def trajectories(problem):
    """All trajectories: probabilities, states and actions [time, batch]."""
    policy = np.asarray(jax.nn.softmax(LOGITS), np.float64)
    paths = []
    for states in itertools.product([0], [1, 2], [3, 4]):
        for actions in itertools.product([0, 1], repeat=STEPS):
            after = (*states[1:], 5)
            factors = [policy[s, a] * problem.transitions[s, a, n] for s, a, n in zip(states, actions, after)]
            paths.append((float(np.prod(factors)), states, actions))
    weights, states, actions = zip(*paths)
    assert sum(weights) == pytest.approx(1, abs=1e-6)
    return np.array(weights), np.array(states).T, np.array(actions).T


def estimate(problem, kind):
    """The expectation of an estimator over all trajectories."""
    chances, states, actions = trajectories(problem)
    reward = problem.rewards[states, actions]
    ended = np.zeros(states.shape, bool)
    ended[-1] = True
    discount = problem.discount
    to_go = returns.discounted_returns(reward, ended, discount)
    factor = episode_discounts(jnp.asarray(ended), discount)
    values = mdp.policy_values(problem, jax.nn.softmax(LOGITS))
    following = jnp.concatenate([values[states[1:]], jnp.zeros((1, states.shape[1]))])
    gae = returns.gae(reward, values[states], following, ended, ended, discount, 0.6)
    nothing = jnp.zeros_like(reward)
    weight = {
        "return": over_episode(to_go, jnp.asarray(ended)),
        "to go": factor * to_go,
        "any baseline": factor * (to_go - jnp.arange(6.0)[states]),
        "gae of the true values": factor * gae,
        "without the factor": to_go,
        "gae of other values": factor * returns.gae(reward, nothing, nothing, ended, ended, discount, 0.2),
    }[kind]

    def loss(logits):
        log_prob = jax.nn.log_softmax(logits)[states, actions]
        return (policy_gradient_loss(log_prob, weight).sum(0) * chances).sum()

    return -jax.grad(loss)(LOGITS)


@pytest.mark.parametrize("kind", ["return", "to go", "any baseline", "gae of the true values"])
def test_unbiased_estimators_have_the_exact_gradient_as_their_mean(kind):
    problem = layered()
    exact = mdp.softmax_policy_gradient(problem, LOGITS)
    assert np.abs(exact).max() > 0.05
    np.testing.assert_allclose(estimate(problem, kind), exact, atol=2e-6)


@pytest.mark.parametrize("kind", ["without the factor", "gae of other values"])
def test_biased_estimators_are_told_apart(kind):
    problem = layered()
    off = np.abs(estimate(problem, kind) - mdp.softmax_policy_gradient(problem, LOGITS)).max()
    assert off > 0.01


def test_over_episode_discounts_and_first_episodes():
    ended = jnp.array([0, 0, 1, 0, 1, 0], bool)[:, None]
    x = jnp.arange(6.0)[:, None] + 10
    np.testing.assert_array_equal(over_episode(x, ended)[:, 0], [10, 10, 10, 13, 13, 15])
    np.testing.assert_array_equal(episode_discounts(ended, 0.5)[:, 0], [1, 0.5, 0.25, 1, 0.5, 1])
    np.testing.assert_array_equal(first_episodes(ended)[:, 0], [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(first_episodes(jnp.zeros((3, 1), bool))[:, 0], [1, 1, 1])


def table(zeros):
    """A network of one matrix, the logits of each state."""
    return nets.from_function(lambda key, x: jnp.asarray(zeros), lambda params, x: x @ params)


@pytest.mark.parametrize("estimator", ["return", "to_go"])
@pytest.mark.parametrize("baseline", [False, True])
def test_the_agents_gradient_is_the_exact_one(estimator, baseline):
    """The gradient of 4096 episodes, read from Adam's first moment, is near the exact one."""
    problem = layered()
    config = ReinforceConfig(
        num_envs=4096, rollout_length=5, estimator=estimator, discount_states=True,
        discount=0.8, normalize_weights=False, max_grad_norm=1e9, baseline_coefficient=0.0,
    )  # fmt: skip
    env = mdp.as_env(problem, horizon=5)
    values = mdp.policy_values(problem, jax.nn.softmax(LOGITS))[:, None]
    agent = reinforce(env, table(LOGITS), config, table(values) if baseline else None)

    @jax.jit
    def gradient(key):
        init, step = jax.random.split(key)
        state, _ = agent.step(step, agent.init(init, None), None)
        return -state.opt_state[0].mu["net"] / 0.1

    gradients = np.stack([gradient(jax.random.key(i)) for i in range(8)])
    exact = np.asarray(mdp.softmax_policy_gradient(problem, LOGITS))
    error = gradients.std(0, ddof=1) / np.sqrt(len(gradients))
    assert (np.abs(gradients.mean(0) - exact) <= 6 * error + 1e-6).all()  # t with 7 degrees of freedom
    assert error.max() < 0.05 * np.abs(exact).max()


def test_one_episode_of_each_environment_counts():
    """In a rollout of seven steps two episodes of three steps end; the second does not count."""
    config = ReinforceConfig(num_envs=8, rollout_length=7, normalize_weights=False)
    agent = reinforce(mdp.as_env(layered(), horizon=3), table(LOGITS), config)
    step = jax.jit(agent.step)
    _, metrics = step(jax.random.key(1), jax.jit(agent.init)(jax.random.key(0), None), None)
    assert float(metrics["length"].value) == 3
    assert float(metrics["length"].weight) == float(metrics["return"].weight) == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"estimator": "togo"}, "did you mean to_go"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0"),
        ({"rollout_length": 3}, "set it to 5, or whole_episodes=False"),
        ({"rollout_length": 1, "num_envs": 1}, "a rollout of REINFORCE has 1 row, and normalize_weights"),
        ({"num_envs": 1, "estimator": "return"}, "a rollout of whole returns has 1 row"),
        ({"total_steps": 39}, "at least the 40 steps of one iteration"),
        ({"total_steps": 2**40, "anneal": True}, "a counter of 32 bits holds"),
    ],
)
def test_bad_settings_are_one_sentence(settings, message):
    with pytest.raises(check.InputError, match=message):
        reinforce(identity.echo(3, 5), nets.mlp(3, (4,)), ReinforceConfig(**{"rollout_length": 5} | settings))


def test_one_episode_of_one_step_has_nothing_to_normalize_by():
    net, settings = nets.mlp(2, (4,)), ReinforceConfig(num_envs=1, rollout_length=4)
    with pytest.raises(check.InputError, match="of one step in constant reward has 1 row"):
        reinforce(identity.constant_reward(), net, settings)
    reinforce(identity.constant_reward(), net, ReinforceConfig(num_envs=2, rollout_length=1))


def test_networks_of_the_wrong_size_are_one_sentence():
    config = ReinforceConfig(rollout_length=5)
    with pytest.raises(check.InputError, match="set its number of outputs to 3"):
        reinforce(identity.echo(3, 5), nets.mlp(2, (4,)), config)
    with pytest.raises(check.InputError, match="the baseline of reinforce must map"):
        reinforce(identity.echo(3, 5), nets.mlp(3, (4,)), config, nets.mlp(3, (4,)))
