"""One update and payment of each bonus that learns, against references in plain NumPy."""

from __future__ import annotations

from typing import Any

import doubles
import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain
from quick import run_once

from lrn.rl import running
from lrn.rl.exploration import RNDConfig, Transitions, rnd
from lrn.rl.exploration.rnd import RNDState
from lrn.rl.hacking.curiosity import CuriosityConfig, CuriosityState, curiosity
from lrn.types import Net

RNG = np.random.default_rng(5)
SEEN = RNG.normal(0.3, 1.0, (6, 2)), RNG.integers(0, 3, 6), RNG.normal(-0.2, 1.0, (6, 2))
BATCH = Transitions(*(jnp.asarray(x, jnp.float32 if x.ndim == 2 else jnp.int32) for x in SEEN))
UNSEEN = BATCH._replace(next_observation=BATCH.next_observation[::-1] * 1.5, action=(BATCH.action + 1) % 3)


def adam(state: optax.OptState, params: Any) -> plain.Adam:
    """The Adam of the reference, from a state of optax."""
    double, (moments, _) = plain.Adam(params), plain.as_float64(state)
    double.count, double.mu, double.nu = int(moments.count), moments.mu, moments.nu
    return double


def under_way(opt_state: Any) -> Any:
    """A state of `optax.adam` as after some steps."""
    return doubles.moved((opt_state[0], optax.ScaleByScheduleState(jnp.int32(0))))[0], opt_state[1]


def test_random_network_distillation():
    """Random network distillation (Burda et al. 2019), with two epochs over a part of the batch."""
    c = RNDConfig(coefficient=0.7, learning_rate=0.05, keep=0.6, clip=1.2, epochs=2)
    bonus = rnd(doubles.linear(3), doubles.linear(3), c)
    fresh = jax.jit(bonus.init)(jax.random.key(0), BATCH.observation)
    state = fresh._replace(
        predictor=(doubles.numbers(fresh.predictor[0], 0.5, 3), jnp.float32(0.8)),
        target=(doubles.numbers(fresh.target[0], 0.5, 4), jnp.float32(1.3)),
        opt_state=under_way(fresh.opt_state),
        observation=running.Moments(jnp.array([0.3, -0.2]), jnp.array([0.5, 0.2]), jnp.float32(9.0)),
        error=running.Moments(jnp.float32(0.4), jnp.float32(0.6), jnp.float32(7.0)),
    )
    key = jax.random.key(1)
    after, paid = run_once(lambda: (lambda s: (s, bonus.bonus(s, *UNSEEN)))(bonus.update(key, state, BATCH)))
    observation = doubles.pooled(state.observation, SEEN[2])
    params, scale = plain.as_float64(state.predictor[0]), float(state.predictor[1])
    target = plain.as_float64(state.target[0])

    def errors(params, scale, x):
        z = np.clip(doubles.normalized(observation, x, True), -c.clip, c.clip)
        wanted = doubles.forward(target, float(state.target[1]), z)
        return ((doubles.forward(params, scale, z) - wanted) ** 2).mean(-1)

    error = doubles.pooled(state.error, errors(params, scale, SEEN[2]))
    double = adam(state.opt_state, params)
    for epoch in jax.random.split(key, c.epochs):
        kept = np.asarray(jax.random.uniform(epoch, (6,))) < c.keep
        assert 0 < kept.sum() < 6
        slope = plain.gradient(lambda p, kept=kept, s=scale: errors(p, s, SEEN[2])[kept].mean(), params)
        params, scale = (
            double.step(params, slope, c.learning_rate),
            scale + 1,
        )  # training changes the state of the network
    moments = optax.ScaleByAdamState(double.count, double.mu, double.nu)  # pyright: ignore
    expected = RNDState(
        state.target, (params, scale), (moments, state.opt_state[1]), observation, error  # pyright: ignore
    )  # fmt: skip
    plain.assert_trees_close(after, expected)
    last = errors(params, scale, np.asarray(UNSEEN.next_observation, np.float64))
    np.testing.assert_allclose(paid, 0.7 * last / np.sqrt(error.var), rtol=1e-4)


def test_random_network_distillation_begins_with_its_keys():
    bonus = rnd(doubles.linear(3), doubles.linear(3), RNDConfig())
    state = jax.jit(bonus.init)(jax.random.key(7), BATCH.observation)
    nets = [doubles.linear_init(key, 3, SEEN[0]) for key in jax.random.split(jax.random.key(7))]
    zeros = jax.tree.map(np.zeros_like, nets[1][0])
    opt_state = (optax.ScaleByAdamState(0, zeros, zeros), state.opt_state[1])  # pyright: ignore
    nothing = running.Moments(np.zeros(2), np.ones(2), 0.0), running.Moments(0.0, 1.0, 0.0)  # pyright: ignore
    plain.assert_trees_close(state, RNDState(*nets, opt_state, *nothing))  # pyright: ignore[reportCallIssue]


def forward_model() -> Net:
    """A linear network from [n, 2 + 3] to [n, 2]."""

    def init(key, x):
        return jax.random.normal(key, (5, 2)) + x[0][:, None], x.sum()

    return Net(init, lambda params, state, x, *, key=None, train=False: (x @ params * state, state + train))


def test_curiosity():
    """The forward model of Pathak et al. (2017), on observations."""
    c = CuriosityConfig(coefficient=0.7, learning_rate=0.05, epochs=3)
    bonus = curiosity(forward_model(), 3, c)
    fresh = jax.jit(bonus.init)(jax.random.key(0), BATCH.observation)
    params = doubles.numbers(fresh.params, 0.5, 3)
    state = CuriosityState(params, jnp.float32(0.8), under_way(fresh.opt_state))
    after, paid = run_once(
        lambda: (lambda s: (s, bonus.bonus(s, *UNSEEN)))(bonus.update(jax.random.key(1), state, BATCH))
    )

    def errors(params, observation, action, following):
        x = np.concatenate([observation, np.eye(3)[action]], 1)
        return ((x @ params * float(state.net_state) - following) ** 2).mean(-1)

    params = plain.as_float64(params)
    double = adam(state.opt_state, params)
    for _ in range(c.epochs):
        params = double.step(
            params, plain.gradient(lambda p: errors(p, *SEEN).mean(), params), c.learning_rate
        )
    moments = optax.ScaleByAdamState(double.count, double.mu, double.nu)  # pyright: ignore
    expected = CuriosityState(params, state.net_state, (moments, state.opt_state[1]))  # pyright: ignore[reportIndexIssue]
    plain.assert_trees_close(after, expected)
    last = errors(params, *(np.asarray(x, x.dtype) for x in UNSEEN))
    np.testing.assert_allclose(paid, 0.7 * last, rtol=1e-4)


def test_curiosity_begins_with_its_key():
    bonus = curiosity(forward_model(), 3, CuriosityConfig())
    state = jax.jit(bonus.init)(jax.random.key(7), BATCH.observation)
    x = np.concatenate([SEEN[0], np.tile([1.0, 0, 0], (6, 1))], 1)
    params = np.asarray(jax.random.normal(jax.random.key(7), (5, 2)), np.float64) + x[0][:, None]
    moments = optax.ScaleByAdamState(0, 0 * params, 0 * params)  # pyright: ignore[reportArgumentType]
    plain.assert_trees_close(state, CuriosityState(params, x.sum(), (moments, state.opt_state[1])))
