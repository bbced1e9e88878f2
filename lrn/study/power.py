"""How many seeds decide a study: the chance that each regime holds or fails, simulated from pilot seeds.

A simulated study draws its seeds with replacement from the seeds of a pilot run. All cells of a seed are
drawn together, so that predictions depend on each other as in the pilot. A little normal noise (the smoothed
bootstrap; Silverman, 1986) adds values between those of the pilot, and makes up for the spread that draws
with replacement lack. Where an effect is stated beforehand, the pilot's values are shifted to have this
effect; the pilot then gives only the spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lrn import check
from lrn.study.claim import Study
from lrn.study.predictions import Finding, Prediction, Share
from lrn.study.verdict import MIN_SEEDS, POWER, places
from lrn.table import Table

COUNTS = (8, 10, 12, 15, 20, 30, 40, 60)


class Chance(NamedTuple):
    """The simulated outcomes of one regime at one number of seeds.

    holds, fails, open: the shares of simulated studies with that outcome; they sum to 1. ``open`` includes
    "not applicable".
    """

    regime: str
    seeds: int
    holds: float
    fails: float
    open: float


def chances(
    study: Study,
    config: Any,
    pilot: Table,
    effects: Mapping[str, float] | None = None,
    counts: Sequence[int] = COUNTS,
    studies: int = 400,
    seed: int = 0,
) -> list[Chance]:
    """The chance of each regime's outcomes, for each number of seeds.

    Args:
        study: the study. Its gates are judged with the regimes; its controls are not judged.
        config: the config of the pilot run.
        pilot: the table of the pilot run, of eight seeds or more.
        effects: from the key of a prediction to the effect stated for it, in the unit of its metric; all
            other predictions have the effect of the pilot.
        counts: the numbers of seeds.
        studies: how many studies to simulate for each number of seeds.
        seed: the seed of the random numbers.

    Returns:
        A `Chance` for each number of seeds and each regime.

    Raises:
        InputError: no prediction has a given key, the pilot has fewer than eight seeds, or a seed failed.
    """
    regimes = study.asked(config)
    predictions = [p for r in regimes for role, p in r.all if role != "secondary"]
    for key in effects or {}:
        check.choice("key", key, [p.key for p in predictions if p.key])
    values = {id(p): _values(p, pilot, (effects or {}).get(p.key)) for p in predictions}
    rows = []
    for count in counts:
        rng = np.random.default_rng([seed, count])
        outcomes = [
            [p.outcome for p in _study(regimes, values, count, study.alpha, rng)] for _ in range(studies)
        ]
        for i, regime in enumerate(regimes):
            share = {o: float(np.mean([row[i] == o for row in outcomes])) for o in ("holds", "fails")}
            rest = 1.0 - share["holds"] - share["fails"]
            rows.append(Chance(regime.name, count, share["holds"], share["fails"], rest))
    return rows


def enough(found: Sequence[Chance], power: float = POWER) -> dict[str, int | None]:
    """The least number of seeds that decides each regime, for or against, with the chance ``power``.

    Returns:
        From a regime's name to a number of seeds; None where no simulated number suffices.
    """
    names = dict.fromkeys(c.regime for c in found)
    return {
        name: min(
            (c.seeds for c in found if c.regime == name and max(c.holds, c.fails) >= power), default=None
        )
        for name in names
    }


def _values(prediction: Prediction, pilot: Table, effect: float | None) -> np.ndarray:
    """The values of a prediction's sides [sides, seeds] in the pilot, shifted to the stated effect."""
    values = np.stack(prediction.values(pilot))
    if values.shape[1] < MIN_SEEDS:
        raise check.InputError(
            f"the pilot has {values.shape[1]} seeds and a spread takes {MIN_SEEDS}; run the pilot with more."
        )
    if not np.isfinite(values).all():
        raise check.InputError(
            f"seeds of the pilot failed in {prediction.statement!r}; run a pilot whose seeds are finite."
        )
    if effect is None:
        return values
    return prediction.shifted(values, effect)


def _study(
    regimes: Sequence[Any], values: Mapping[int, np.ndarray], count: int, alpha: float, rng: Any
) -> list[Any]:
    """The judged regimes of one simulated study with ``count`` seeds."""
    pilots = next(iter(values.values())).shape[1]
    rows = rng.integers(0, pilots, count)
    width = (4 / (3 * pilots)) ** 0.2 / 2  # half of Silverman's width, so that noise makes up no tails

    def find(prediction: Prediction) -> Finding:
        own = values.get(id(prediction))
        if own is None:
            return Finding(0.0, (0.0, 0.0), count, 1.0, 1.0)  # secondary
        drawn = own[:, rows]
        if not isinstance(prediction, Share):
            drawn = drawn + width * own.std(1, keepdims=True) * rng.standard_normal(drawn.shape)
        return prediction.judge(list(drawn))

    return places(regimes, find, alpha)
