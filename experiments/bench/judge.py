"""``python -m experiments.bench judge [--json FILE]``: the error rates and the power of a whole study.

level: how often any regime holds, and how often any regime fails, at a nominal .05 if every true effect
    lies on its margin. This is simulated for 1, 2 and 4 regimes of 1 and 3 primary predictions, whose
    differences correlate over seeds by .5 or 0, on normal, uniform and skewed data.
power: how often all regimes hold, and how often any regime holds, for normal effects .5, 1 and 2 standard
    deviations beyond the margin.
shares: the largest level of the exact binomial test for a true share equal to the bound.

The exit code is 1 if

    any regime holds, or any fails, in more than .06 of studies on normal or uniform data, or
    the test of a share has a level above .05.

On skewed data the level is that of the test of one mean (`python -m experiments.bench stats`). The
benchmark takes three minutes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from scipy.special import ndtr
from scipy.stats import binom

from lrn import stats
from lrn.study import Above, Cell, Finding, Regime
from lrn.study.verdict import places

ALPHA = 0.05
REGIMES, PRIMARIES = (1, 2, 4), (1, 3)
EFFECTS = (0.5, 1.0, 2.0)


@dataclasses.dataclass
class Args:
    """What to simulate."""

    studies: int = 2_000
    """The number of simulated studies for each figure."""
    seeds: tuple[int, ...] = (10, 20)
    """The numbers of seeds in a study."""
    seed: int = 0
    """The seed of the random numbers."""
    json: Path | None = None
    """A file for the figures, as JSON."""


# Functions from standard normal values to a distribution of mean 0.
FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "normal": lambda z: z,
    "uniform": lambda z: ndtr(z) - 0.5,
    "exponential, left": lambda z: np.log1p(-ndtr(z)) + 1,
    "exponential, right": lambda z: -np.log1p(-ndtr(z)) - 1,
    "log-normal, left": lambda z: np.exp(0.5) - np.exp(z),
    "log-normal, right": lambda z: np.exp(z) - np.exp(0.5),
}


def differences(
    form: str, correlation: float, shape: tuple[int, int, int], rng: np.random.Generator
) -> np.ndarray:
    """Differences [studies, predictions, seeds]; those of one study correlate between predictions."""
    studies, _, seeds = shape
    shared, own = rng.standard_normal((studies, 1, seeds)), rng.standard_normal(shape)
    return FORMS[form](np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)


def p_values(d: np.ndarray) -> np.ndarray:
    """P-values [2, studies, predictions] of "above 0" and "below 0", for d [studies, predictions, seeds]."""
    sides = ("greater", "less")
    return np.array([[[stats.mean_test(x, None, 0.0, s) for x in study] for study in d] for s in sides])


def outcomes(p: np.ndarray, regimes: int, primaries: int) -> dict[str, float]:
    """The shares of studies in which any regime holds, all hold and any fails.

    Args:
        p: p-values [2, studies, predictions], from `p_values`; the first predictions are used.
        regimes: the number of regimes.
        primaries: the number of primary predictions in each regime.
    """
    asked = [
        Regime(
            name=str(r),
            primary=tuple(
                Above(statement="", cell=Cell(str(r * primaries + i), ""), bound=0.0)
                for i in range(primaries)
            ),
        )
        for r in range(regimes)
    ]
    by_study = []
    for study in np.moveaxis(p, 1, 0):

        def find(prediction: Any, study: np.ndarray = study) -> Finding:
            holds, fails = study[:, int(prediction.cell.arm)]
            return Finding(0.0, (0.0, 0.0), 0, float(holds), float(fails))

        by_study.append([place.outcome for place in places(asked, find, ALPHA)])
    return {
        "any holds": float(np.mean(["holds" in o for o in by_study])),
        "all hold": float(np.mean([set(o) == {"holds"} for o in by_study])),
        "any fails": float(np.mean(["fails" in o for o in by_study])),
    }


def levels(args: Args) -> tuple[dict[str, Any], list[str]]:
    """Print the error rates of studies in which every effect lies on its margin."""
    figures, short = {}, []
    most = max(REGIMES) * max(PRIMARIES)
    kinds = [(form, correlation) for form in FORMS for correlation in (0.0, 0.5)]
    print("any regime holds / any fails, every effect on its margin; regimes x primaries")
    print(f"{'':32}" + "".join(f"{f'{r} x {k}':>14}" for r in REGIMES for k in PRIMARIES))
    for n in args.seeds:
        for index, (form, correlation) in enumerate(kinds):
            rng = np.random.default_rng([args.seed, n, index])
            p = p_values(differences(form, correlation, (args.studies, most, n), rng))
            row = {(r, k): outcomes(p, r, k) for r in REGIMES for k in PRIMARIES}
            name = f"{form}, {correlation:g}, {n} seeds"
            figures[name] = {f"{r} x {k}": rates for (r, k), rates in row.items()}
            cells = (f"{f['any holds']:.3f} / {f['any fails']:.3f}" for f in row.values())
            print(f"{name:32}" + "".join(f"{cell:>14}" for cell in cells), flush=True)
            for (r, k), rates in row.items():
                worst = max(rates["any holds"], rates["any fails"])
                if form in ("normal", "uniform") and worst > 0.06:
                    short.append(f"{worst:.3f} for {r} x {k}, {name}")
    return figures, short


def powers(args: Args) -> dict[str, Any]:
    """Print how often regimes hold if all effects lie beyond their margins."""
    figures = {}
    most = max(REGIMES) * max(PRIMARIES)
    print("all regimes hold / any holds, normal effects beyond the margin, correlated by .5")
    print(f"{'':32}" + "".join(f"{f'{r} x {k}':>14}" for r in REGIMES for k in PRIMARIES))
    for n in args.seeds:
        for effect in EFFECTS:
            rng = np.random.default_rng([args.seed, n, int(10 * effect), 1])
            p = p_values(differences("normal", 0.5, (args.studies, most, n), rng) + effect)
            row = {f"{r} x {k}": outcomes(p, r, k) for r in REGIMES for k in PRIMARIES}
            figures[f"{effect:g} sd, {n} seeds"] = row
            cells = (f"{f['all hold']:.3f} / {f['any holds']:.3f}" for f in row.values())
            print(f"{f'{effect:g} sd, {n} seeds':32}" + "".join(f"{c:>14}" for c in cells), flush=True)
    return figures


def shares() -> tuple[dict[str, float], list[str]]:
    """Print the largest level of the test of a share, over bounds from .05 to .95 and 8 to 40 seeds."""
    bounds = np.linspace(0.05, 0.95, 19)
    figures = {}
    for n in range(8, 41):
        p = {b: [stats.share_test(k, n, b) for k in range(n + 1)] for b in bounds.tolist()}
        level = max(binom.pmf(np.flatnonzero(np.array(v) <= ALPHA), n, b).sum() for b, v in p.items())
        figures[f"{n} seeds"] = float(level)
    print(f"largest level of a share, 8 to 40 seeds: {max(figures.values()):.4f}")
    return figures, [f"share: {v:.3f} with {n}" for n, v in figures.items() if v > ALPHA]


def main(argv: list[str]) -> int:
    """Simulate and print; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench judge", description=__doc__)
    level, short = levels(args)
    power = powers(args)
    share, wide = shares()
    if args.json:
        args.json.write_text(json.dumps({"level": level, "power": power, "shares": share}, indent=1))
    for line in (*short, *wide):
        print(f"short of it: {line}")
    return int(bool(short or wide))
