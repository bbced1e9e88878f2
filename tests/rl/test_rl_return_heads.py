"""Distributions of the return: losses and targets against loops in float64, then learned distributions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_rl_dqn import SMALL, greedy_return, trained

from lrn import nets
from lrn.check import InputError
from lrn.rl import identity
from lrn.rl.dqn import dqn
from lrn.rl.env import Discrete, Env, Step
from lrn.rl.heads import dueling
from lrn.rl.return_heads import categorical, project, quantile_huber_loss, quantiles

RNG = np.random.default_rng(0)
BATCH, ACTIONS = 6, 3
WEIGHT: Any = np.array([0.9, 0.0, 0.81, 0.9, 0.0, 0.9], np.float32)
REWARD: Any = RNG.normal(size=BATCH).astype(np.float32)
ACTION: Any = np.array([0, 2, 1, 1, 0, 2])


def projected(mass: np.ndarray, places: np.ndarray, low: float, high: float) -> np.ndarray:
    """Algorithm 1 of Bellemare et al. 2017, as printed: each mass goes to the floor and the ceiling."""
    n = mass.shape[1]
    out, width = np.zeros(mass.shape), (high - low) / (n - 1)
    for row, (masses, at) in enumerate(zip(mass, places)):
        for p, z in zip(masses, at):
            b = (min(max(z, low), high) - low) / width
            below, above = int(np.floor(b)), int(np.ceil(b))
            if below == above:
                out[row, below] += p
            else:
                out[row, below] += p * (above - b)
                out[row, above] += p * (b - below)
    return out


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_projection_equals_the_published_algorithm():
    mass = softmax(RNG.normal(size=(BATCH, 11)))
    places = RNG.normal(size=(BATCH, 11)) * 3
    places[0] = np.linspace(-2, 3, 11)  # on the atoms
    out = np.asarray(jax.jit(project, static_argnums=(2, 3))(np.float32(mass), np.float32(places), -2.0, 3.0))
    np.testing.assert_allclose(out, projected(mass, places, -2, 3), atol=1e-6)
    np.testing.assert_allclose(out[0], mass[0], atol=1e-6)
    mean = (mass * places.clip(-2, 3)).sum(1)
    np.testing.assert_allclose(out @ np.linspace(-2, 3, 11), mean, atol=1e-5)


@pytest.mark.parametrize("double", [False, True])
def test_categorical_target_and_loss(double):
    n, head = 7, categorical(-2.0, 3.0, 7)
    grid = np.linspace(-2, 3, n)
    following, online, out = RNG.normal(size=(3, BATCH, ACTIONS * n)).astype(np.float32)

    @jax.jit
    def run(following, online, out):
        target = head.target(following, online if double else None, REWARD, WEIGHT)
        return target, head.loss(out, ACTION, target), head.values(out)

    target, learned, values = run(following, online, out)
    by_action = softmax(following.reshape(BATCH, ACTIONS, n))
    chooser = softmax((online if double else following).reshape(BATCH, ACTIONS, n))
    best = (chooser @ grid).argmax(1)
    mass = by_action[np.arange(BATCH), best]
    expected = projected(mass, REWARD[:, None] + WEIGHT[:, None] * grid, -2, 3)
    np.testing.assert_allclose(target, expected, atol=1e-6)
    predicted = softmax(out.reshape(BATCH, ACTIONS, n))
    np.testing.assert_allclose(values, predicted @ grid, atol=1e-5)
    log = np.log(predicted[np.arange(BATCH), ACTION])
    np.testing.assert_allclose(learned.loss, -(expected * log).sum(1), rtol=1e-4)
    safe = np.where(expected > 0, expected, 1)
    np.testing.assert_allclose(
        learned.surprise, (expected * (np.log(safe) - log)).sum(1), rtol=1e-3, atol=1e-5
    )


def test_quantile_loss_equals_a_double_loop():
    predicted, target = RNG.normal(size=(2, BATCH, 5)).astype(np.float32) * 2
    target = target[:, :4]
    levels = (np.arange(5) + 0.5) / 5
    for threshold in (0.5, 1.0):
        expected = np.zeros(BATCH)
        for b in range(BATCH):
            for i, level in enumerate(levels):
                for z in target[b]:
                    u = float(z) - float(predicted[b, i])
                    huber = 0.5 * u * u if abs(u) <= threshold else threshold * (abs(u) - 0.5 * threshold)
                    expected[b] += abs(level - (u < 0)) * huber / threshold / 4
        got = jax.jit(quantile_huber_loss, static_argnums=3)(predicted, np.float32(levels), target, threshold)
        np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("double", [False, True])
def test_quantile_target(double):
    head = quantiles(4)
    following, online = RNG.normal(size=(2, BATCH, ACTIONS * 4)).astype(np.float32)
    target = jax.jit(lambda f, o: head.target(f, o if double else None, REWARD, WEIGHT))(following, online)
    best = (online if double else following).reshape(BATCH, ACTIONS, 4).mean(2).argmax(1)
    chosen = following.reshape(BATCH, ACTIONS, 4)[np.arange(BATCH), best]
    np.testing.assert_allclose(target, REWARD[:, None] + WEIGHT[:, None] * chosen, rtol=1e-5)


@pytest.mark.parametrize("head", [categorical(0.0, 1.0, 3), quantiles(3)], ids=["categorical", "quantiles"])
def test_actions_that_are_not_allowed(head):
    """They are worth -inf, never the next action, and give no gradient; a state without any is worth NaN."""
    out = np.zeros((3, 2, 3), np.float32)
    out[0, 0], out[1], out[2] = -np.inf, -np.inf, -np.inf
    out = out.reshape(3, 6)
    weight = np.array([1, 0, 1], np.float32)

    @jax.jit
    def run(out):
        target = head.target(out, None, jnp.zeros(3), weight)
        one = head.loss(out[:1], jnp.array([1]), jnp.full((1, 3), 0.5)).loss[0]
        return target, head.values(out), one

    target, values, _ = run(out)
    assert np.isneginf(values[0, 0])
    assert np.isfinite(values[0, 1])
    assert np.isneginf(values[1:]).all()
    assert np.isfinite(target[:2]).all()
    assert np.isnan(target[2]).all()
    assert np.isfinite(jax.jit(jax.grad(lambda out: run(out)[2]))(out)).all()


def lottery() -> Env:
    """Episodes of one step: action 0 pays 1 for certain, action 1 pays 3 with chance 1/4, else 0."""

    def observe(over):
        return 1 - over.astype(jnp.float32)[None]

    def move(key, state, action):
        over, wins = jnp.array(True), jax.random.uniform(key) < 0.25
        reward = jnp.where(action == 0, 1.0, jnp.where(wins, 3.0, 0.0))
        return over, Step(reward, over, jnp.array(False), observe(over))

    return Env(
        "lottery", lambda key: (observe(jnp.array(False)), jnp.array(False)), move, (1,), Discrete(2), 1
    )


def test_a_histogram_of_returns_is_learned():
    head = categorical(0.0, 4.0, 5)
    net = nets.mlp(2 * 5, ())
    config = replace(SMALL, learning_rate=0.05, epsilon_end=1.0, anneal=True)
    state, _ = trained(dqn(lottery(), net, config, head=head), 500)
    out = np.asarray(jax.jit(net.apply)(state.params, (), jnp.ones((1, 1)))[0]).reshape(2, 5)
    np.testing.assert_allclose(softmax(out), [[0, 1, 0, 0, 0], [0.75, 0, 0, 0.25, 0]], atol=0.07)


def test_quantiles_of_returns_are_learned():
    head = quantiles(8, threshold=0.01)
    net = nets.mlp(2 * 8, ())
    config = replace(SMALL, learning_rate=0.05, epsilon_end=1.0, anneal=True)
    state, _ = trained(dqn(lottery(), net, config, head=head), 500)
    out = np.asarray(jax.jit(net.apply)(state.params, (), jnp.ones((1, 1)))[0]).reshape(2, 8)
    np.testing.assert_allclose(out[0], 1, atol=0.1)
    np.testing.assert_allclose(out[1, :5], 0, atol=0.1)  # levels .06 to .56; .69 and .81 lie near the jump
    np.testing.assert_allclose(out[1, 7], 3, atol=0.1)


C51, QR = categorical(0.0, 6.0, 13), quantiles(8)
VARIANTS = {
    "C51": (C51, nets.mlp(3 * 13, (32,)), {}),
    "QR-DQN": (QR, nets.mlp(3 * 8, (32,)), {"double": True}),
    "prioritized": (None, nets.mlp(3, (32,)), {"prioritized": True, "n_step": 2}),
    "noisy": (None, nets.noisy_mlp(3, (32,)), {"noisy": True, "epsilon_start": 0.0, "epsilon_end": 0.0}),
    "Rainbow": (
        C51, dueling(nets.noisy_mlp(4 * 13, (32,)), 13),
        {"prioritized": True, "noisy": True, "double": True, "n_step": 3, "epsilon_start": 0.0,
         "epsilon_end": 0.0},
    ),
}  # fmt: skip


FAST = ("QR-DQN", "Rainbow")  # Rainbow has all the others


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in VARIANTS]
)
def test_echo_is_solved(name):
    head, net, options = VARIANTS[name]
    env = identity.echo(3)
    agent = dqn(env, net, replace(SMALL, **options), head=head)
    state, metrics = trained(agent, 500)
    assert greedy_return(env, agent, state) == 5
    assert np.isfinite(metrics["loss"].value)


def test_prioritized_rows_are_those_of_surprise():
    """Among rows of a certain and of an uncertain reward, the uncertain ones keep the higher priorities."""
    config = replace(SMALL, learning_rate=0.02, epsilon_end=1.0, prioritized=True, priority_exponent=1.0)
    state, _ = trained(dqn(lottery(), nets.mlp(2, ()), config), 400)
    half = len(state.priorities.tree) // 2
    priority = state.priorities.tree[half : half + state.replay.capacity]
    action = state.replay.rows.data.action
    assert (priority > 0).all()
    assert np.median(priority[action == 1]) > 3 * np.median(priority[action == 0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: categorical(1.0, 1.0), "low must be below high, got 1.0 and 1.0"),
        (lambda: categorical(0.0, 1.0, 1), "atoms must be at least 2"),
        (lambda: categorical(0.0, float("inf")), "high"),
        (lambda: quantiles(0), "numbers must be at least 1"),
        (lambda: quantiles(4, 0.0), "threshold must be"),
        (lambda: nets.noisy_mlp(3, sigma=-1.0), "sigma must be"),
        (
            lambda: replace(SMALL, prioritized=True, buffer_size=32),
            "prioritized replay needs a buffer_size of 36",
        ),
        (lambda: dqn(identity.echo(3), nets.mlp(3), SMALL, head=QR), r"\[batch, 24\]"),
    ],
)
def test_wrong_settings(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_noise_is_drawn_once_for_a_batch_and_only_in_training():
    """Factorized noise has unit variance for each weight (E f(e)^2 = E|e|, so sqrt(2/pi) for a factor)."""
    net = nets.noisy_mlp(2, (), sigma=0.5)
    x = jnp.broadcast_to(jnp.eye(4)[:1], (3, 4))
    params, state = net.init(jax.random.key(0), x)
    run = jax.jit(lambda key: net.apply(params, state, x, key=key, train=True)[0])
    many = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(1), 20_000)))
    calm = np.asarray(jax.jit(lambda: net.apply(params, state, x)[0])())
    assert (many == many[:, :1]).all()
    np.testing.assert_allclose(many.mean((0, 1)), calm[0], atol=0.01)
    # The weight has variance sigma^2 E|e| E|e|, the bias sigma^2 E|e|, with sigma = .5 / sqrt(4). Both share
    # f(e_j), which is independent of f(e_i), whose mean is 0, so their covariance is 0.
    share = np.sqrt(2 / np.pi)
    np.testing.assert_allclose(many[:, 0].var(0), 0.25**2 * (share**2 + share), rtol=0.05)
