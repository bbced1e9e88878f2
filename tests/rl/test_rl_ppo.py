"""PPO and its recurrent form: the parts compared with closed forms, and errors."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from quick import run_once

from lrn import nets, train
from lrn.check import InputError
from lrn.config import config, grid
from lrn.rl import running
from lrn.rl.a2c import A2CConfig, a2c
from lrn.rl.env import Discrete, Env, Step
from lrn.rl.exploration import CountConfig, RNDConfig
from lrn.rl.hacking import CuriosityConfig
from lrn.rl.heads import actor_critic
from lrn.rl.identity import constant_reward, continuous_echo, echo, memory, two_state_truncating
from lrn.rl.policy_head import policy_head
from lrn.rl.ppo import (
    MEASURED,
    Minibatch,
    PPOConfig,
    clipped_surrogate,
    clipped_value_loss,
    ppo,
    ppo_loss,
    ppo_optimizer,
    rescale_rewards,
)
from lrn.rl.recurrent_ppo import recurrent_ppo
from lrn.rl.reinforce import ReinforceConfig, reinforce

NET = actor_critic(nets.mlp(3, (16,)), nets.mlp(1, (16,)))


standardize = jax.jit(running.standardize)
normalize = jax.jit(running.normalize)
rescale = jax.jit(rescale_rewards)
surrogate_and_slope = jax.jit(jax.value_and_grad(clipped_surrogate))


def test_clipped_surrogate_by_hand():
    log_ratio = np.log(np.array([0.5, 1.0, 1.5, 0.5, 1.5], np.float32))
    advantage = np.array([1, 1, 1, -1, -1], np.float32)
    each = jax.jit(jax.vmap(jax.value_and_grad(clipped_surrogate), (0, None, 0, None)))
    loss, slope = each(log_ratio, np.float32(0), advantage, 0.2)
    np.testing.assert_allclose(loss, [-0.5, -1.0, -1.2, 0.8, 1.5], rtol=1e-6)
    # A ratio beyond the clip gets no gradient that would move it further.
    assert (np.asarray(slope) == 0).tolist() == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "loss", "slope"),
    [
        (100.0, 1.0, -1.2, 0.0),
        (1e4, 3.0, -3.6, 0.0),
        (-1e4, 1.0, 0.0, 0.0),
        (-1e4, -1.0, 0.8, 0.0),
        (50.0, -1.0, np.exp(50), np.exp(50)),
        (60.0, -2.0, 2 * np.exp(60), 2 * np.exp(60)),
    ],
)
def test_a_ratio_beyond_float32_has_the_gradient_of_the_clipped_loss(log_ratio, advantage, loss, slope):
    """The gradient of a clipped ratio is 0, not 0 times infinity."""
    value_and_slope = surrogate_and_slope(log_ratio, 0.0, np.float32(advantage), 0.2)
    np.testing.assert_allclose(value_and_slope, (loss, slope), rtol=1e-4)


def test_a_ratio_beyond_float32_that_is_not_clipped_keeps_its_direction():
    value, slope = surrogate_and_slope(100.0, 0.0, np.float32(-2.0), 0.2)
    assert 1e20 < float(value) == float(slope) < np.inf
    with jax.enable_x64(True):
        loss = jax.jit(clipped_surrogate)(100.0, 0.0, np.float64(-2.0), 0.2)
        assert float(loss) == pytest.approx(2 * np.exp(100))


def test_a_minibatch_with_an_overflowing_ratio_has_finite_metrics_and_gradient():
    """The first action was nearly impossible and is now certain; its advantage is the larger one."""
    env, settings = (
        echo(2),
        PPOConfig(normalize_advantages=False, value_coefficient=0.0, entropy_coefficient=0.0),
    )
    head, zeros = policy_head(env), jnp.zeros(2)
    rows = Minibatch(zeros, jnp.array([0, 0]), jnp.array([-200.0, -0.7]), zeros, jnp.array([2.0, 1.0]), zeros)

    def loss(out):
        return ppo_loss(settings, head, (), out, zeros, rows)

    gradient, measured = jax.jit(jax.grad(loss, has_aux=True))(jnp.array([[90.0, -90.0], [0.0, 0.0]]))
    measured = np.asarray(measured)
    assert np.isfinite(measured).all()
    measured = dict(zip(MEASURED, measured))
    assert measured["approximate_kl"] > 1e20
    ratio = 0.5 / np.exp(-0.7)
    np.testing.assert_allclose(measured["policy_loss"], -(2.4 + ratio) / 2, rtol=1e-5)
    np.testing.assert_allclose(gradient, [[0, 0], [-ratio / 4, ratio / 4]], rtol=1e-5)


def test_clipped_value_loss_by_hand():
    value, old, target = jnp.array([2.0, 1.1]), jnp.array([1.0, 1.0]), jnp.array([2.0, 2.0])
    # The first value equals its target but is clipped to .2 from the old value; the second is not clipped.
    loss = jax.jit(clipped_value_loss)(value, old, target, 0.2)
    np.testing.assert_allclose(loss, [0.32, 0.405], rtol=1e-5)


def test_moments_are_those_of_everything_seen():
    rng = np.random.default_rng(0)
    rows = rng.normal(100.0, 3.0, (7, 5, 2)).astype(np.float32)
    stats, update = running.moments((2,)), jax.jit(running.update)
    for batch in rows:
        stats = update(stats, batch)
    flat = rows.reshape(-1, 2)
    np.testing.assert_allclose(stats.mean, flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats.var, flat.var(0), rtol=1e-3)
    normal = np.asarray(normalize(stats, flat))
    np.testing.assert_allclose(normal.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(normal.std(0), 1, atol=1e-3)
    np.testing.assert_array_equal(normalize(running.moments((2,)), np.ones((1, 2), np.float32)), 1.0)


def test_what_is_far_out_is_cut():
    stats = running.Moments(jnp.array([1.0]), jnp.array([0.25]), jnp.float32(9.0))
    x = jnp.array([[2.0], [8.0], [-99.0]])
    np.testing.assert_allclose(normalize(stats, x), [[2.0], [10.0], [-10.0]], rtol=1e-6)
    np.testing.assert_allclose(normalize(stats, x, 3.0), [[2.0], [3.0], [-3.0]], rtol=1e-6)
    start = jnp.zeros(1), running.Moments(jnp.float32(0.0), jnp.float32(1e-4), jnp.float32(1e9))
    reward = jnp.array([[0.05], [3.0], [-3.0]])
    _, scaled = rescale(start, reward, np.zeros((3, 1), bool), 0.9)
    np.testing.assert_allclose(scaled, [[5.0], [10.0], [-10.0]], rtol=1e-2)


@pytest.mark.parametrize("constant", [0.1, -7.3e4, 0.0, 3e-20])
def test_what_differs_by_rounding_alone_is_not_blown_up(constant):
    """The float32 mean of 999 tenths differs from a tenth by as much as their deviation."""
    x = np.full(999, constant, np.float32)
    np.testing.assert_array_equal(standardize(x), 0)
    counted, rows = (np.arange(1000) < 999).astype(np.float32), np.append(x, np.float32(5))
    np.testing.assert_array_equal(np.asarray(standardize(rows, counted))[:999], 0)


def test_standardize_is_the_usual_formula_elsewhere():
    x = np.random.default_rng(0).normal(5.0, 0.1, (4, 6)).astype(np.float32)
    np.testing.assert_allclose(standardize(x), (x - x.mean()) / x.std(), atol=1e-4)
    counted = np.arange(24).reshape(4, 6) % 3 > 0
    standardized = standardize(x, counted.astype(np.float32))
    np.testing.assert_allclose(standardized, (x - x[counted].mean()) / x[counted].std(), atol=1e-4)
    np.testing.assert_allclose(standardize(np.array([1e-3, 3e-3], np.float32)), [-1, 1], rtol=1e-4)
    for bad in (np.nan, np.inf):
        assert np.isnan(standardize(np.array([1.0, bad, 2.0], np.float32))).any()


def test_a_reward_that_never_changes_stays_as_it_is():
    """The return of a constant reward has no spread to divide by."""
    start = jnp.zeros(3), running.moments()
    reward, ended = np.full((5, 3), 0.1, np.float32), np.ones((5, 3), bool)
    _, scaled = rescale(start, reward, ended, 0.9)
    np.testing.assert_array_equal(scaled, reward)


def test_rewards_are_divided_by_the_spread_of_the_return():
    rng = np.random.default_rng(0)
    reward = rng.normal(3.0, 1.0, (6, 2)).astype(np.float32)
    ended = np.zeros((6, 2), bool)
    ended[2, 0] = True
    total, seen = np.zeros(2), []
    for t in range(6):
        total = 0.9 * total + reward[t]
        seen.append(total.copy())
        total = total * ~ended[t]
    start = (jnp.zeros(2), running.moments())
    (carried, stats), scaled = rescale(start, reward, ended, 0.9)
    np.testing.assert_allclose(carried, total, rtol=1e-5)
    np.testing.assert_allclose(stats.var, np.var(seen), rtol=1e-4)
    np.testing.assert_allclose(scaled, reward / np.std(seen), rtol=1e-4)


def test_the_rate_falls_to_zero_over_the_total_steps():
    settings = PPOConfig(total_steps=64, num_envs=2, rollout_length=8, epochs=2, minibatches=2)
    optimizer = ppo_optimizer(settings)  # 4 iterations of 4 gradient steps

    @jax.jit
    def updates(params):
        def update(state, _):
            updates, state = optimizer.update(jnp.ones(1), state, params)
            return state, updates

        return jax.lax.scan(update, optimizer.init(params), length=18)[1]

    expected = [2.5e-4 * max(1 - i / 16, 0) for i in range(18)]
    sizes = np.abs(np.asarray(updates(jnp.zeros(1))))[:, 0]
    np.testing.assert_allclose(sizes, expected, rtol=1e-3, atol=1e-9)


def test_adams_epsilon_is_that_of_the_papers_code():
    """With epsilon 1e-5 a first gradient of 1e-5 moves parameters half as far as a large one."""
    optimizer = ppo_optimizer(PPOConfig(learning_rate=0.1, anneal=False))
    first = jax.jit(lambda gradient: optimizer.update(gradient, optimizer.init(jnp.zeros(2)))[0])
    update = np.asarray(first(jnp.array([1e-5, 1.0])))
    np.testing.assert_allclose(update, [-0.05, -0.1], rtol=1e-3)


def test_the_gradient_is_cut_by_its_global_norm():
    """After one gradient step Adam's first moment is a tenth of the gradient."""
    env = echo()
    net = actor_critic(nets.mlp(3, (8,)), nets.mlp(1, (8,)))

    def moment(limit):
        agent = ppo(env, net, PPOConfig(epochs=1, minibatches=1, rollout_length=8, max_grad_norm=limit))
        state, _ = agent.step(jax.random.key(1), agent.init(jax.random.key(0), None), None)
        return optax.tree.norm(optax.tree.get(state.opt_state, "mu"))

    limits = np.array([1e-3, 1e-2], np.float32)
    np.testing.assert_allclose(jax.jit(jax.vmap(moment))(limits), 0.1 * limits, rtol=1e-4)


