"""Losses, compared with those of rlax.

The numbers in RLAX were computed once with rlax (its main branch of 30 March 2026: `policy_gradients` and
`value_learning`) on the inputs below, rounded to six digits. rlax returns temporal differences where lrn
returns losses, so the tests compare temporal differences with targets less values.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from lrn.rl import distributions as d
from lrn.rl.distributions import of_action
from lrn.rl.ppo import clipped_surrogate
from lrn.rl.reinforce import policy_gradient_loss
from lrn.rl.return_heads import double_q_target, q_learning_loss, q_target


def wave(n, phase, scale=1.0):
    return np.round(scale * np.sin(phase + 1.7 * np.arange(n)), 3).astype(np.float32)


T = 8
REWARDS, ADVANTAGES, LOG_RATIOS = wave(T, 0.3, 2.0), wave(T, 0.9, 2.0), wave(T, 2.0)
ACTIONS = jnp.array([0, 2, 1, 1, 0, 2, 2, 1])
LOGITS, NEXT, OTHER = (jnp.asarray(wave(T * 3, phase, 1.5).reshape(T, 3)) for phase in (0.5, 2.5, 0.2))
WEIGHT = 0.9 * (1 - np.eye(T, dtype=np.float32)[3])  # the discount; step 3 terminates
RLAX = {
    "policy_gradient_loss": -0.550496,
    "entropy_loss": -0.754223,
    "clipped_surrogate_pg_loss": -0.152398,  # epsilon .2
    "q_learning": [0.6802, 2.5078, 0.4912, -0.083, 1.369, 2.8894, -0.504, 0.0758],
    # rlax chooses the action by its last argument
    "double_q_learning": [-1.3043, -0.149, -1.3277, -0.083, -0.9377, 1.1884, -2.169, -1.9447],
}


def equals_rlax(actual, name):
    np.testing.assert_allclose(actual, RLAX[name], rtol=1e-5, atol=1e-5)


def test_policy_gradient_and_entropy():
    log_prob = d.categorical_log_prob(LOGITS, ACTIONS)
    equals_rlax(policy_gradient_loss(log_prob, ADVANTAGES).mean(), "policy_gradient_loss")
    equals_rlax(-d.categorical_entropy(LOGITS).mean(), "entropy_loss")


def test_clipped_surrogate():
    old = d.categorical_log_prob(LOGITS, ACTIONS)
    loss = clipped_surrogate(old + LOG_RATIOS, old, jnp.asarray(ADVANTAGES), 0.2)
    equals_rlax(loss.mean(), "clipped_surrogate_pg_loss")


def test_q_learning():
    target = q_target(NEXT, REWARDS, WEIGHT)
    equals_rlax(target - of_action(LOGITS, ACTIONS), "q_learning")
    squared = 0.5 * np.mean(np.square(RLAX["q_learning"]))
    np.testing.assert_allclose(q_learning_loss(LOGITS, ACTIONS, target), squared, rtol=1e-5)


def test_double_q_learning():
    target = double_q_target(OTHER, NEXT, REWARDS, WEIGHT)
    equals_rlax(target - of_action(LOGITS, ACTIONS), "double_q_learning")
