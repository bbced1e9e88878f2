"""Exploration for any agent, as pure functions.

- Choosing discrete actions: `select` (epsilon-greedy, Boltzmann, UCB), with `schedules` of its parameters.
- Perturbing continuous actions: `noise` (white, Ornstein-Uhlenbeck, pink).
- Rewarding novelty: `bonus` (the interface), `counts` and `rnd`; `coding` makes observations discrete.
- `coded_q` is a small agent that takes all of these; `explorer` is the same agent with each of them a float.
- `deep_sea` and `ascent` are environments to test exploration on; `chance` is how often random play succeeds.
"""

from lrn.rl.exploration.bonus import Bonus, Transitions, both
from lrn.rl.exploration.coding import Coding, grid, one_hot, simhash, tiles
from lrn.rl.exploration.counts import CountConfig, count_bonus
from lrn.rl.exploration.noise import Noise, colored, either, ornstein_uhlenbeck, pink, white
from lrn.rl.exploration.rnd import RNDConfig, rnd
from lrn.rl.exploration.schedules import exponential_schedule, linear_schedule
from lrn.rl.exploration.select import (
    boltzmann,
    boltzmann_probabilities,
    epsilon_greedy,
    epsilon_greedy_probabilities,
    random_argmax,
    ucb,
)

__all__ = [
    "Bonus",
    "Coding",
    "CountConfig",
    "Noise",
    "RNDConfig",
    "Transitions",
    "boltzmann",
    "boltzmann_probabilities",
    "both",
    "colored",
    "count_bonus",
    "either",
    "epsilon_greedy",
    "epsilon_greedy_probabilities",
    "exponential_schedule",
    "grid",
    "linear_schedule",
    "one_hot",
    "ornstein_uhlenbeck",
    "pink",
    "random_argmax",
    "rnd",
    "simhash",
    "tiles",
    "ucb",
    "white",
]
