"""Reward hacking: what is rewarded is not what is wanted.

`misspecified` gives an agent a proxy while the true reward is kept for evaluation, `hackability` decides
exactly whether two rewards of a finite MDP can be played against each other (Skalse et al. 2022), and
`noisy_tv` with `curiosity` is the trap of bonuses for what cannot be predicted (Burda et al. 2019).
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
