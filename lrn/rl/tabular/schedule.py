"""Step sizes and exploration rates as functions of how often something was visited."""

from __future__ import annotations

from lrn import check
from lrn.config import config
from lrn.supervised.schedules import inverse_power
from lrn.types import Array


@config
class Schedule:
    """``scale / (1 + rate * (n - 1)) ** power`` at the n-th visit.

    - power 0 (the default) is the constant ``scale``;
    - power 1 is ``1/n``, the sample average: the Robbins-Monro conditions hold for 0.5 < power <= 1;
    - power in between is the polynomial step size, with which Q-learning needs a number of steps polynomial
      in ``1 / (1 - discount)``, where 1/n needs one exponential in it (Even-Dar and Mansour 2003);
    - rate ``1 - discount`` with power 1 is the rescaled linear step size (Wainwright 2019).
    """

    scale: float = 1.0
    rate: float = 1.0
    power: float = 0.0

    def __post_init__(self) -> None:
        check.positive("scale", self.scale)
        check.non_negative("rate", self.rate)
        check.non_negative("power", self.power)

    def __call__(self, visits: Array) -> Array:
        """The value at visit number ``visits`` (from 1 on), of any shape."""
        return inverse_power(self.scale, self.rate, self.power)(visits - 1)
