"""Dyna-Q compared with exact solutions, and the benefit of planning."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import train
from lrn.rl import identity, mdp
from lrn.rl.model_based.dyna import DynaConfig, dyna_q

ROOMS = mdp.four_rooms()


def run(config, steps, env=None, seeds=(0, 1, 2)):
    env = env or mdp.as_env(ROOMS)
    return train.fit(lambda c: dyna_q(env, c), config, seeds, steps=steps, progress=False).state


def test_it_reaches_the_exact_values_of_a_deterministic_task():
    chain = mdp.gridworld(["S..", ".#.", "..G"], discount=0.9)
    anywhere = chain._replace(initial=(~chain.terminal / (~chain.terminal).sum()).astype(jnp.float32))
    config = DynaConfig(discount=0.9, step_size=1.0, epsilon=1.0, planning=10)
    state = run(config, 20, mdp.as_env(anywhere))
    best = mdp.solve(chain)
    np.testing.assert_allclose(
        state.q[0, :, ~np.asarray(chain.terminal)].transpose(1, 0, 2),
        np.broadcast_to(best.action_values[~np.asarray(chain.terminal)], (3, 7, 4)),
        atol=1e-5,
    )


def test_the_model_is_the_last_outcome():
    state = run(DynaConfig(epsilon=1.0, planning=1), 30)
    for i in range(3):
        model = jax.tree.map(lambda x, i=i: np.asarray(x[0, i]), state.model)
        moves, tried = np.asarray(ROOMS.transitions).reshape(-1, ROOMS.states), model.listed
        assert 0 < tried.sum() == model.known
        np.testing.assert_array_equal(model.next_state[tried], moves[tried].argmax(-1))
        np.testing.assert_allclose(model.reward[tried], np.asarray(ROOMS.rewards).reshape(-1)[tried])
        assert sorted(model.order[: model.known]) == np.flatnonzero(tried).tolist()
        # In the model an untried action stays in its state.
        pairs = np.arange(tried.size)
        np.testing.assert_array_equal(model.next_state[~tried], (pairs // 4)[~tried])


def test_planning_needs_fewer_steps():
    """With equal numbers of real steps, planning learns more from them (Sutton and Barto 2018, fig. 8.2)."""
    shares = {}
    for n in (0, 20):
        state = run(DynaConfig(discount=0.99, step_size=0.5, planning=n), 15)
        greedy = jax.nn.one_hot(jnp.argmax(state.q[0], -1), 4)
        values = jax.vmap(lambda policy: mdp.objective(ROOMS, policy))(greedy)
        shares[n] = np.nan_to_num(np.asarray(values)) / float(ROOMS.initial @ mdp.solve(ROOMS).values)
    assert shares[20].min() > 0.9
    assert shares[0].mean() < 0.5


def test_a_bonus_is_paid_for_what_was_not_tried():
    """With untried actions in the model, the bonus alone makes all values of visited states positive."""
    state = run(DynaConfig(bonus=0.1, untried=True, planning=20, epsilon=0.0), 2)
    known = np.asarray(state.model.listed[0, 0]).reshape(-1, 4)
    assert (known.all(1) == known.any(1)).all()  # all actions of a state, or none
    assert (np.asarray(state.q[0, 0])[known.all(1)] > 0).mean() > 0.5
    plain = run(DynaConfig(planning=20, epsilon=0.0), 2)
    lost = (np.asarray(plain.model.reward[0]) == 0).all(-1)  # seeds that did not find the goal yet
    assert lost.any()
    assert (np.asarray(plain.q)[0, lost] == 0).all()


def test_bad_input():
    with pytest.raises(ValueError, match="dyna_q needs discrete actions"):
        dyna_q(identity.continuous_echo(), DynaConfig())
    with pytest.raises(ValueError, match="planning must be at least 0"):
        DynaConfig(planning=-1)
