"""What a claim predicts, as data, and how the results of a run answer.

A prediction names cells of the table of results and compares an effect with a margin. The prediction *holds*
where a one-sided test finds the effect beyond the margin, and *fails* where a one-sided test finds the effect
short of the margin; otherwise the prediction is open.
"""

from lrn.study.predictions.base import Cell, Finding, How, Prediction, Side, plain
from lrn.study.predictions.exact import Exact, Same
from lrn.study.predictions.means import SKEWED, Above, Below, Equivalence, Superiority, Within
from lrn.study.predictions.shares import Share
from lrn.study.predictions.stored import restored
from lrn.study.predictions.trends import Trend

__all__ = [
    "SKEWED",
    "Above",
    "Below",
    "Cell",
    "Equivalence",
    "Exact",
    "Finding",
    "How",
    "Prediction",
    "Same",
    "Share",
    "Side",
    "Superiority",
    "Trend",
    "Within",
    "plain",
    "restored",
]
