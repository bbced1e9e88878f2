"""Reward hacking: agents that gain on the reward they get and lose on the reward that was meant.

- `misspecified` trains an agent on a proxy reward and keeps the true reward for evaluation.
- `hackability` decides exactly, for two rewards of a finite MDP, whether some policy gains on one and loses
  on the other against another policy (Skalse et al. 2022).
- `noisy_tv` and `curiosity` show how a bonus for prediction errors traps an agent (Burda et al. 2019).
"""

from lrn.rl.hacking.curiosity import CuriosityConfig, curiosity
from lrn.rl.hacking.hackability import (
    Comparison,
    Hackability,
    compare,
    deterministic_policies,
    hackable,
    returns_of,
)
from lrn.rl.hacking.misspecified import misspecified, proxy_evaluator
from lrn.rl.hacking.noisy_tv import noisy_tv, position

__all__ = [
    "Comparison",
    "CuriosityConfig",
    "Hackability",
    "compare",
    "curiosity",
    "deterministic_policies",
    "hackable",
    "misspecified",
    "noisy_tv",
    "position",
    "proxy_evaluator",
    "returns_of",
]
