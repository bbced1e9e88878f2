"""A finished training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lrn import check
from lrn.table import Table
from lrn.train.log import Failure
from lrn.train.saved import one_arm, one_lane
from lrn.types import PyTree


class Fit(NamedTuple):
    """A finished training.

    state: the final states, leaves [arms, seeds, ...].
    table: all metric rows, in order of step.
    failures: the first `Failure` of each lane that failed. A failed lane changes nothing in other lanes.
    arms, seeds: the names of the two leading axes of ``state``.
    timing: seconds spent on "compile", "train", "evaluate" and "save"; work that a resume skipped costs 0.
    cpu: CPU-seconds of this process, over all its threads, under the keys of ``timing``. On a shared machine
        these are the fair measure.
    memory: the bytes that the compiled steps take on one device: "arguments", "outputs" and "temporaries".
        Empty where nothing was compiled, and where the backend does not report its memory.
    """

    state: PyTree
    table: Table
    failures: list[Failure]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    timing: dict[str, float]
    cpu: dict[str, float]
    memory: dict[str, int]

    def arm(self, name: str) -> PyTree:
        """The final states of one arm, leaves [seeds, ...].

        Raises:
            ValueError: there is no such arm.
        """
        return one_arm(self.state, self.arms, name)

    def lane(self, arm: str, seed: int) -> PyTree:
        """The final state of one arm and seed, as the learner's `step` and `policy` take it.

        Raises:
            ValueError: there is no such arm or seed.
        """
        return one_lane(self.state, self.arms, self.seeds, arm, seed)

    def lost(self, arm: str) -> np.ndarray:
        """Whether each seed of an arm failed (became non-finite), bool [seeds].

        Raises:
            ValueError: there is no such arm.
        """
        check.choice("arm", arm, self.arms)
        failed = {f.seed for f in self.failures if f.arm == arm}
        return np.array([seed in failed for seed in self.seeds])
