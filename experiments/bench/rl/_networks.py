"""The networks that the benchmarks of returns and of speed train."""

from __future__ import annotations

from lrn import nets
from lrn.rl.env import Env
from lrn.rl.heads import actor_critic, policy_size
from lrn.types import Net


def perceptrons(env: Env, hidden: tuple[int, ...] = (64, 64), activation: str = "tanh") -> Net:
    """An actor-critic of two perceptrons with orthogonal initial weights, as in CleanRL.

    Args:
        env: the environment, which gives the number of policy outputs.
        hidden: widths of the hidden layers.
        activation: name of the activation function.
    """
    return actor_critic(
        nets.mlp(policy_size(env), hidden, activation=activation, head_scale=0.01),
        nets.mlp(1, hidden, activation=activation, head_scale=1.0),
    )