def one_update(factory, env, net, **settings):
    """The metrics of an iteration with one pass and one minibatch, before the parameters change."""
    agent = factory(env, net, PPOConfig(epochs=1, minibatches=1, **settings))

    @jax.jit
    def second(keys):  # the second iteration begins in the middle of episodes
        state = agent.init(keys[0], None)
        return jax.lax.scan(lambda state, key: agent.step(key, state, None), state, keys[1:])[1]

    metrics = second(jnp.stack([jax.random.key(i) for i in range(3)]))
    return jax.tree.map(lambda x: np.asarray(x)[-1], metrics)


@pytest.mark.parametrize(
    ("factory", "env", "net"),
    [
        (ppo, echo(), NET),
        (ppo, continuous_echo(), actor_critic(nets.mlp(1, (8,)), nets.mlp(1, (8,)))),
        (recurrent_ppo, memory(), nets.gru_actor_critic(2, 8)),
    ],
)
def test_training_sees_the_probabilities_it_acted_with(factory, env, net):
    """A wrong memory, observation or action in training would show as a KL divergence before any step."""
    metrics = one_update(factory, env, net, num_envs=4, rollout_length=6)
    assert abs(float(metrics["approximate_kl"])) < 1e-6  # (ratio - 1) - log(ratio), each rounded to 6e-8
    assert float(metrics["clipped"]) == 0


