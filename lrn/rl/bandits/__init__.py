"""Stochastic bandits: problems, policies (one file each), theoretical bounds, and `play` to run a policy.

Policies and problems are independent of each other. `play` makes a `lrn.types.Learner` from a policy and a
problem, so that `lrn.train.fit` can run configs x seeds.
"""

from lrn.rl.bandits.boltzmann import BoltzmannConfig, boltzmann
from lrn.rl.bandits.epsilon_greedy import EpsilonGreedyConfig, epsilon_greedy
from lrn.rl.bandits.gradient import GradientConfig, gradient
from lrn.rl.bandits.optimistic import OptimisticConfig, optimistic
from lrn.rl.bandits.play import play, pseudo_regret, regret
from lrn.rl.bandits.policy import BanditPolicy, SampleMeans
from lrn.rl.bandits.problem import Bandit, bernoulli, gaussian
from lrn.rl.bandits.theory import lai_robbins, ucb1_bound
from lrn.rl.bandits.thompson import (
    BetaThompsonConfig,
    GaussianThompsonConfig,
    beta_thompson,
    gaussian_thompson,
)
from lrn.rl.bandits.ucb1 import UCB1Config, ucb1

__all__ = [
    "Bandit",
    "BanditPolicy",
    "BetaThompsonConfig",
    "BoltzmannConfig",
    "EpsilonGreedyConfig",
    "GaussianThompsonConfig",
    "GradientConfig",
    "OptimisticConfig",
    "SampleMeans",
    "UCB1Config",
    "bernoulli",
    "beta_thompson",
    "boltzmann",
    "epsilon_greedy",
    "gaussian",
    "gaussian_thompson",
    "gradient",
    "lai_robbins",
    "optimistic",
    "play",
    "pseudo_regret",
    "regret",
    "ucb1",
    "ucb1_bound",
]
