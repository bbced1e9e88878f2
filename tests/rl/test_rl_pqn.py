"""PQN: values compared with analytic ones, its network with flax, and small environments solved."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_rl_dqn import MASKED, gate, greedy_return, trained

from lrn import nets
from lrn.check import InputError
from lrn.rl import identity
from lrn.rl.env import merge_truncation
from lrn.rl.exploration.bonus import Bonus
from lrn.rl.pqn import PQNConfig, pqn
from lrn.rl.rates import LARGEST

SMALL = PQNConfig(
    total_steps=8000, num_envs=8, rollout_length=10, epochs=2, minibatches=4, learning_rate=5e-3,
    discount=0.9, exploration_fraction=0.5,
)  # fmt: skip
STEPS = SMALL.total_steps // SMALL.interactions


@pytest.mark.parametrize("lambda_", [0.0, 0.65])
def test_truncation_is_bootstrapped(lambda_):
    """On two endless states, truncated after five steps, the values are those of the endless chain."""
    env, g, table = identity.two_state_truncating(5), 0.8, nets.mlp(2, ())
    config = dataclasses.replace(
        SMALL,
        discount=g,
        lambda_=lambda_,
        learning_rate=0.05,
        max_grad_norm=1e3,
        total_steps=40_000,
        epsilon_end=1.0,
    )
    exact = np.array([(1 + 2 * g) / (1 - g**2), (2 + g) / (1 - g**2)])

    def values(env):
        state, _ = trained(pqn(env, table, config), 500)
        return np.asarray(table.apply(state.params, state.net_state, jnp.eye(2))[0])

    np.testing.assert_allclose(values(env), np.broadcast_to(exact[:, None], (2, 2)), atol=1e-3)
    assert (exact[:, None] - values(merge_truncation(env)) > 0.5).all()  # the test detects the mistake


@pytest.mark.parametrize(
    ("env", "best"), [(identity.echo(3), 5.0), (identity.delayed_reward(4), 1.0)], ids=["echo", "delayed"]
)
def test_identity_environments_are_solved(env, best):
    agent = pqn(env, nets.mlp(env.actions.n, (32,), layer_norm=True), SMALL)
    state, metrics = trained(agent, STEPS)
    assert greedy_return(env, agent, state) == best
    assert float(metrics["epsilon"]) == pytest.approx(0.05)
    assert int(state.steps) == SMALL.total_steps


def test_the_critic_learns_a_constant_reward():
    net = nets.mlp(2, (16,), layer_norm=True)
    config = dataclasses.replace(SMALL, epsilon_end=1.0)
    state, metrics = trained(pqn(identity.constant_reward(), net, config), STEPS)
    np.testing.assert_allclose(net.apply(state.params, (), jnp.ones((1, 1)))[0], [[1.0, 1.0]], atol=1e-2)
    assert float(metrics["return"].value) == 1.0


def test_a_bonus_is_learned_from_and_not_reported():
    bonus = Bonus(
        init=lambda key, observation: jnp.int32(0),
        bonus=lambda state, observation, action, after: (action == 1).astype(jnp.float32),
        update=lambda key, state, seen: state + seen.action.shape[0],
    )
    env, net = identity.constant_reward(), nets.mlp(2, ())
    state, metrics = trained(pqn(env, net, dataclasses.replace(SMALL, learning_rate=0.1), bonus), STEPS)
    np.testing.assert_allclose(net.apply(state.params, (), jnp.ones((1, 1)))[0], [[1.0, 2.0]], atol=1e-2)
    assert float(metrics["return"].value) == 1.0
    assert int(state.bonus) == SMALL.total_steps


def test_masked_actions_are_neither_played_nor_bootstrapped_from():
    config = dataclasses.replace(SMALL, learning_rate=0.05)
    state, metrics = trained(pqn(gate(), MASKED, config), 40)
    np.testing.assert_allclose(state.params, [1.0, 0.0], atol=0.05)
    assert float(metrics["return"].value) == 1.0


def test_the_counter_stops_before_it_wraps():
    """At 2^31 steps epsilon stays at its final value (issue 13, fault 19)."""
    config = dataclasses.replace(SMALL, total_steps=LARGEST, epsilon_end=0.25)
    agent = pqn(identity.echo(3), nets.mlp(3, ()), config)
    state = jax.jit(agent.init)(jax.random.key(0), None)._replace(steps=jnp.int32(LARGEST - 100))
    step = jax.jit(lambda key, state: agent.step(key, state, None))
    for steps in (LARGEST - 20, LARGEST, LARGEST):
        state, metrics = step(jax.random.key(0), state)
        assert int(state.steps) == steps
        assert float(metrics["epsilon"]) == 0.25


NAN = float("nan")
FLOATS = [field.name for field in dataclasses.fields(PQNConfig) if field.type == "float"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minibatches": 3}, "num_envs x rollout_length = 8 x 10 = 80 does not divide into 3"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"rollout_length": 0}, "rollout_length must be at least 1"),
        ({"minibatches": 0}, "minibatches must be at least 1"),
        ({"total_steps": 0}, "total_steps must be at least 1"),
        ({"total_steps": 2**31}, "total_steps must be at most 2,147,483,647"),
        ({"anneal": None}, "anneal must be True or False, got None"),
        *(({name: NAN}, name) for name in FLOATS),
        *(({name: -0.1}, name) for name in FLOATS),
        ({"discount": 1.1}, "discount must lie between 0 and 1"),
        ({"epsilon_start": 1.1}, "epsilon_start must lie between 0 and 1"),
        ({"epsilon_end": 1.1}, "epsilon_end must lie between 0 and 1"),
        ({"exploration_fraction": 1.1}, "exploration_fraction must lie between 0 and 1"),
        ({"exploration_fraction": 0.0}, "exploration_fraction must be a finite number above 0"),
        ({"max_grad_norm": float("inf")}, "max_grad_norm must be a finite number above 0"),
        ({"lambda_": -0.1}, "lambda_ must lie between 0 and 1"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0"),
    ],
)
def test_bad_settings_are_one_sentence(options, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SMALL, **options)


def test_what_does_not_fit_the_environment_is_said():
    with pytest.raises(InputError, match="pqn needs discrete actions"):
        pqn(identity.continuous_echo(), nets.mlp(1, ()), SMALL)
    with pytest.raises(InputError, match=r"the network of pqn must map .* to \[batch, 3\]"):
        pqn(identity.echo(3), nets.mlp(2, ()), SMALL)