def test_a_uniform_policy_has_the_entropy_of_one():
    uniform = nets.from_function(
        lambda key, x: jnp.zeros(1),
        lambda p, x: (jnp.zeros((x.shape[0], 3)) + p[None], jnp.zeros(x.shape[0])),
    )
    metrics = one_update(ppo, echo(), uniform, num_envs=2, rollout_length=4)
    np.testing.assert_allclose(metrics["entropy"], np.log(3), rtol=1e-6)


def test_continuous_actions_reach_the_environment_in_its_units():
    head = policy_head(continuous_echo())
    np.testing.assert_allclose(head.to_env(jnp.array([[0.5], [9.0]])), [[1.0], [2.0]])


@config
class Both:
    agent: PPOConfig
    scale: float


def test_floats_of_the_config_and_of_the_environment_are_swept_together():
    settings = PPOConfig(total_steps=64, num_envs=2, rollout_length=8, minibatches=2, epochs=1)

    def agent(c):
        env = constant_reward(3)
        plain = env.move
        moved = env._replace(
            move=lambda k, s, a: (s, plain(k, s, a)[1]._replace(reward=jnp.float32(c.scale)))
        )
        return ppo(moved, NET, c.agent)

    arms = [Both(c, s) for c in grid(settings, learning_rate=[1e-3, 1e-2]).values() for s in (1.0, 2.0)]
    fit = train.fit(agent, arms, [0, 1], steps=4, progress=False)
    returns = [fit.table.final(name, "return")[0] for name in fit.arms]
    np.testing.assert_allclose(returns, [1.0, 2.0, 1.0, 2.0])


