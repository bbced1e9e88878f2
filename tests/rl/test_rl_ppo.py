"""PPO and its recurrent form: the parts against closed forms, and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn import nets, train
from lrn.config import config, grid
from lrn.rl import running
from lrn.rl.heads import actor_critic
from lrn.rl.identity import constant_reward, continuous_echo, echo, memory, two_state_truncating
from lrn.rl.policy_head import policy_head
from lrn.rl.ppo import (
    PPOConfig,
    clipped_surrogate,
    clipped_value_loss,
    ppo,
    ppo_optimizer,
    rescale_rewards,
)
from lrn.rl.recurrent_ppo import recurrent_ppo

NET = actor_critic(nets.mlp(3, (16,)), nets.mlp(1, (16,)))


def test_clipped_surrogate_by_hand():
    ratio = jnp.array([0.5, 1.0, 1.5, 0.5, 1.5])
    advantage = jnp.array([1.0, 1.0, 1.0, -1.0, -1.0])
    loss = clipped_surrogate(jnp.log(ratio), jnp.zeros(5), advantage, 0.2)
    np.testing.assert_allclose(loss, [-0.5, -1.0, -1.2, 0.8, 1.5], rtol=1e-6)
    # No gradient pulls a ratio further out on the side where it is clipped.
    slope = jax.grad(lambda x: clipped_surrogate(x, jnp.zeros(5), advantage, 0.2).sum())(jnp.log(ratio))
    assert [bool(s == 0) for s in slope] == [False, False, True, True, False]


def test_clipped_value_loss_by_hand():
    value, old, target = jnp.array([2.0, 1.1]), jnp.array([1.0, 1.0]), jnp.array([2.0, 2.0])
    # The first would be perfect, and is held to .2 from what it was; the second is within.
    np.testing.assert_allclose(clipped_value_loss(value, old, target, 0.2), [0.32, 0.405], rtol=1e-5)


def test_moments_are_those_of_everything_seen():
    rng = np.random.default_rng(0)
    rows = rng.normal(100.0, 3.0, (7, 5, 2)).astype(np.float32)
    stats = running.moments((2,))
    for batch in rows:
        stats = running.update(stats, jnp.asarray(batch))
    flat = rows.reshape(-1, 2)
    np.testing.assert_allclose(stats.mean, flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats.var, flat.var(0), rtol=1e-3)
    normal = running.normalise(stats, jnp.asarray(flat))
    np.testing.assert_allclose(normal.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(normal.std(0), 1, atol=1e-3)
    np.testing.assert_array_equal(running.normalise(running.moments((2,)), jnp.ones((1, 2))), 1.0)


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
    (carried, stats), scaled = rescale_rewards(start, jnp.asarray(reward), jnp.asarray(ended), 0.9)
    np.testing.assert_allclose(carried, total, rtol=1e-5)
    np.testing.assert_allclose(stats.var, np.var(seen), rtol=1e-4)
    np.testing.assert_allclose(scaled, reward / np.std(seen), rtol=1e-4)


def test_the_rate_falls_to_zero_over_the_total_steps():
    settings = PPOConfig(total_steps=64, num_envs=2, rollout_length=8, epochs=2, minibatches=2)
    optimizer = ppo_optimizer(settings)  # 4 iterations of 4 gradient steps
    params = jnp.zeros(1)
    state, sizes = optimizer.init(params), []
    for _ in range(18):
        update, state = optimizer.update(jnp.ones(1), state, params)
        sizes.append(float(jnp.abs(jnp.asarray(update)[0])))
    expected = [2.5e-4 * max(1 - i / 16, 0) for i in range(18)]
    np.testing.assert_allclose(sizes, expected, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("limit", [1e-3, 1e-2])
def test_the_gradient_is_cut_by_its_global_norm(limit):
    """After one gradient step Adam's first moment is a tenth of the gradient."""
    env = echo()
    net = actor_critic(nets.mlp(3, (8,)), nets.mlp(1, (8,)))
    agent = ppo(env, net, PPOConfig(epochs=1, minibatches=1, rollout_length=8, max_grad_norm=limit))
    state, _ = jax.jit(agent.step)(jax.random.key(1), agent.init(jax.random.key(0), None))
    moment = optax.tree.norm(optax.tree.get(state.opt_state, "mu"))
    np.testing.assert_allclose(moment, 0.1 * limit, rtol=1e-4)


def one_update(factory, env, net, **settings):
    """The metrics of the first iteration, one pass and one minibatch: nothing has moved yet."""
    agent = factory(env, net, PPOConfig(epochs=1, minibatches=1, **settings))
    state = jax.jit(agent.init)(jax.random.key(0))
    step = jax.jit(agent.step)
    state, _ = step(jax.random.key(1), state)
    return step(jax.random.key(2), state)[1]  # the second begins in the middle of episodes


@pytest.mark.parametrize(
    ("factory", "env", "net"),
    [
        (ppo, echo(), NET),
        (ppo, continuous_echo(), actor_critic(nets.mlp(1, (8,)), nets.mlp(1, (8,)))),
        (recurrent_ppo, memory(), nets.gru_actor_critic(2, 8)),
    ],
)
def test_training_sees_the_probabilities_it_acted_with(factory, env, net):
    """A replay from another memory, observation or action would show as a divergence before any step."""
    metrics = one_update(factory, env, net, num_envs=4, rollout_length=6)
    assert abs(float(metrics["approximate_kl"])) < 1e-9
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
    "wrong outputs": (
        lambda: ppo(echo(4), NET, PPOConfig()),
        "(policy [batch, 4], value [batch]), and gives ([batch, 3], [batch])",
    ),
    "no pair": (lambda: ppo(echo(), nets.mlp(3), PPOConfig()), "and gives [batch, 3]"),
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
    """One iteration's targets on a chain that only truncates: with a perfect critic they are its values."""
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
