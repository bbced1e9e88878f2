"""PETS and MBPO: identity environments, PETS with an exact model, errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets, train
from lrn.rl import env as envs
from lrn.rl import identity
from lrn.rl.evaluate import evaluator
from lrn.rl.model_based.cem import CEMConfig
from lrn.rl.model_based.dynamics import DynamicsConfig
from lrn.rl.model_based.imagine import Imagined
from lrn.rl.model_based.mbpo import MBPOConfig, flat, mbpo
from lrn.rl.model_based.pets import PETSConfig, pets
from lrn.rl.sac import SACConfig

ECHO = identity.continuous_echo()


def train_on_echo(agent, config):
    steps = config.total_steps // config.interactions
    return train.fit(agent, config, [0, 1], steps=steps, evaluate=evaluator(ECHO), progress=False)


def test_pets_echoes_numbers():
    config = PETSConfig(
        search=CEMConfig(population=32, elites=6, iterations=3), horizon=1, num_envs=4, rollout_length=5,
        learning_starts=100, total_steps=400,
    )  # fmt: skip
    fit = train_on_echo(lambda c: pets(ECHO, nets.mlp(4, (32,)), c), config)
    assert fit.table.final(fit.arms[0], "greedy_return").min() > 4.6  # of 5; random play gets about 0


@pytest.mark.slow
def test_mbpo_echoes_numbers():
    sac = SACConfig(
        learning_rate=3e-3, temperature_learning_rate=3e-3, discount=0.9, num_envs=4, rollout_length=5,
        updates=40, batch_size=64, learning_starts=100, buffer_size=1000, total_steps=1000,
    )  # fmt: skip
    config = MBPOConfig(sac=sac, model_updates=20, rollouts=100, imagined_size=2000, real=4)
    nets_of = (nets.mlp(2, (32,)), nets.mlp(1, (32,)), nets.mlp(4, (32,)))
    fit = train_on_echo(lambda c: mbpo(ECHO, *nets_of, c), config)
    assert fit.table.final(fit.arms[0], "greedy_return").min() > 4.4


def test_mbpo_does_not_learn_from_what_follows_an_end():
    count = jnp.arange(6.0).reshape(3, 2, 1)
    alive = jnp.array([[True, True], [True, False], [False, False]])[:, :, None]
    ends = jnp.array([[False, True], [True, False], [False, False]])[:, :, None]
    rows = flat(Imagined(count[..., None], count[..., None], count, ends, count[..., None] + 1, alive))
    # Steps in order of time; a step after a termination is replaced by the first step of its particle.
    np.testing.assert_array_equal(rows.reward, [0, 1, 2, 1, 0, 1])
    np.testing.assert_array_equal(rows.terminated, [False, True, True, True, False, True])
    np.testing.assert_array_equal(rows.final_observation[:, 0], rows.reward + 1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: pets(ECHO, nets.mlp(4), PETSConfig(particles=7)), "multiple of the 5 members.*got 7"),
        (lambda: pets(ECHO, nets.mlp(3), PETSConfig()), r"network of dynamics.*\[batch, 4\]"),
        (lambda: pets(identity.echo(), nets.mlp(4), PETSConfig()), "pets needs continuous actions"),
        (lambda: MBPOConfig(real=256), "real must be below the batch size, got 256 of 256"),
        (
            lambda: mbpo(ECHO, nets.mlp(2), nets.mlp(1), nets.mlp(4), MBPOConfig(rollouts=7)),
            "rollouts must be a multiple of the 5 members",
        ),
        (lambda: DynamicsConfig(members=0), "members must be at least 1"),
    ],
)
def test_bad_input(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.slow
def test_pets_swings_the_pendulum_up_within_eight_hundred_steps():
    env = envs.make("Pendulum-v1")
    config = PETSConfig(search=CEMConfig(population=64, elites=8, iterations=4), total_steps=800)
    fit = train.fit(
        lambda c: pets(env, nets.mlp(8, (64, 64)), c),
        config,
        range(5),
        steps=80,
        log_every=20,
        progress=False,
    )
    # The return of the fourth episode; that of SAC is about -1400.
    assert fit.table.final(fit.arms[0], "return").mean() > -350
    assert jax.tree.leaves(fit.state.plans)[0].shape == (1, 5, 1, 20, 1)
