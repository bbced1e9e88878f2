"""TD3: targets compared with numpy, the delayed actor, identity environments, errors."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets, train
from lrn.rl import identity, replay
from lrn.rl.evaluate import evaluator
from lrn.rl.exploration.noise import pink
from lrn.rl.td3 import TD3Config, td3

ECHO = identity.continuous_echo()


@pytest.mark.slow
def test_it_echoes_numbers_in_the_units_of_the_environment():
    config = TD3Config(
        num_envs=8, rollout_length=1, updates=4, batch_size=64, learning_starts=200, discount=0.9,
        buffer_size=10_000, total_steps=6000,
    )  # fmt: skip

    def agent(config):
        return td3(ECHO, nets.mlp(1, (32,)), nets.mlp(1, (32,)), config, pink(ECHO.horizon))

    steps = config.total_steps // config.interactions
    fit = train.fit(agent, config, [0, 1], steps=steps, evaluate=evaluator(ECHO), progress=False)
    assert fit.table.final(fit.arms[0], "greedy_return").min() > 4.6  # of 5; random play gets about 0


def test_the_actor_moves_once_in_policy_delay_updates():
    config = TD3Config(
        policy_delay=3, updates=6, learning_starts=1, batch_size=4, buffer_size=20, target_rate=1.0
    )
    agent = td3(ECHO, nets.mlp(1, (8,)), nets.mlp(1, (8,)), config)
    state, _ = jax.jit(agent.step)(jax.random.key(1), agent.init(jax.random.key(0), None), None)
    learned = state.learned
    counts = [int(s[0].count) for s in (learned.actor_opt_state, learned.critic_opt_state)]
    assert counts == [2, 6]
    # With a rate of 1 the targets equal the networks after the actor's move, the last update of a step.
    jax.tree.map(np.testing.assert_array_equal, learned.target_actor, learned.actor)
    jax.tree.map(np.testing.assert_array_equal, learned.target_critics, learned.critics)


def test_the_first_target_is_that_of_the_paper():
    """With one repeated transition the loss of the first update is known."""
    config = TD3Config(
        policy_delay=1,
        updates=1,
        rollout_length=1,
        learning_starts=1,
        batch_size=1,
        buffer_size=1,
        target_noise=0.0,
    )
    linear = nets.from_function(lambda key, x: jax.random.normal(key, (x.shape[1], 1)), lambda p, x: x @ p)
    agent = td3(ECHO, linear, linear, config)
    before = jax.jit(agent.init)(jax.random.key(0), None)
    state, metrics = jax.jit(agent.step)(jax.random.key(1), before, None)
    actor, critics = np.asarray(before.learned.actor), np.asarray(before.learned.critics)
    s, a, r, end, _, s2 = (np.asarray(x)[0] for x in replay.take(state.replay, jnp.arange(1)))
    value = lambda s, a: np.concatenate([s, a]) @ critics[:, :, 0].T  # noqa: E731
    target = r + 0.99 * (1 - end) * value(s2, np.tanh(s2 @ actor)).min()
    np.testing.assert_allclose(
        metrics["critic_loss"].value, 0.5 * ((value(s, a) - target) ** 2).sum(), rtol=1e-4
    )


FLOATS = [field.name for field in dataclasses.fields(TD3Config) if field.type == "float"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: td3(identity.echo(), nets.mlp(1), nets.mlp(1), TD3Config()), "td3 needs continuous actions"),
        (lambda: td3(ECHO, nets.mlp(2), nets.mlp(1), TD3Config()), r"actor of td3 .* \[batch, 1\]"),
        (lambda: TD3Config(updates=3), "updates must be a multiple of policy_delay, got 3 and 2"),
        (lambda: TD3Config(exploration_noise=-0.1), "exploration_noise must be a finite number, 0 or more"),
        (lambda: TD3Config(target_noise_clip=-0.1), "target_noise_clip must be a finite number, 0 or more"),
        (lambda: TD3Config(target_noise=float("inf")), "target_noise must be a finite number, 0 or more"),
        (lambda: TD3Config(learning_starts=20_000), "learning_starts must be below total_steps"),
        (lambda: TD3Config(learning_starts=0), "learning_starts must be at least 1"),
        (lambda: TD3Config(total_steps=2**31), "total_steps must be at most 2,147,483,647"),
        (lambda: TD3Config(buffer_size=100), "buffer_size must be at least batch_size, got 100 and 256"),
        (lambda: TD3Config(buffer_size=7, num_envs=4), "buffer_size must be at least 8"),
        (lambda: TD3Config(policy_delay=0), "policy_delay must be at least 1"),
        (lambda: TD3Config(updates=0), "updates must be at least 1"),
        (lambda: TD3Config(discount=1.1), "discount must lie between 0 and 1"),
        (lambda: TD3Config(target_rate=1.1), "target_rate must lie between 0 and 1"),
        (lambda: TD3Config(actor_learning_rate=0.0), "actor_learning_rate must be a finite number above 0"),
        (lambda: TD3Config(critic_learning_rate=0.0), "critic_learning_rate must be a finite number above 0"),
        *((lambda name=name: TD3Config(**{name: float("nan")}), f"^{name} must") for name in FLOATS),  # pyright: ignore[reportArgumentType]
    ],
)
def test_bad_input(make, says):
    with pytest.raises(ValueError, match=says):
        make()
