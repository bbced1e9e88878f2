"""The driver: `fit` trains configs x seeds as one compiled call; `load` reads what `fit` saved."""

from lrn.train.driver import Fit, fit
from lrn.train.log import Failure, Sink
from lrn.train.program import Evaluate
from lrn.train.saved import Training, load
from lrn.train.warn import PrecisionWarning, ScheduleWarning

__all__ = [
    "Evaluate",
    "Failure",
    "Fit",
    "PrecisionWarning",
    "ScheduleWarning",
    "Sink",
    "Training",
    "fit",
    "load",
]
