"""Finite Markov decision processes and their exact solutions, to compare learners with.

from lrn.rl import mdp

lake = mdp.frozen_lake()
best = mdp.solve(lake)  # values [state], action_values [state, action], policy [state, action]
env = mdp.as_env(lake, time_limit=100)  # for any agent
"""

from lrn.rl.mdp.environment import Place, as_env
from lrn.rl.mdp.evaluation import (
    action_values,
    backup,
    objective,
    optimal_backup,
    policy_action_values,
    policy_values,
)
from lrn.rl.mdp.garnet import garnet
from lrn.rl.mdp.gridworld import cells, cliff_walking, four_rooms, frozen_lake, gridworld
from lrn.rl.mdp.model import MDP, deterministic, epsilon_greedy, make, under, uniform_policy
from lrn.rl.mdp.named import (
    baird,
    chain,
    deep_sea,
    maximization_bias,
    random_walk,
    river_swim,
    two_state,
)
from lrn.rl.mdp.occupancy import occupancy, policy_of, state_visits, stationary
from lrn.rl.mdp.policy_gradient import advantages, softmax_objective, softmax_policy_gradient
from lrn.rl.mdp.policy_iteration import improve, policy_iteration, solve
from lrn.rl.mdp.tabulate import Tabulated, tabulate
from lrn.rl.mdp.value_iteration import Solution, value_iteration

__all__ = [
    "MDP",
    "Place",
    "Solution",
    "Tabulated",
    "action_values",
    "advantages",
    "as_env",
    "backup",
    "baird",
    "cells",
    "chain",
    "cliff_walking",
    "deep_sea",
    "deterministic",
    "epsilon_greedy",
    "four_rooms",
    "frozen_lake",
    "garnet",
    "gridworld",
    "improve",
    "make",
    "maximization_bias",
    "objective",
    "occupancy",
    "optimal_backup",
    "policy_action_values",
    "policy_iteration",
    "policy_of",
    "policy_values",
    "random_walk",
    "river_swim",
    "softmax_objective",
    "softmax_policy_gradient",
    "solve",
    "state_visits",
    "stationary",
    "tabulate",
    "two_state",
    "under",
    "uniform_policy",
    "value_iteration",
]
