"""Statistics for a handful of paired seeds: intervals, exact tests, effect sizes; arrays in, floats out.

Intervals   `t_interval`, `welch_interval`, `bca_interval`, `share_interval`, `iqm_interval`
            `median_interval`, and `mean_interval` for samples with values that are not finite
Tests       `mean_test`, `equivalence_test` (skewed or not), `sign_flip_test` (symmetric), `tost` (normal),
            `sign_test` (medians), `share_test` (shares), `trend_test`,
            and `holm`, `hochberg` for several at once
Effects     `hedges_g`, `hedges_g_independent`, `probability_of_improvement`, `iqm`, `skewness`
All at once `paired_comparison`

Entry i of a sample is the run of seed i, and arms compared with each other share their seeds. Nothing here
draws hidden randomness: what resamples takes a seed. Degenerate samples have defined answers, never NaN and
never a warning: no spread makes an interval a point, no difference makes p = 1, and no p is 0. Masked values
are refused. Importing this package costs numpy; scipy is imported by the functions that need it.
"""

from lrn.stats.aggregate import iqm, iqm_interval
from lrn.stats.comparison import PairedComparison, paired_comparison, paired_differences
from lrn.stats.effects import hedges_g, hedges_g_independent, probability_of_improvement
from lrn.stats.equivalence import equivalence_test, tost, tost_interval
from lrn.stats.intervals import Interval, bca_interval, mean_interval, t_interval, welch_interval
from lrn.stats.mean import mean_test, skewness
from lrn.stats.median import median_interval, sign_test
from lrn.stats.multiplicity import hochberg, holm
from lrn.stats.permutation import sign_flip_test, smallest_sign_flip_p
from lrn.stats.share import share_interval, share_test
from lrn.stats.trend import Trend, trend_test

__all__ = [
    "Interval",
    "PairedComparison",
    "Trend",
    "bca_interval",
    "equivalence_test",
    "hedges_g",
    "hedges_g_independent",
    "hochberg",
    "holm",
    "iqm",
    "iqm_interval",
    "mean_interval",
    "mean_test",
    "median_interval",
    "paired_comparison",
    "paired_differences",
    "probability_of_improvement",
    "share_interval",
    "share_test",
    "sign_flip_test",
    "sign_test",
    "skewness",
    "smallest_sign_flip_p",
    "t_interval",
    "tost",
    "tost_interval",
    "trend_test",
    "welch_interval",
]