BAD = {
    "minibatches": (lambda: PPOConfig(num_envs=4, rollout_length=8, minibatches=5), "does not divide into 5"),
    "no envs": (lambda: PPOConfig(num_envs=0), "num_envs must be at least 1"),
    "negative epochs": (lambda: PPOConfig(epochs=-1), "epochs must be at least 1"),
    "discount": (lambda: PPOConfig(discount=1.5), "discount must lie between 0 and 1"),
    "rate": (lambda: PPOConfig(learning_rate=0.0), "learning_rate must be a finite number above 0"),
    "one row": (
        lambda: PPOConfig(num_envs=4, rollout_length=2, minibatches=8),
        "a minibatch of PPO has 1 row, and normalize_advantages subtracts the mean of its rows",
    ),
    "no iteration": (
        lambda: PPOConfig(total_steps=500),
        "total_steps must be at least the 512 steps of one iteration",
    ),
    "uncountable": (
        lambda: ppo(echo(), NET, PPOConfig(total_steps=10**12)),
        "a counter of 32 bits holds",
    ),
    "deviation of a head": (
        lambda: policy_head(continuous_echo(), float("inf")),
        "initial_log_std must lie between -20 and 20, got inf",
    ),
    "wrong outputs": (
        lambda: ppo(echo(4), NET, PPOConfig()),
        "(policy [batch, 4], value [batch]), but gives ([batch, 3], [batch])",
    ),
    "no pair": (lambda: ppo(echo(), nets.mlp(3), PPOConfig()), "but gives [batch, 3]"),
    "no net": (lambda: ppo(echo(), "mlp", PPOConfig()), "must be an lrn.types.Net, got str"),  # pyright: ignore
    "recurrent, no memory": (
        lambda: recurrent_ppo(memory(), NET, PPOConfig()),  # pyright: ignore[reportArgumentType]
        "must be an lrn.types.RecurrentNet",
    ),
    "recurrent, outputs": (
        lambda: recurrent_ppo(memory(), nets.gru_actor_critic(5), PPOConfig()),
        "lrn.nets.gru_actor_critic(2)",
    ),
    "recurrent, minibatches": (
        lambda: recurrent_ppo(memory(), nets.gru_actor_critic(2), PPOConfig(num_envs=6, minibatches=4)),
        "6 environments do not divide into 4 minibatches",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, sentence = BAD[case]
    with pytest.raises(ValueError, match=r".") as error:
        call()
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_time_limit_is_bootstrapped():
    """With a perfect critic, the targets of an iteration on a truncating chain are the critic's values."""
    g = 0.9
    values = jnp.array([(1 + 2 * g) / (1 - g**2), (2 + g) / (1 - g**2)])
    perfect = nets.from_function(
        lambda key, x: jnp.zeros(2), lambda p, x: (jnp.zeros((x.shape[0], 2)), x @ (values + p))
    )
    metrics = one_update(
        ppo, two_state_truncating(3), perfect, num_envs=2, rollout_length=7, discount=g,
        learning_rate=1e-12, clip_value=False,
    )  # fmt: skip
    assert float(metrics["value_loss"]) < 1e-9


CONFIGS = (PPOConfig, A2CConfig, ReinforceConfig, RNDConfig, CuriosityConfig, CountConfig)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.__name__)
def test_every_number_of_a_config_is_checked(config):
    floats = config.__config_leaves__
    assert floats
    for name in floats:
        for value in (np.nan, np.inf, -np.inf, -1e9, True, "much"):
            with pytest.raises(InputError, match=name):
                config(**{name: value})
    for field in dataclasses.fields(config):
        if field.type == "int":
            for value in (0, -1, 1.5, True, np.nan):
                with pytest.raises(InputError, match=field.name):
                    config(**{field.name: value})


def test_one_row_is_enough_where_nothing_is_normalized():
    assert (
        PPOConfig(num_envs=1, rollout_length=2, minibatches=2, normalize_advantages=False).interactions == 2
    )
    assert PPOConfig(num_envs=2, rollout_length=1, minibatches=1).interactions == 2
    assert A2CConfig(num_envs=1, rollout_length=1).interactions == 1


def small_bytes(dtype) -> Env:
    """Episodes of two steps that observe two bytes, large enough to wrap around in arithmetic of bytes."""

    def observe(state):
        return jnp.stack([state % 7 * 36, state % 5 * 50]).astype(dtype)

    def reset(key):
        state = jax.random.randint(key, (), 0, 30) * 2
        return observe(state), state

    def move(key, state, action):
        after = state + 1 + 2 * action
        step = Step(after % 3 + 0.5 * action, jnp.array(False), after % 2 == 0, observe(after))
        return after, step

    return Env("bytes", reset, move, (2,), Discrete(2), 2, np.dtype(dtype))


SMALL: Any = dict(num_envs=4, rollout_length=4)
ON_BYTES = {
    "ppo": lambda env, net: ppo(
        env, net, PPOConfig(**SMALL, epochs=1, minibatches=2, normalize_observations=True)
    ),
    "plain ppo": lambda env, net: ppo(env, net, PPOConfig(**SMALL, epochs=1, minibatches=2)),
    "a2c": lambda env, net: a2c(env, net, A2CConfig(**SMALL)),
    "reinforce": lambda env, net: reinforce(
        env, doubled(2), ReinforceConfig(**SMALL, whole_episodes=False), doubled(1)
    ),
    "recurrent_ppo": lambda env, net: recurrent_ppo(
        env, nets.gru_actor_critic(2, 4), PPOConfig(**SMALL, epochs=1, minibatches=2)
    ),
}


def doubled(outputs):
    """A linear network of the observation and of half the observation."""
    return nets.from_function(
        lambda key, x: jax.random.normal(key, (4, outputs)) + x.mean() / 100,
        lambda params, x: jnp.concatenate([x / 100, -x / 2], 1) @ params,
    )


@pytest.mark.parametrize("name", ON_BYTES)
def test_bytes_are_kept_and_learned_from_as_the_numbers_they_are(name):
    def train(dtype):
        agent = ON_BYTES[name](small_bytes(dtype), actor_critic(doubled(2), doubled(1)))
        state, _ = agent.step(jax.random.key(1), agent.init(jax.random.key(0), None), None)
        action, _ = agent.policy.act(
            jax.random.key(2), state, agent.policy.initial(4), state.live.observation
        )
        return state, action

    (byte, one), (float_, other) = run_once(lambda: (train(jnp.uint8), train(jnp.float32)))
    assert byte.live.observation.dtype == jnp.uint8
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), byte.params, float_.params
    )
    np.testing.assert_array_equal(one, other)
