"""The rows of the peers' references, and plain Python counts to compare with."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

REFERENCES = json.loads(Path(__file__).with_name("references").joinpath("metrics.json").read_text())
Y, D, GROUP, WEIGHT, X = (
    np.asarray(REFERENCES["rows"][k]) for k in ("y", "decision", "group", "weight", "x")
)
SCORE = np.random.default_rng(0).uniform(size=len(Y)) * 0.6 + 0.4 * Y


def count(y, d, weight=None):
    """tp, fp, fn, tn by a loop."""
    found = {(1, 1): 0.0, (0, 1): 0.0, (1, 0): 0.0, (0, 0): 0.0}
    for i in range(len(y)):
        found[int(y[i]), int(d[i])] += 1 if weight is None else weight[i]
    return found[1, 1], found[0, 1], found[1, 0], found[0, 0]


def over(a, b):
    return a / b if b else math.nan
