"""The networks that both benchmarks train."""

from __future__ import annotations

from lrn import nets
from lrn.rl.env import Env
from lrn.rl.heads import actor_critic, policy_size
from lrn.types import Net


def perceptrons(env: Env, hidden: tuple[int, ...] = (64, 64), activation: str = "tanh") -> Net:
    """Two perceptrons, one for the policy and one for the value, from orthogonal weights (CleanRL's)."""
    return actor_critic(
        nets.mlp(policy_size(env), hidden, activation=activation, head_scale=0.01),
        nets.mlp(1, hidden, activation=activation, head_scale=1.0),
    )
