"""SAC: one update compared with numpy, identity environments, errors; the return on Pendulum (slow)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets, train
from lrn.rl import env as envs
from lrn.rl import identity
from lrn.rl.evaluate import evaluator
from lrn.rl.rates import LARGEST
from lrn.rl.replay import Transition
from lrn.rl.sac import SACConfig, sac, soft_actor_critic
from lrn.xla.serial import serial

ECHO = identity.continuous_echo()


def linear(outputs: int):
    return nets.from_function(
        lambda key, x: jax.random.normal(key, (x.shape[1], outputs)), lambda p, x: x @ p
    )


def transitions(n: int = 6) -> Transition:
    rng = np.random.RandomState(0)
    return Transition(
        jnp.asarray(rng.randn(n, 1), jnp.float32),
        jnp.asarray(rng.uniform(-1, 1, (n, 1)), jnp.float32),
        jnp.asarray(rng.randn(n), jnp.float32),
        jnp.asarray([True, False] * (n // 2)),
        jnp.asarray([False, True] * (n // 2)),
        jnp.asarray(rng.randn(n, 1), jnp.float32),
    )


def test_losses_are_those_of_the_paper():
    config = SACConfig(discount=0.9, initial_temperature=0.3, learning_rate=1e-3)
    core = soft_actor_critic(ECHO, linear(2), linear(1), config)
    learned = jax.jit(core.init)(jax.random.key(0))
    batch, noise = transitions(), jax.random.normal(jax.random.key(1), (2, 6, 1))
    after, metrics = jax.jit(core.update)(noise, learned, batch)

    actor, critics = (np.asarray(x, np.float64) for x in learned.params[:2])
    s, a, r, end, _, s2 = (np.asarray(x, np.float64) for x in batch)
    eps = np.asarray(noise, np.float64)

    def act(s, eps):
        mean, log_std = s @ actor[:, :1], s @ actor[:, 1:]
        u = mean + np.exp(log_std) * eps
        density = -0.5 * eps**2 - log_std - 0.5 * np.log(2 * np.pi) - np.log(1 - np.tanh(u) ** 2)
        return np.tanh(u), density[:, 0]

    def q(s, a):
        return np.stack([(np.concatenate([s, a], 1) @ w)[:, 0] for w in critics])

    next_action, next_log_prob = act(s2, eps[1])
    target = r + 0.9 * (1 - end) * (q(s2, next_action).min(0) - 0.3 * next_log_prob)
    action, log_prob = act(s, eps[0])
    np.testing.assert_allclose(
        metrics["critic_loss"], 0.5 * ((q(s, a) - target) ** 2).mean(1).sum(), rtol=1e-4
    )
    np.testing.assert_allclose(
        metrics["actor_loss"], (0.3 * log_prob - q(s, action).min(0)).mean(), rtol=1e-4
    )
    np.testing.assert_allclose(metrics["entropy"], -log_prob.mean(), rtol=1e-4)

    # Adam's first step is the rate times the sign of the gradient.
    x = np.concatenate([s, a], 1)
    gradient = np.stack([x.T @ (q(s, a)[i] - target) / 6 for i in range(2)])[..., None]
    new, old = np.stack(after.params.critics), np.stack(learned.params.critics)
    moved = new - old
    np.testing.assert_allclose(moved, -1e-3 * np.sign(gradient), rtol=1e-2)

    def actor_loss(w):
        nonlocal actor
        actor, kept = w, actor
        (action, log_prob), actor = act(s, eps[0]), kept
        return (0.3 * log_prob - q(s, action).min(0)).mean()

    for i in np.ndindex(actor.shape):
        h = np.zeros_like(actor)
        h[i] = 1e-5
        slope = actor_loss(actor + h) - actor_loss(actor - h)
        np.testing.assert_allclose(
            (after.params.actor - learned.params.actor)[i], -1e-3 * np.sign(slope), rtol=1e-2
        )
    # The temperature falls while the entropy is above its target.
    change = float(after.params.log_temperature - learned.params.log_temperature)
    assert np.sign(change) == -np.sign(float(metrics["entropy"]) + 1)
    np.testing.assert_allclose(
        np.stack(after.target), np.stack(learned.target) + 0.005 * (new - np.stack(learned.target)), atol=1e-7
    )


def test_it_echoes_numbers_in_the_units_of_the_environment():
    config = SACConfig(
        learning_rate=3e-3, temperature_learning_rate=3e-3, discount=0.9, num_envs=8, updates=4,
        batch_size=64, learning_starts=200, buffer_size=10_000, total_steps=8000,
    )  # fmt: skip

    def agent(config):
        return sac(ECHO, nets.mlp(2, (32,)), nets.mlp(1, (32,)), config)

    steps = config.total_steps // config.interactions
    fit = train.fit(agent, config, [0, 1], steps=steps, evaluate=evaluator(ECHO), progress=False)
    arm = fit.arms[0]
    assert fit.table.final(arm, "greedy_return").min() > 4.6  # of 5; random play gets about 0
    np.testing.assert_allclose(fit.table.final(arm, "entropy"), -1.0, atol=0.2)  # the target, one dimension


def test_nothing_is_learned_before_learning_starts():
    agent = sac(
        ECHO, nets.mlp(2, (8,)), nets.mlp(1, (8,)), SACConfig(learning_starts=3, batch_size=4, buffer_size=50)
    )
    step, state = jax.jit(agent.step), jax.jit(agent.init)(jax.random.key(0), None)
    same = lambda a, b: all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))  # noqa: E731
    for t in range(4):
        after, metrics = step(jax.random.key(t), state, None)
        assert same(after.learned, state.learned) == (t < 2)
        assert float(metrics["critic_loss"].weight) == (t >= 2)
        state = after
    assert int(state.replay.filled) == 4


def test_the_counter_stops_before_it_wraps():
    """At 2^31 steps the policy still acts and learns (issue 13, fault 19)."""
    config = SACConfig(num_envs=4, batch_size=4, buffer_size=50, learning_starts=3, total_steps=LARGEST)
    agent = sac(ECHO, nets.mlp(2, (8,)), nets.mlp(1, (8,)), config)
    state = jax.jit(agent.init)(jax.random.key(0), None)._replace(steps=jnp.int32(LARGEST - 5))
    step = jax.jit(agent.step)
    for steps in (LARGEST - 1, LARGEST, LARGEST):
        state, metrics = step(jax.random.key(1), state, None)
        assert int(state.steps) == steps
        assert float(metrics["critic_loss"].weight) == 1.0
    greedy, _ = jax.jit(agent.policy.act)(jax.random.key(0), state, (), jnp.zeros((1, 1)))
    assert np.isfinite(np.asarray(greedy)).all()


FLOATS = [field.name for field in dataclasses.fields(SACConfig) if field.type == "float"]


def test_settings():
    config = SACConfig(num_envs=4, rollout_length=2, updates=4)
    assert (config.interactions, config.update_to_data) == (8, 0.5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sac(identity.echo(), nets.mlp(2), nets.mlp(1), SACConfig()), "sac needs continuous actions"),
        (lambda: sac(ECHO, nets.mlp(1), nets.mlp(1), SACConfig()), r"actor of sac .* \[batch, 2\]"),
        (
            lambda: sac(ECHO, nets.mlp(2), nets.mlp(2), SACConfig()),
            r"critic of sac.* \[batch, 2\].*\[batch, 1\]",
        ),
        (lambda: SACConfig(updates=0), "updates must be at least 1"),
        (lambda: SACConfig(buffer_size=3, num_envs=4), "buffer_size must be at least 4"),
        (lambda: SACConfig(discount=1.5), "discount must lie between 0 and 1"),
        (
            lambda: SACConfig(learning_starts=20_000, total_steps=10_000),
            "learning_starts must be below total",
        ),
        (lambda: SACConfig(learning_starts=0), "learning_starts must be at least 1"),
        (lambda: SACConfig(total_steps=2**31), "total_steps must be at most 2,147,483,647"),
        (lambda: SACConfig(buffer_size=100), "buffer_size must be at least batch_size, got 100 and 256"),
        (lambda: SACConfig(num_envs=0), "num_envs must be at least 1"),
        (lambda: SACConfig(batch_size=0), "batch_size must be at least 1"),
        (lambda: SACConfig(rollout_length=0), "rollout_length must be at least 1"),
        (lambda: SACConfig(target_entropy=float("inf")), "target_entropy must be a finite number, got inf"),
        (lambda: SACConfig(initial_temperature=0.0), "initial_temperature must be a finite number above 0"),
        (lambda: SACConfig(temperature_learning_rate=-1.0), "temperature_learning_rate must be a finite"),
        (lambda: SACConfig(target_rate=1.1), "target_rate must lie between 0 and 1"),
        *((lambda name=name: SACConfig(**{name: float("nan")}), f"^{name} must") for name in FLOATS),  # pyright: ignore[reportArgumentType]
    ],
)
def test_bad_input(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_networks_with_a_state_are_refused():
    net = linear(2)
    batchnorm = net._replace(init=lambda key, x: (net.init(key, x)[0], {"mean": jnp.zeros(2)}))
    with pytest.raises(ValueError, match="the actor of sac keeps a state"):
        sac(ECHO, batchnorm, nets.mlp(1), SACConfig())


@pytest.mark.slow
def test_pendulum_in_ten_thousand_steps():
    env = envs.make("Pendulum-v1")
    config = SACConfig(learning_rate=3e-3, temperature_learning_rate=3e-3, buffer_size=10_000)

    def agent(config):
        return sac(env, nets.mlp(2, (64, 64)), nets.mlp(1, (64, 64)), config)

    fit = train.fit(agent, config, range(10), steps=10_000, evaluate=evaluator(env), progress=False)
    assert fit.table.final(fit.arms[0], "greedy_return").mean() > -175


@pytest.mark.parametrize("wrap", [lambda step: step, serial], ids=["side by side", "serial"])
@pytest.mark.parametrize("num_envs", [1, 4])
def test_a_loop_of_steps_never_copies_the_ring(num_envs, wrap):
    """If XLA fused a write with later reads, every step would copy the old ring."""
    net = nets.mlp(2, (8,)), nets.mlp(1, (8,))
    agent = sac(ECHO, *net, SACConfig(num_envs=num_envs, batch_size=16, buffer_size=100_000))
    state = jax.eval_shape(agent.init, jax.random.key(0), None)

    def run(state):
        step = wrap(lambda t, state: agent.step(jax.random.key(t), state, None)[0])
        return jax.lax.fori_loop(0, 9, step, state)

    compiled: Any = jax.jit(run, donate_argnums=0).lower(state).compile()
    ring = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.replay))
    assert compiled.memory_analysis().temp_size_in_bytes < ring / 10
