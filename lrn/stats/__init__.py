"""Statistics for a handful of paired seeds: intervals, exact tests, effect sizes; arrays in, floats out.

Intervals   `t_interval`, `welch_interval`, `share_interval`, `median_interval`,
            and `mean_interval` for samples with values that are not finite
Tests       `mean_test`, `equivalence_test` (skewed or not), `sign_flip_test` (symmetric), `tost` (normal),
            `sign_test` (medians), `share_test` (shares), `trend_test`,
            and `holm`, `hochberg` for several at once
Effects     `hedges_g`, `probability_of_improvement`, `skewness`, `variance_shares` of a two-way table

Entry i of a sample is the run of seed i, and arms that are compared share their seeds. Functions that
resample take a seed; there is no hidden randomness. Degenerate samples have defined results, never NaN
and never a warning: an interval of values without spread is a point, a test of zero differences gives p = 1,
and no p is 0. Masked values are refused. Importing this package imports numpy; the functions that need scipy
import it. Apart from these, `lrn.stats.cka`, `lrn.stats.features` and `lrn.stats.roots` take
arrays of jax: they compare representations, check features, and give square roots of covariances.
"""

from lrn.stats.comparison import paired_differences
from lrn.stats.effects import hedges_g, probability_of_improvement
from lrn.stats.equivalence import equivalence_test, tost
from lrn.stats.intervals import Interval, mean_interval, t_interval, welch_interval
from lrn.stats.mean import mean_test, skewness
from lrn.stats.median import median_interval, sign_test
from lrn.stats.multiplicity import hochberg, holm
from lrn.stats.permutation import sign_flip_test, smallest_sign_flip_p
from lrn.stats.share import share_interval, share_test
from lrn.stats.trend import Trend, trend_test
from lrn.stats.variance import VarianceShares, variance_shares, without_each_level

__all__ = [
    "Interval",
    "Trend",
    "VarianceShares",
    "equivalence_test",
    "hedges_g",
    "hochberg",
    "holm",
    "mean_interval",
    "mean_test",
    "median_interval",
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
    "trend_test",
    "variance_shares",
    "welch_interval",
    "without_each_level",
]
