"""One Q-learner for many ways of exploring, all of them floats: arms that differ in exploration alone.

Epsilon-greedy, optimistic values, bonuses for counts or novelty and noise of three colors are one program, so
that a study trains them side by side in one compile.
"""

from __future__ import annotations

from lrn import check
from lrn.config import config
from lrn.rl.agent import Agent
from lrn.rl.env import Env, require_discrete
from lrn.rl.exploration.bonus import both
from lrn.rl.exploration.coded_q import CodedQConfig, coded_q
from lrn.rl.exploration.coding import Coding
from lrn.rl.exploration.counts import CountConfig, count_bonus
from lrn.rl.exploration.noise import Noise, colored, either, ornstein_uhlenbeck
from lrn.rl.exploration.rnd import RNDConfig, rnd
from lrn.types import Example, Goal, Net


@config
class Explorer:
    """How to explore; the defaults explore nothing.

    epsilon, epsilon_end, fraction: the chance of a random action falls from the first to the second over this
        fraction of the training.
    initial: the first value of all actions in all states.
    beta: the bonus of a first visit, by counts.
    novelty: the coefficient of random network distillation, where there is a network for it.
    noise: scale of the noise on the greedy action, in halves of the range of actions.
    theta: of Ornstein-Uhlenbeck noise, whose autocorrelation at lag k is exp(-theta k); 50 is white.
    pink: 1 for pink noise, 0 for Ornstein-Uhlenbeck noise.
    learning_rate: the rate of Q-learning.
    """

    epsilon: float = 0.0
    epsilon_end: float = 0.0
    fraction: float = 0.5
    initial: float = 0.0
    beta: float = 0.0
    novelty: float = 0.0
    noise: float = 0.0
    theta: float = 0.15
    pink: float = 0.0
    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        for name in ("epsilon", "epsilon_end", "fraction", "pink", "learning_rate"):
            check.between(name, getattr(self, name), 0.0, 1.0)
        for name in ("beta", "novelty", "noise"):
            check.non_negative(name, getattr(self, name))
        check.positive("theta", self.theta)


def explorer(
    env: Env, coding: Coding, config: Explorer, steps: int, dimensions: int = 0, net: Net | None = None
) -> Agent:
    """Coded Q-learning (`coded_q`), one step of one environment an iteration, that explores as configured.

    Args:
        env: with discrete actions.
        coding: the coding of the observations, for values and counts.
        config: how to explore.
        steps: the steps of the training, over which epsilon falls.
        dimensions: the dimensions of the actions that `lrn.rl.env.discretize` made discrete; 0 for other
            actions, which no noise can move.
        net: predictor and target of random network distillation; None for no such bonus.

    Raises:
        InputError: what `coded_q` refuses.
    """
    learner = CodedQConfig(
        epsilon_start=config.epsilon,
        epsilon_end=config.epsilon_end,
        exploration_fraction=config.fraction,
        noise_scale=config.noise,
        initial=config.initial,
        learning_rate=config.learning_rate,
        rollout_length=1,
        total_steps=steps,
    )
    bonus = count_bonus(coding, CountConfig(beta=config.beta), require_discrete(env, "explorer"))
    if net is not None:
        bonus = both(bonus, rnd(net, net, RNDConfig(coefficient=config.novelty)))
    noise: Noise | None = None
    if dimensions:
        noise = either(ornstein_uhlenbeck(config.theta), colored(1.0, max(2, env.horizon)), config.pink)
    return coded_q(env, coding, learner, bonus, noise, max(1, dimensions))


def example() -> Example:
    """Epsilon-greedy, annealed, on a small ascent of three levels of thrust."""
    from lrn.rl.env import discretize
    from lrn.rl.exploration.ascent import ascent, heights

    env = discretize(ascent(3), 3)
    config = Explorer(epsilon=1.0, epsilon_end=0.1, beta=0.1, noise=0.5)
    return Example(
        lambda config: explorer(env, heights(3), config, 400, dimensions=1),
        config,
        solves=Goal("return", above=0.12),
    )
