"""The ensemble on a linear-Gaussian system, whose entropy is the smallest possible likelihood loss."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lrn import nets
from lrn.rl import identity
from lrn.rl.env import Box, Env
from lrn.rl.model_based.dynamics import (
    Dynamics,
    DynamicsConfig,
    Prediction,
    dynamics,
    negative_log_likelihood,
)
from lrn.rl.model_based.imagine import Known, imagine
from lrn.rl.replay import Transition

# Scales that differ by orders of magnitude, so that a missing normalization shows.
A, B = np.array([[0.1, 2.0, 0.0], [0.0, -0.3, 0.01]]), np.array([[1.0, 50.0, 1.0]])
SIGMA = np.array([0.05, 20.0, 0.3])
ENTROPY = 0.5 * np.log(2 * np.pi * np.e * SIGMA**2)


def plane() -> Env:
    nothing: Any = lambda *_: None  # noqa: E731
    return Env("a plane", nothing, nothing, (2,), Box(-1.0, 1.0, (1,)), 10)


def system(key, n: int) -> Transition:
    """Transitions whose change and reward are linear in observation and action, plus noise."""
    x, u, e = (jax.random.normal(k, (n, d)) for k, d in zip(jax.random.split(key, 3), (2, 1, 3)))
    x = x * jnp.array([[1.0, 30.0]])
    y = (
        x @ jnp.asarray(A, jnp.float32)
        + u @ jnp.asarray(B, jnp.float32)
        + e * jnp.asarray(SIGMA[None], jnp.float32)
    )
    no = jnp.zeros(n, bool)
    return Transition(x, u, y[:, 2], no, no, x + y[:, :2])


@pytest.fixture(scope="module")
def fitted():
    model = dynamics(plane(), nets.mlp(6, ()), DynamicsConfig(members=2, learning_rate=3e-2))

    @jax.jit
    def train(key):
        init_key, data_key, row_key = jax.random.split(key, 3)
        data = system(data_key, 20_000)
        state = model.see(model.init(init_key), data)

        def step(state, key):
            rows = jax.random.randint(key, (2, 512), 0, 20_000)
            return model.update(state, jax.tree.map(lambda x: x[rows], data))

        return jax.lax.scan(step, state, jax.random.split(row_key, 800))[0]

    return model, train(jax.random.key(0))


def test_the_likelihood_reaches_the_entropy_of_the_system(fitted):
    model, state = fitted
    data = system(jax.random.key(9), 20_000)
    both = lambda x: jnp.stack([x, x])  # noqa: E731
    out = model.predict(state, both(data.observation), both(data.action))
    y = jnp.concatenate([data.final_observation - data.observation, data.reward[:, None]], -1)
    nll = negative_log_likelihood(out, both(y)).mean(1)
    np.testing.assert_allclose(nll, np.stack([ENTROPY] * 2), atol=0.03)
    np.testing.assert_allclose(jnp.exp(0.5 * out.log_variance).mean((0, 1)), SIGMA, rtol=0.1)


def test_samples_have_the_moments_that_are_predicted(fitted):
    model, state = fitted
    observation, action = jnp.ones((2, 4000, 2)), jnp.zeros((2, 4000, 1))
    noise = jax.random.normal(jax.random.key(3), (2, 4000, 3))
    after, reward = model.sample(state, noise, observation, action)
    out = model.predict(state, observation, action)
    moved = jnp.concatenate([after - observation, reward[..., None]], -1)
    np.testing.assert_allclose(moved.std(1), jnp.exp(0.5 * out.log_variance)[:, 0], rtol=0.06)
    error = (moved.mean(1) - out.mean[:, 0]) / jnp.exp(0.5 * out.log_variance)[:, 0]
    assert float(jnp.abs(error).max()) < 4 / np.sqrt(4000)


def test_likelihood_is_that_of_scipy():
    rng = np.random.RandomState(0)
    mean, log_variance, y = rng.randn(3, 4, 2)
    nll = negative_log_likelihood(Prediction(jnp.asarray(mean), jnp.asarray(log_variance)), jnp.asarray(y))
    np.testing.assert_allclose(nll, -stats.norm.logpdf(y, mean, np.exp(log_variance / 2)), rtol=1e-5)


def test_log_variances_stay_within_their_bounds():
    wild = nets.from_function(
        lambda key, x: jnp.zeros(()), lambda p, x: 1e3 * jnp.ones((x.shape[0], 6)) * x[:, :1]
    )
    model = dynamics(plane(), wild, DynamicsConfig(members=1))
    state = model.init(jax.random.key(0))
    x = jnp.array([[[1.0, 0.0], [-1.0, 0.0]]])
    out = model.predict(state, x, jnp.zeros((1, 2, 1)))
    np.testing.assert_allclose(out.log_variance[0, :, 0], [0.5, -10.0], atol=1e-3)


def test_a_network_of_the_wrong_size_is_refused():
    with pytest.raises(ValueError, match=r"network of dynamics.*\[batch, 6\].*\[batch, 5\]"):
        dynamics(plane(), nets.mlp(5), DynamicsConfig())
    with pytest.raises(ValueError, match="needs continuous actions"):
        dynamics(identity.echo(), nets.mlp(4), DynamicsConfig())


def count(members: int) -> Dynamics:
    """A made-up ensemble: member m adds m + 1 to the observation and pays the previous observation."""

    def sample(model, noise, observation, action):
        step = 1.0 + jnp.arange(members, dtype=jnp.float32)[:, None, None]
        return observation + step + 0 * action.sum(-1, keepdims=True), observation[..., 0]

    nothing: Any = lambda *_: None  # noqa: E731
    return Dynamics(members, nothing, nothing, nothing, nothing, sample)


def play(propagation: str, known: Known | None = None, particles: int = 4):
    env = identity.continuous_echo()
    start = jnp.zeros((particles, 2, 1))
    act = lambda x, observation: jnp.zeros_like(observation)  # noqa: E731
    return imagine(env, count(2), None, jax.random.key(0), start, act, jnp.zeros(3), 3, known, propagation)


def test_a_particle_keeps_its_member_or_is_dealt_out_anew():
    once = play("tsinf")
    np.testing.assert_array_equal(once.final_observation[-1, :, 0, 0], [3.0, 3.0, 6.0, 6.0])
    # Rewards are the previous observations: 0 + 1 + 2, or twice that.
    np.testing.assert_allclose(once.returns(), [4.5, 4.5])
    dealt = play("ts1", particles=64).final_observation[-1, :, 0, 0]
    assert set(np.asarray(dealt)) == {3.0, 4.0, 5.0, 6.0}
    np.testing.assert_allclose(dealt.mean(), 4.5)  # half of the particles get each member at every step


def test_nothing_counts_after_an_end():
    ends = Known(
        reward=lambda s, a, after: jnp.ones(s.shape[:-1]), terminates=lambda s, a, after: after[..., 0] >= 2
    )
    row = play("tsinf", ends)
    np.testing.assert_array_equal(row.alive[:, 0, 0], [True, True, False])
    np.testing.assert_array_equal(row.alive[:, 3, 0], [True, False, False])
    np.testing.assert_allclose(row.returns(), [1.5, 1.5])


def test_particles_must_be_dealt_out_evenly():
    with pytest.raises(ValueError, match="multiple of the 2 members of the ensemble, got 3"):
        play("ts1", particles=3)
    with pytest.raises(ValueError, match="propagation 'ts2' is not known"):
        play("ts2")
