"""A study: one claim of the notes, its predictions, and the verdict that the data then give.

Predictions are data. They are stated before the run and hashed into the run's folder; the verdict follows
from the predictions and the table of results alone. Importing this package imports no jax, so that `list`
answers at once.
"""

from lrn.study.claim import SECTIONS, Study
from lrn.study.controls import (
    BUDGETS,
    MISTAKEN,
    OVERLAP,
    Control,
    equal_budgets,
    exact_budget,
    given,
    no_overlap,
    own_state,
)
from lrn.study.findings import Findings
from lrn.study.predictions import (
    Above,
    Below,
    Cell,
    Equivalence,
    Exact,
    Finding,
    Prediction,
    Same,
    Share,
    Superiority,
    Trend,
    Within,
)
from lrn.study.regimes import OLD_FORM, Regime, by_regime
from lrn.study.verdict import judge

__all__ = [
    "BUDGETS",
    "MISTAKEN",
    "OLD_FORM",
    "OVERLAP",
    "SECTIONS",
    "Above",
    "Below",
    "Cell",
    "Control",
    "Equivalence",
    "Exact",
    "Finding",
    "Findings",
    "Prediction",
    "Regime",
    "Same",
    "Share",
    "Study",
    "Superiority",
    "Trend",
    "Within",
    "by_regime",
    "equal_budgets",
    "exact_budget",
    "given",
    "judge",
    "no_overlap",
    "own_state",
]
