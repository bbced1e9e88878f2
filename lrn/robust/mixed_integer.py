"""The mixed-integer program of a ReLU network (Tjeng et al. 2019, arXiv 1711.07356), in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from lrn.robust.dense_network import Affine, Interval


class Answer(NamedTuple):
    """The answer of a program.

    inputs: the pixels [in] of the best solution found, or None. lower: a proven lower bound of the
        objective over the solutions below the cutoff, or the cutoff if there are none.
    proven: whether the search ended before the time.
    """

    inputs: np.ndarray | None
    lower: float
    proven: bool


class Program:
    """The constraints of a network over a box of pixels.

    The columns are the pixels, the outputs of all hidden neurons, a binary for each neuron whose bounds
    have both signs, and the radius of a ball around ``center``, which only `smallest_radius` uses.
    """

    def __init__(
        self,
        network: Sequence[Affine],
        bounds: Sequence[Interval],
        low: np.ndarray,
        high: np.ndarray,
        center: np.ndarray | None = None,
    ):
        """Build the constraints.

        Args:
            network: the affine maps.
            bounds: bounds before each ReLU over the box.
            low, high: the box of pixels [in].
            center: the center [in] of the ball; None without a ball.
        """
        crosses = [(below < 0) & (above > 0) for below, above in bounds]
        sizes = [low.size, *(mask.size for mask in crosses), sum(mask.sum() for mask in crosses), 1]
        starts = np.cumsum([0, *sizes])
        self.network, self.constraints = network, []
        self.inputs, self.last = slice(0, low.size), slice(starts[-4], starts[-3])
        self.low, self.high = np.zeros(starts[-1]), np.ones(starts[-1])
        self.low[self.inputs], self.high[self.inputs] = low, high
        self.integrality = np.zeros(starts[-1])
        self.integrality[starts[-3] : starts[-2]] = 1
        binary = starts[-3]
        for i, (layer, mask) in enumerate(zip(network, crosses)):
            before, after = (slice(starts[k], starts[k + 1]) for k in (i, i + 1))
            self.low[after], self.high[after] = (np.maximum(side, 0) for side in bounds[i])
            self._neurons(layer, bounds[i], before, after, np.flatnonzero(mask), binary)
            binary += mask.sum()
        if center is not None:
            self._ball(center)

    def _constrain(self, rows: np.ndarray, low: ArrayLike, high: ArrayLike) -> None:
        if len(rows):
            self.constraints.append(LinearConstraint(csr_array(rows), low, high))  # pyright: ignore[reportArgumentType]

    def _neurons(
        self, layer: Affine, bounds: Interval, before: slice, after: slice, crossing: np.ndarray, binary: int
    ) -> None:
        """The constraints of one hidden layer; a neuron that is always off is fixed by its bounds.

        Args:
            layer, bounds: the affine map, and the bounds before its ReLU.
            before, after: the columns of the layer's inputs and outputs.
            crossing: the neurons that may be on or off. binary: the column of the first one's binary.
        """
        below, above = (side[crossing] for side in bounds)
        gap = np.zeros((len(bounds[0]), len(self.low)))  # the output minus the value before the ReLU
        gap[:, after], gap[:, before] = np.eye(len(gap)), -layer.weights
        on = bounds[0] >= 0
        self._constrain(gap[on], layer.offset[on], layer.offset[on])
        self._constrain(gap[crossing], layer.offset[crossing], np.inf)
        place, columns = np.arange(len(crossing)), binary + np.arange(len(crossing))
        closed = gap[crossing]  # output <= value - below * (1 - binary)
        closed[place, columns] = -below
        self._constrain(closed, -np.inf, layer.offset[crossing] - below)
        closed = np.zeros_like(closed)  # output <= above * binary
        closed[place, after.start + crossing], closed[place, columns] = 1, -above
        self._constrain(closed, -np.inf, 0)

    def _ball(self, center: np.ndarray) -> None:
        rows = np.zeros((center.size, len(self.low)))
        rows[:, self.inputs] = np.eye(center.size)
        rows[:, -1] = -1
        self._constrain(rows, -np.inf, center)
        rows[:, -1] = 1
        self._constrain(rows, center, np.inf)

    def smallest_margin(
        self, label: int, target: int, cutoff: float, time_limit: float, first: bool = False
    ) -> Answer:
        """The smallest z_label - z_target up to ``cutoff``, or the first one found."""
        row, offset = self._margin(label, target)
        limit = LinearConstraint(row[None], -np.inf, cutoff - offset)
        answer = self._solve(row, limit, self.high, time_limit, np.inf if first else 0.0)
        if answer is None:
            return Answer(None, cutoff, True)
        return answer._replace(lower=min(answer.lower + offset, cutoff))

    def smallest_radius(self, label: int, target: int, cutoff: float, time_limit: float) -> Answer:
        """The smallest radius up to ``cutoff`` of a ball with a point where z_label <= z_target."""
        row, offset = self._margin(label, target)
        limit, high = LinearConstraint(row[None], -np.inf, -offset), self.high.copy()
        high[-1] = cutoff
        answer = self._solve(np.eye(1, len(high), len(high) - 1)[0], limit, high, time_limit, 0.0)
        return Answer(None, cutoff, True) if answer is None else answer

    def _margin(self, label: int, target: int) -> tuple[np.ndarray, float]:
        weights, offset = self.network[-1]
        row = np.zeros(len(self.low))
        row[self.last] = weights[label] - weights[target]
        return row, float(offset[label] - offset[target])

    def _solve(
        self, objective: np.ndarray, limit: LinearConstraint, high: np.ndarray, seconds: float, gap: float
    ) -> Answer | None:
        """The answer of HiGHS; None for a proof that there is no solution."""
        result = milp(
            objective,
            integrality=self.integrality,
            bounds=Bounds(self.low, high),  # pyright: ignore[reportArgumentType]
            constraints=[*self.constraints, limit],
            options={"time_limit": seconds, "mip_rel_gap": gap},
        )
        if result.status == 2:
            return None
        found = result.x is not None
        lower = result.mip_dual_bound
        if lower is None or not self.integrality.any():  # a linear program has no dual bound of its own
            lower = result.fun if result.status == 0 else -np.inf
        return Answer(result.x[self.inputs] if found else None, float(lower), result.status == 0)
