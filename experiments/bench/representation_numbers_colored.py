"""``python -m experiments.bench representation_numbers_colored [NAME ...] [--save FOLDER]``: Colored MNIST.

Each line trains one method on ten seeds and reports accuracies in training and at test (the color flipped
with chance .9), as means over seeds with 95% t intervals, beside what is known. The exit code is 1 if a mean
differs from a known one (Welch's test at .05), or lies outside of a known range.

published ERM, IRM, grey: the protocol and the settings of Arjovsky et al. (2019), of whose ten restarts the
    means and standard deviations are known: 50,000 images at 14x14x2 in two environments, all rows at each of
    500 steps (grey: 100), labels and colors drawn once. IRM takes most of an hour for two seeds on one core.
redrawn ERM, IRM, grey: the same on 5,000 images with labels and colors redrawn at each step, within .05 of a
    pilot in another library.
fixed IRM: 5,000 images with labels and colors drawn once: the flipped labels are memorized, and IRM is worse
    than chance at test (the pilot, whose settings are not known, had .36 to .41).

The rules that choose among the authors' numbers of steps (100, 200, ... 500) are compared: validation in the
training environments, on MNIST's test images; validation in one environment of a network trained on the
other, in two halves (``--left-out``, which doubles the cost); and the oracle, on half of the test rows. What
they chose is judged on the other half of the test rows. The authors chose all settings by the oracle.

With ``--save`` a stopped seed is resumed and a finished one is read, so that more seeds can be added.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from scipy import stats as scipy_stats

from experiments.bench._colored_lines import LINES, figures
from lrn import check, stats
from lrn.data import colored_mnist as colored
from lrn.xla.runtime import enable_compilation_cache


@dataclasses.dataclass
class Args:
    """What to run."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names of lines, such as "published IRM"; all by default."""
    save: Path | None = None
    """A folder for checkpoints and results, from which the same command resumes."""
    left_out: bool = False
    """Train without each environment too, for the rule "leave one environment out"."""
    seeds: int = 10
    """The number of seeds."""
    first_seed: int = 0
    """The first seed; use 1000 and above for trials."""
    json: Path | None = None
    """A file for the figures, as JSON."""


def main(argv: list[str]) -> int:
    """Train, evaluate, compare; see the module's docstring."""
    prog = "python -m experiments.bench representation_numbers_colored"
    args = tyro.cli(Args, args=argv, prog=prog, description=__doc__)
    check.integer("seeds", args.seeds, low=1)
    check.integer("first-seed", args.first_seed, low=0)
    for name in args.names:
        if name not in LINES:
            raise check.InputError(f"there is no line {name!r}; {check.nearest(name, LINES)}")
    enable_compilation_cache()
    reached, rows = True, {}
    print(f"{'':<16}{'figure':<44}{'mean':>26}{'known':>20}")
    for name in args.names or LINES:
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        found = [kept(args, name, seed) for seed in seeds]
        rows[name] = {}
        for figure in found[0]:
            values = np.array([one[figure] for one in found])
            mean, low, high = values.mean(), *interval(values)
            known, good = compared(values, LINES[name].known.get(figure), LINES[name].images)
            reached &= good
            note = "" if good else "  differs"
            print(
                f"{name:<16}{figure:<44}{f'{mean:.3f} [{low:.3f}, {high:.3f}]':>26}{known:>20}{note}",
                flush=True,
            )
            rows[name][figure] = {"mean": mean, "low": low, "high": high, "by_seed": values.tolist()}
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1))
    return int(not reached)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95% t interval of the mean; both ends are the mean of a single value."""
    if len(values) < 2:
        return values[0], values[0]
    _, low, high = stats.t_interval(values)[:3]
    return float(low), float(high)


def compared(values: np.ndarray, known: tuple[float, float] | None, images: int) -> tuple[str, bool]:
    """What is known of a figure, in words, and whether the values agree with it."""
    if known is None:
        return "", True
    mean, own = values.mean(), known
    if images < colored.TRAINING:
        return f"{own[0]:.2f} to {own[1]:.2f}", bool(own[0] <= mean <= own[1])
    said = f"{own[0]:.3f} (sd {own[1]:.3f})"
    if len(values) < 2:
        return said, True
    sd = float(np.std(values, ddof=1))
    p = scipy_stats.ttest_ind_from_stats(mean, sd, len(values), *own, 10, equal_var=False).pvalue
    return said, bool(p > 0.05)


def kept(args: Args, name: str, seed: int) -> dict[str, float]:
    """The figures of one seed, or those that the folder has."""
    label = f"{name} {seed}" + (" left out" if args.left_out else "")
    file = args.save and args.save / f"{'_'.join(label.split())}.json"
    if file and file.exists():
        return json.loads(file.read_text())
    found = figures(
        LINES[name], seed, args.left_out, args.save and args.save / f"{'_'.join(name.split())}_{seed}"
    )
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))
    return found
