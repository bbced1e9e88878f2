"""Linear value functions: prediction, on-policy and off-policy.

    from lrn.rl import linear, mdp
    from lrn.rl.linear import baird

    env = mdp.as_env(mdp.baird())
    learner = linear.tdc(env, baird.features(), baird.target(), linear.TDCConfig(), baird.behavior())

The updates can be used alone (`td_update`, `tdc_update` and so on). `expected` has the methods without
sampling, on a known MDP: fixed points, expected updates, and the spectral radius that tells whether an update
diverges.
"""

from lrn.rl.linear.emphatic_td import emphatic_td, emphatic_td_update
from lrn.rl.linear.expected import (
    Moments,
    emphasis,
    expected_td,
    expected_tdc,
    growth,
    moments,
    td_fixed_point,
)
from lrn.rl.linear.lstd import LSTDConfig, lstd, lstd_update, lstd_weights
from lrn.rl.linear.prediction import importance_ratios
from lrn.rl.linear.td import LinearTDConfig, semi_gradient_td, td_update
from lrn.rl.linear.tdc import TDCConfig, tdc, tdc_update

__all__ = [
    "LSTDConfig",
    "LinearTDConfig",
    "Moments",
    "TDCConfig",
    "emphasis",
    "emphatic_td",
    "emphatic_td_update",
    "expected_td",
    "expected_tdc",
    "growth",
    "importance_ratios",
    "lstd",
    "lstd_update",
    "lstd_weights",
    "moments",
    "semi_gradient_td",
    "td_fixed_point",
    "td_update",
    "tdc",
    "tdc_update",
]
