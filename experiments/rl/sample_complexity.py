"""Do episodes to solve a task grow exponentially or by a power law, in what, and by which method? (Q4)

The question is open, so the answer is a set of curves and not a verdict.
Design. A task has a size, and a run learns until it has solved the task in three checks in a row; it takes
the episodes up to the first of these, and is given up at a limit. All methods of a regime meet the same
sizes, which span a factor of 10 or more; a size is not run where no run of the size before it was solved, and
counts as given up.
- horizon: DeepSea of 3 to 36 rows, where only going right in every row pays. Q-learning in a table explores
  by random actions (the best that dithering can do, since a preference for what pays so far lowers the
  chance), UCB (tries what it rarely tried in a place), optimistic values, or a bonus for rare actions.
- bits shown: a bandit, whose episodes are single samples, shows 3 to 36 random bits and asks for the first.
  A table of all contexts and a network learn the values of random actions; another network learns a policy.
  The first network also learns the parity of two bits.
- bits that matter: the same networks, and the parity of all bits.
- architecture: the parity of two of eight bits; Q-networks of 4 to 64 units a layer, or of 1 to 10 layers.

Law. Of a seed the episodes at a size are the median over its runs, "more than the limit" where most were
given up. A power law (log episodes is linear in log size) and an exponential (linear in the size) are fitted
by likelihood with censoring to the sizes where nine of ten runs were solved, except those above two thirds of
the largest, which both laws then predict. The lead says on which side of the middle of both predictions the
episodes lie. A series is called after the law that leads, where the interval of the lead, joint over all
series, excludes 0; the answer also says by how much that law misses. Else the two are not told apart.

Set beforehand: these rules, and a margin for the architecture: twice the units or layers cost under sqrt(2)
times the episodes. At every size four settings a method are tried on other seeds; the one all of whose runs
are solved first is chosen, or else the one with the most.

Controls. Planted laws, with the same sizes, limit, seeds and runs and a spread as in pilots, are told apart;
they agree at the smallest size and at one in the middle, with few exponentials beyond. Random actions take
2^(N+1) - 2 episodes on average (each of the N updates that carry the treasure's value up waits for a run to
the right), a table about one doubling a bit. Nothing is solved without learning. The learners count as many
steps as we do. Choices at the edge of a menu, and wider spreads, are flagged.

Not blind: pilots on seeds 1000 to 1007, by steps and not episodes, set menus, sizes and spreads. A registered
run of an earlier form, with 16,384 episodes for bandits too, came to the same answers but left parity open
(to 8 bits). So that limit was doubled, and two menus were moved.
After the run: a width beyond 8 units changes little, so that no one law describes it. Of bits shown networks
are slower still than their power law. Choices at edges of menus are frequent, as most settings do as well.

    python -m experiments.rl.sample_complexity --preset quick     # full: 353 s of processor time
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.rl import _growth_runs as runs
from experiments.rl._growth_laws import EXPONENT, EXPONENTIAL, LEAD, MISSES, POWER, RATE, SPREAD
from experiments.rl._growth_runs import DEPTH, MATTER, ROWS, SHOWN, WIDTH, Series
from experiments.rl._growth_tasks import COUNTS, OPTIMISM, POLICY, RANDOM, TABLE, UCB, VALUES
from lrn import check, figures, stats
from lrn.cli import main_study
from lrn.study import Below, Cell, Control, Exact, Findings, Prediction, Regime, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import equal_budgets
from lrn.study.select import interior_choice
from lrn.table import Table

REGIMES = {"horizon": (ROWS,), SHOWN: (SHOWN,), MATTER: (MATTER,), "architecture": (WIDTH, DEPTH)}
UNITS = {ROWS: "row", SHOWN: "bit", MATTER: "bit", WIDTH: "unit", DEPTH: "layer"}
JOINT, CHEAP, PLANTED = " | ", 0.5, (ROWS, SHOWN, WIDTH, DEPTH)
NOISE = {ROWS: 0.8, SHOWN: 0.5, MATTER: 0.5, WIDTH: 0.5, DEPTH: 0.5}  # spread of planted log2 episodes
SERIES = (
    Series(ROWS, RANDOM, RANDOM),
    Series(ROWS, UCB, UCB, EXPONENTIAL),
    Series(ROWS, OPTIMISM, OPTIMISM, POWER),
    Series(ROWS, COUNTS, COUNTS, POWER),
    Series(SHOWN, TABLE, TABLE),
    Series(SHOWN, VALUES, VALUES, POWER),
    Series(SHOWN, POLICY, POLICY, POWER),
    Series(SHOWN, runs.TWO, VALUES, POWER),
    Series(MATTER, VALUES, VALUES, EXPONENTIAL),
    Series(MATTER, POLICY, POLICY, EXPONENTIAL),
    Series(WIDTH, VALUES, VALUES, "cheap"),
    Series(DEPTH, VALUES, VALUES, "cheap"),
)
UNTAUGHT = (Series(ROWS, RANDOM, RANDOM), Series(MATTER, VALUES, VALUES))


@dataclass(frozen=True)
class Config:
    """Settings.

    sizes: rows or bits. widths, depths: of networks. bits, width, depth: where something else grows. table:
    the most bits of a table. limits (episodes) and repeats (runs of a seed): on DeepSea, and on bandits.
    """

    sizes: tuple[int, ...] = (3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 24, 36)
    widths: tuple[int, ...] = (4, 6, 8, 12, 16, 24, 32, 48, 64)
    depths: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10)
    bits: int = 8
    width: int = 32
    depth: int = 2
    table: int = 16
    limits: tuple[int, int] = (16_384, 32_768)
    repeats: tuple[int, int] = (5, 3)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "bits", "width", "depth", "table")
        for n in (*self.limits, *self.repeats):
            check.integer("a limit, or repeats,", n, low=2)
        for name in ("sizes", "widths", "depths"):
            sizes = getattr(self, name)
            if len(sizes) < 3 or list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
                raise check.InputError(f"{name} must be three or more increasing sizes, got {list(sizes)}.")

    def along(self, axis: str) -> tuple[int, ...]:
        """The sizes along an axis."""
        return {WIDTH: self.widths, DEPTH: self.depths}.get(axis, self.sizes)

    def limit(self, axis: str) -> int:
        """The limit along an axis."""
        return self.limits[axis != ROWS]

    def runs(self, axis: str) -> int:
        """The runs of a seed at each size along an axis."""
        return self.repeats[axis != ROWS]


def over(said: str, high: Cell | float, low: Cell | float, key: str = "") -> Superiority:
    """One value exceeds another."""
    return Superiority(statement=said, key=key, better=high, worse=low)


def key(metric: str, arm: str) -> str:
    """The key of a value."""
    return metric + JOINT + arm


def primary(series: Series) -> Prediction:
    """What is expected of a series."""
    if series.expected == "cheap":
        said = f"{series.arm}: twice the size costs under sqrt(2) times the episodes."
        return over(said, CHEAP, Cell(series.arm, EXPONENT))
    said, cell = f"{series.arm}: the {series.expected} predicts larger sizes better.", Cell(series.arm, LEAD)
    return over(said, cell, 0.0) if series.expected == EXPONENTIAL else over(said, 0.0, cell)


def regimes(config: Config) -> Sequence[Regime]:
    """What is expected, and as secondary predictions the numbers of each series."""
    found = []
    for name, axes in REGIMES.items():
        own = [s for s in SERIES if s.axis in axes]
        shown = [
            over(f"{s.arm}: {metric}.", Cell(s.arm, metric), 0.0, key(metric, s.arm))
            for s in own
            for metric in (LEAD, EXPONENT, RATE, *MISSES.values(), runs.SEEN)
        ]
        asked = tuple(primary(s) for s in own if s.expected)
        found.append(Regime(name=name, primary=asked, secondary=tuple(shown)))
    return found


def controls(config: Config) -> Sequence[Control]:
    """Planted laws are told, known growths are found, steps are counted, nothing comes from nothing."""
    checks: list[Prediction] = []
    for axis in PLANTED:
        for law in (POWER, EXPONENTIAL):
            said, cell = f"{runs.plant(law, axis)}: is told.", Cell(runs.plant(law, axis), LEAD)
            checks.append(over(said, cell, 0.0) if law == EXPONENTIAL else over(said, 0.0, cell))
    random, table = (Series(axis, m, m).arm for axis, m in ((ROWS, RANDOM), (SHOWN, TABLE)))
    said = "Random actions take as many episodes as theory says, within a fifth."
    checks.append(Within(statement=said, cell=Cell(random, runs.RATIO), low=0.8, high=1.25))
    said = "A table takes one doubling a bit, within .15."
    checks.append(Within(statement=said, cell=Cell(table, RATE), low=0.85, high=1.15))
    for s in UNTAUGHT:
        said = f"{s.arm}: nothing is solved without learning."
        checks.append(Exact(statement=said, cell=Cell(f"{s.arm}, {runs.IDLE}", runs.SHARE), value=0.0))
    tried = [s.arm for s in SERIES if len(runs.MENUS[s.method]) > 1]
    flags = [*map(interior_choice, tried)]
    alike = [equal_budgets("environment steps", (s.arm, f"{s.arm}, {runs.COUNTED}")) for s in SERIES]
    for s in SERIES:
        said, cell = f"{s.arm}: runs spread no more than planted ones.", Cell(s.arm, SPREAD)
        flags.append(Control(Below(statement=said, cell=cell, bound=NOISE[s.axis]), "flag"))
    return [*map(Control, checks), *flags, *alike, equal_budgets("candidates", tried)]


def run(config: Config, context: Context) -> None:
    """Run every series at every size, measure its growth, and that of planted laws."""
    for series in SERIES:
        runs.grow(config, context, series)
    for series in UNTAUGHT:
        runs.untaught(config, context, series, config.sizes[min(5, len(config.sizes) - 1)])
    for axis in PLANTED:
        runs.plants(config, context, axis, NOISE[axis])


def figure(table: Table, config: Config) -> Figure:
    """Episodes over the size along each axis, and the leads of all series with joint intervals and seeds."""
    fig, axes = figures.subplots(3, 2, width=9.6, height=11.0)
    for ax, axis in zip(axes.flat, UNITS):
        sizes, own = config.along(axis), [s for s in SERIES if s.axis == axis]
        values = {s.label: np.stack([table.by_seed(s.arm, runs.STEPS, n)[1] for n in sizes], 1) for s in own}
        limit, name = config.limit(axis), f"{config.limit(axis):,}"
        known = {label: np.where(v < np.log2(limit), 2**v, np.inf) for label, v in values.items()}
        figures.curves(ax, sizes, known, xlabel=axis, ylabel="episodes", limit=limit, limit_name=name)
        ax.set(xscale="log", xticks=sizes[::2], xticklabels=sizes[::2])
        ax.set_yscale("log", base=2)
        ax.minorticks_off()
    ax, level = axes[-1, -1], 1 - 0.05 / len(SERIES)
    for i, s in enumerate(SERIES):
        lead, look = table.final(s.arm, LEAD), figures.arm_style(ax, s.label)
        mean, low, high = stats.mean_interval(lead, level)
        ax.plot(lead, np.full(len(lead), -i), ".", color=look.color, markersize=3, alpha=0.4)
        ax.plot([low, high], [-i, -i], color=look.color)
        ax.plot(mean, -i, look.marker, color=look.color)
        ax.text(0.02, -i, s.arm, transform=ax.get_yaxis_transform(), fontsize="x-small", va="center")
    ax.axvline(0.0, color="0.5", linewidth=1)
    ax.set(title="Power law (left) or exponential (right)", xlabel="lead, doublings", yticks=[])
    ax.set(xlim=(-7.0, 2.5), ylim=(-len(SERIES), 1.0))
    return fig


def answer(findings: Findings) -> str:
    """By axis the law of each series with its slope, and how far it was solved."""
    arms = [k.split(JOINT)[1] for k in findings if k.startswith(LEAD + JOINT)]
    said: dict[str, list[str]] = {}
    for arm in arms:
        axis, label = arm.split(": ")
        said.setdefault(axis, []).append(f"{label} {grows(findings, arm, len(arms))}")
    each = "; ".join(f"{axis}: {', '.join(of)}" for axis, of in said.items())
    return f"How episodes to solve grow, with joint intervals, by what grows: {each}."


def grows(findings: Findings, arm: str, points: int) -> str:
    """The growth of one series in words."""
    lead, power, rate = (findings[key(m, arm)].joint(points) for m in (LEAD, EXPONENT, RATE))
    seen, unit = f"{findings[key(runs.SEEN, arm)].effect:.0f}", UNITS[arm.split(": ")[0]]
    if not np.isfinite(lead.effect):
        return f"is solved at too few sizes (to {seen})"
    law = EXPONENTIAL if lead.low > 0 else POWER if lead.high < 0 else ""
    sizes = {
        POWER: f"exponent {power.said(digits=1)}",
        EXPONENTIAL: f"{rate.said(digits=2)} doublings a {unit}",
    }
    miss = findings[key(MISSES[law or POWER], arm)].joint(points)
    off = f", off by {miss.said(digits=1)} doublings" if law and (miss.low > 1 or miss.high < -1) else ""
    if not law:
        return f"not told apart ({', '.join(sizes.values())}; to {seen})"
    return f"{law} ({sizes[law]}; to {seen}{off})"


STUDY = Study(
    title="Do samples to solve grow exponentially or by a power law?",
    claim="Open: are the samples to solve a task exponential or a power law in horizon, dimension, network?",
    claim_id="Q4",
    section="Open questions",
    regime=(
        "DeepSea of 3 to 36 rows, Q-learning in a table; bandits of 3 to 36 bits, a table or networks; "
        "networks of 4 to 64 units or 1 to 10 layers; 16,384 episodes at most (bandits 32,768)."
    ),
    presets={
        "smoke": Config((2, 3, 4), (2, 3, 4), (1, 2, 3), 4, 4, 3, 4, (512, 512), (2, 2)),
        "quick": Config((3, 4, 5, 6, 7, 8, 10, 12), (4, 8, 12, 16, 32), (1, 2, 3, 4, 5), limits=(4096, 4096)),
        "full": Config(),
    },
    question=True,
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={
        **dict.fromkeys((LEAD, *MISSES.values()), (-60.0, 60.0)),
        **dict.fromkeys((EXPONENT, RATE), (-20.0, 20.0)),
        runs.SHARE: (0.0, 1.0),
        SPREAD: (0.0, 20.0),
        runs.RATIO: (0.0, 100.0),
    },
    seeds={"smoke": 2, "quick": 8, "full": 12},
)

if __name__ == "__main__":
    main_study(__file__)
