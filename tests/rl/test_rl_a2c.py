"""A2C: its gradient equals PPO's before any clipping, and it solves a small MDP exactly."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check, nets
from lrn.rl import identity, mdp
from lrn.rl.a2c import A2CConfig, a2c
from lrn.rl.heads import actor_critic
from lrn.rl.ppo import PPOConfig, ppo


def linear(inputs, outputs):
    return nets.from_function(lambda key, x: jnp.zeros((inputs, outputs)), lambda params, x: x @ params)


def net(outputs=3):
    return actor_critic(nets.mlp(outputs, (8,)), nets.mlp(1, (8,)))


def test_ppo_of_one_epoch_and_one_minibatch_is_a2c():
    """At the first gradient step the ratio is 1, so nothing is clipped (Huang et al. 2022).

    Both agents play the same rollout. Their gradients, read from Adam's first moment, are equal.
    """
    env = identity.continuous_echo()
    shared: Any = dict(
        num_envs=4, rollout_length=6, learning_rate=1e-3, discount=0.9, gae_lambda=0.7,
        entropy_coefficient=0.02, value_coefficient=0.4, max_grad_norm=1e6, initial_log_std=-0.5,
    )  # fmt: skip
    one = a2c(env, net(1), A2CConfig(**shared, optimizer="adam", normalize_advantages=True))
    two = ppo(env, net(1), PPOConfig(**shared, epochs=1, minibatches=1, clip_value=False))
    state = jax.jit(two.init)(jax.random.key(0), None)
    same = jax.jit(one.init)(jax.random.key(1), None)._replace(
        params=state.params, net_state=state.net_state, live=state.live
    )
    key = jax.random.key(2)
    # PPO splits its key before it plays.
    a = jax.jit(one.step)(jax.random.split(key, 3)[0], same, None)[0]
    b = jax.jit(two.step)(key, state, None)[0]
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-6),
        a.opt_state[0].mu, b.opt_state[0].mu,
    )  # fmt: skip
    assert largest(a.opt_state[0].mu) > 1e-3


def largest(tree):
    return max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree))


def test_it_learns_a_chain_to_its_exact_value():
    """The greedy policy is optimal, and the critic is near the value of the final policy."""
    problem = mdp.chain(4, discount=0.9)
    table = actor_critic(linear(4, 2), linear(4, 1))
    steps = 1500
    config = A2CConfig(
        num_envs=16, rollout_length=8, total_steps=steps * 128, optimizer="adam", learning_rate=0.3,
        discount=0.9, gae_lambda=0.9, entropy_coefficient=0.0, max_grad_norm=1e3, normalize_advantages=True,
    )  # fmt: skip
    agent = a2c(mdp.as_env(problem, time_limit=50), table, config)

    @jax.jit
    def train(key):
        start, rest = jax.random.split(key)
        keys = jax.random.split(rest, steps)
        return jax.lax.scan(lambda s, k: (agent.step(k, s, None)[0], None), agent.init(start, None), keys)[0]

    params = train(jax.random.key(0)).params["net"]
    best = mdp.solve(problem)
    np.testing.assert_array_equal(params["actor"].argmax(-1), best.policy.argmax(-1))
    values = mdp.policy_values(problem, jax.nn.softmax(params["actor"]))
    np.testing.assert_allclose(params["critic"][:, 0], values, rtol=0.05)


def test_bad_input_is_one_sentence():
    with pytest.raises(check.InputError, match="did you mean rmsprop"):
        A2CConfig(optimizer="rms")
    with pytest.raises(check.InputError, match="num_envs must be at least 1"):
        A2CConfig(num_envs=0)
    with pytest.raises(check.InputError, match="a rollout of A2C has 1 row"):
        A2CConfig(num_envs=1, rollout_length=1, normalize_advantages=True)
    with pytest.raises(check.InputError, match="at least the 80 steps of one iteration"):
        A2CConfig(total_steps=79)
    with pytest.raises(check.InputError, match="a counter of 32 bits holds"):
        a2c(identity.echo(3), net(3), A2CConfig(total_steps=2**40))
    with pytest.raises(check.InputError, match=r"the network of a2c must map .* to a pair"):
        a2c(identity.echo(3), net(2), A2CConfig())
