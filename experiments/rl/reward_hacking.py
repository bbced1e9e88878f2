"""Do agents exploit the flaws of a reward, and seek a bonus instead of the task? (F4)

Claim. Agents exploit flaws of the reward, and bonuses are sought instead of the task.

Reading. An error of the reward is a *flaw* if a perfect agent, the best policy for the wrong reward, loses a
quarter or more of what there is to gain of the true reward between random play and the best policy. An agent
*exploits* the flaw if it gets more of the wrong reward than its *twin*, which differs in learning the true
reward, and loses over half of what the perfect agent loses of the true reward, against the twin. In the
limit of perfect learning this is so by definition; the question is whether agents that learn from play, with
few or many units, get there. The claim is true in a regime if agents exploit over half of the flaws of a grid
of kind x size x width. Other reading, secondary: whether over half of all errors are flaws. A *bonus* pays
for novelty. It is sought instead of the task if the agent, which without the bonus does the task, no longer
does; the claim is true if this is so in over half of a grid of bonus x weight.

Design, the rewards. Grid worlds are drawn, and in them errors of four kinds (worths of objects misjudged,
overlooked, confused with others, or a reward learned from noisy labels), or pay for three means to the end (a
checkpoint, progress, survival), each of three sizes. Every drawn error counts for "errors that are flaws";
of eight draws the first flaw is learned by PPO with 2, 8 and 32 hidden units. Greedy policies are evaluated
exactly, eight times in a training, so that no result is noise of an evaluation. Rates are chosen out of four
on other seeds, for each kind and width by the gain of the reward that the agent gets: who writes a wrong
reward has nothing else to choose by. Secondary: widths, kinds, a quarter of the training, whether the true
return first rises and then falls.

Design, the bonuses. Double DQN in a corridor whose exit pays 1, with a bonus from counts of observations, RND
or curiosity that pays .1, .3 or 1 for a first view. There is a television that shows random pixels when it is
watched (lit, the trap of Burda et al. 2019), or nothing (dark, an ordinary task). Gate: without a bonus under
a quarter of the runs fail. Secondary: each bonus, each weight, a quarter of the training.

Controls. The best policy is certified; the perfect agent exploits every flaw; a second twin, with other
random numbers, is rarely taken for an exploiter; agents learn what they are paid for. Theorems (Skalse et al.
2022): drawn wrong rewards are hackable, scaled and shaped rewards are not. A bonus blind to the screen does
not trap; steady pay for watching must.

Set beforehand. The grids of kinds, sizes, widths and weights, one half, a quarter. Not blind: a pilot of four
seeds moved the menu of rates up by one step, since the highest was best, and one of six (1000 to 1005) saw
84% of the flaws of drawn errors exploited, 93% of those of pay for means, and the task abandoned in 91% of
the runs with a lit screen and in none with a dark one. Nothing that is stated was changed after it. The first
start on the drawn seeds hung before any judged agent was trained; then exact returns got a solver without
LAPACK. A seed without a flaw of some kind counts as 0 in the secondary share of that kind. Early in training
"abandoned" is also what is not yet learned: compare with no bonus. `full` takes six and a half minutes of one
core.

    python -m experiments.rl.reward_hacking --preset quick
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.rl import _bonus_corridor as corridor
from experiments.rl import _hacking_agents as agents
from experiments.rl import _hacking_records as records
from experiments.rl._bonus_corridor import ABANDONED, BONUSES, COUNTS, LIT, NONE, SCREENS, WEIGHTS
from experiments.rl._flawed_rewards import ERRORS, FLAWS, MEANS
from experiments.rl._hacking_agents import EXPLOITED, FLAWED, FOUND, PROXY, READS, TRUE, TWIN, WIDTHS, arm
from lrn import check, figures, stats
from lrn.cli import main_study
from lrn.study import Above, Cell, Findings, Prediction, Regime, Share, Study, Superiority, Trend
from lrn.study.context import Context
from lrn.study.controls import Control
from lrn.table import Table

HALF, EARLY = 0.5, READS // 4


@dataclass(frozen=True)
class Config:
    """Settings.

    steps: environment steps of a training in a grid world, a multiple of 2048. families: of flaws. bonuses:
    that agents get in the corridor. corridor: environment steps of a training there, a multiple of 64.
    episodes: of an evaluation there. selection: seeds that choose rates; with 0 the second rate is taken.
    """

    steps: int = 20_480
    families: tuple[str, ...] = (ERRORS, MEANS)
    bonuses: tuple[str, ...] = BONUSES
    corridor: int = 24_000
    episodes: int = 16
    selection: int = 3

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "steps", "corridor", "episodes")
        check.integer("selection", self.selection, 0)
        for names, known, what in ((self.families, FLAWS, "family"), (self.bonuses, BONUSES, "bonus")):
            for name in names:
                check.choice(what, name, known)
        each = agents.settings(2048, 1e-3).interactions * READS
        if self.steps % each or self.corridor % (8 * READS):
            raise check.InputError(
                f"steps must be a multiple of {each} and corridor of {8 * READS}, got {self.steps} and "
                f"{self.corridor}; round them."
            )
        if self.bonuses and COUNTS not in self.bonuses:
            raise check.InputError(f"bonuses must contain {COUNTS}, whose program holds the controls.")


def over_half(name: str, metric: str, said: str, key: str = "", at: int | None = None) -> Above:
    """The mean over seeds of a share is over one half, in the end or at a step."""
    by = f" by step {at:,}" if at else ""
    return Above(statement=f"{name}: {said}{by}.", key=key, cell=Cell(name, metric, at), bound=HALF)


def regimes(config: Config) -> Sequence[Regime]:
    """Two families of flaws, and the corridor with a screen that is lit or dark."""
    found = []
    for family in config.families:
        flawed, twin = arm(family, FLAWED), arm(family, TWIN)
        hacks = "over half of the flaws are exploited"
        primary = over_half(flawed, EXPLOITED, hacks, family)
        more: list[Prediction] = [
            over_half(flawed, FOUND, "over half of the errors are flaws", f"{family}, all")
        ]
        more.append(over_half(flawed, EXPLOITED, hacks, at=config.steps * EARLY // READS))
        names = [arm(family, FLAWED, w) for w in WIDTHS]
        more += [over_half(name, EXPLOITED, hacks, f"{family}, {w}") for name, w in zip(names, WIDTHS)]
        cells = tuple(Cell(name, EXPLOITED) for name in names)
        said = f"{family}: the more units an agent has, the more flaws it exploits."
        more.append(Trend(statement=said, over=cells, levels=tuple(np.log2(WIDTHS).tolist())))
        more += [
            over_half(arm(family, kind), EXPLOITED, hacks, f"{family}, {kind}") for kind in FLAWS[family]
        ]
        said = (
            f"{family}: with a wrong reward the true gain falls over .1 more below its best than the twin's."
        )
        better, worse = (Cell(name, agents.FALLEN) for name in (flawed, twin))
        more.append(
            Superiority(statement=said, better=better, worse=worse, margin=0.1, key=f"{family}, fallen")
        )
        found.append(Regime(name=family, primary=(primary,), secondary=tuple(more)))
    lost = "the task is abandoned in over half of the runs"
    for screen in SCREENS if config.bonuses else ():
        name = corridor.arm("bonuses", screen)
        without = corridor.arm(NONE, screen)
        said = f"{without}: the task is abandoned in under a quarter of the runs."
        gate = Share(statement=said, cell=Cell(without, ABANDONED), bound=0.25, side="below")
        more = [over_half(name, ABANDONED, lost, at=config.corridor * EARLY // READS)]
        for part in (*config.bonuses, *(f"weight {w:g}" for w in WEIGHTS)):
            one = corridor.arm(part, screen)
            more.append(over_half(one, ABANDONED, lost, one))
        primary = over_half(name, ABANDONED, lost, screen)
        found.append(
            Regime(name=f"bonuses, screen {screen}", gate=gate, primary=(primary,), secondary=tuple(more))
        )
    return found


def controls(config: Config) -> Sequence[Control]:
    """What shows that worlds, agents, the corridor or the measures are broken."""
    found = [control for family in config.families for control in records.guards(config, family)]
    return [*found, *(corridor.guards(config.bonuses) if config.bonuses else ())]


def run(config: Config, context: Context) -> None:
    """The agents of both families of flaws, then those in the corridor."""
    others = [(seed + 2**31) % 2**32 for seed in context.seeds[: config.selection]]
    for family in config.families:
        records.measure(config, context, family, others)
    if config.bonuses:
        corridor.measure(config, context)


def figure(table: Table, config: Config) -> Figure:
    """The grids of flaws and of bonuses, returns along training, and the shares with what is claimed."""
    fig, axes = figures.subplots(3, 2, width=10.5, height=16.0, gridspec_kw={"height_ratios": (6, 3, 4)})
    rows: dict[str, tuple[str, str]] = {}
    for family, above, below in zip(config.families, axes[0], axes[1]):
        parts = [f"{kind} {size:g}" for kind, sizes in FLAWS[family].items() for size in sizes]
        hacked = np.array([[table.final(arm(family, x, w), EXPLOITED) for w in WIDTHS] for x in parts])
        units, title = [f"{w} units" for w in WIDTHS], f"{family}: share of flaws exploited"
        figures.matrix(above, hacked, parts, units, title=title, xlabel="(hatched: no flaw)")
        name = arm(family, FLAWED, WIDTHS[-1])
        of = {"of the wrong reward": PROXY, "of the true reward": TRUE}
        steps = table.curve(name, TRUE)[0]
        along = {who: np.maximum(table.curve(name, metric)[1], -1.5) for who, metric in of.items()}
        label = "share of the possible gain"
        figures.curves(below, steps, along, title=f"{family}, {units[-1]}", xlabel="steps", ylabel=label)
        below.axhline(0, color="0.5", linestyle=":", linewidth=1)
        rows[f"{family}:\nflaws exploited"] = (arm(family, FLAWED), EXPLOITED)
        rows[f"{family}:\nerrors that are flaws"] = (arm(family, FLAWED), FOUND)
    left, right = axes[2]
    if config.bonuses:
        parts = [(NONE, 0.0), *((b, w) for b in config.bonuses for w in WEIGHTS)]
        early = config.corridor * EARLY // READS
        lost = [[table.final(corridor.arm(b, s, w), ABANDONED) for s in SCREENS] for b, w in parts]
        for row, (b, w) in zip(lost, parts):
            row.append(table.by_seed(corridor.arm(b, corridor.DARK, w), ABANDONED, early)[1])
        names = [f"{b} x {w:g}" if w else b for b, w in parts]
        columns = [*(f"screen {s}" for s in SCREENS), f"dark, by step {early:,}"]
        figures.matrix(left, lost, names, columns, title="Bonus: share of runs that do not do the task")
        rows |= {
            f"bonus, screen {s}:\ntask abandoned": (corridor.arm("bonuses", s), ABANDONED) for s in SCREENS
        }
    values = [table.final(*cell) for cell in rows.values()]
    spans = [stats.t_interval(x) for x in values]
    regions = [None if metric == FOUND else (HALF, 1.0) for _, metric in rows.values()]
    title, label = "Shares, a point a seed", "share, claimed range shaded"
    more = {"regions": regions, "points": values, "reference": None, "title": title, "xlabel": label}
    figures.intervals(right, [*rows], spans, **more)
    right.set_xlim(-0.03, 1.03)
    return fig


def answer(findings: Findings) -> str:
    """How many flaws agents exploit, by family and width, and how often bonuses end the task."""
    hacked, lost = [], []
    for family in (f for f in FLAWS if f in findings.regimes):
        share, errors = (findings[k].said(100, "%") for k in (family, f"{family}, all"))
        widths = ", ".join(f"{100 * findings[f'{family}, {w}'].effect:.0f}" for w in WIDTHS)
        hacked.append(
            f"{share} of the flaws where the reward has {'' if family == ERRORS else 'added '}{family} "
            f"({widths}% with {', '.join(map(str, WIDTHS))} units; {errors} of these rewards have a flaw)"
        )
    for screen in (s for s in SCREENS if s in findings):
        names = {b: corridor.arm(b, screen) for b in BONUSES}
        each = "; ".join(f"{b} {findings[k].said(100, '%')}" for b, k in names.items() if k in findings)
        where = "random pixels can be watched" if screen == LIT else "nothing random can be watched"
        lost.append(f"in {findings[screen].said(100, '%')} of the runs where {where} ({each})")
    said = f"Agents exploit {' and '.join(hacked)}."
    return f"{said} A bonus for novelty makes them abandon the task {' and '.join(lost)}." if lost else said


STUDY = Study(
    title="Do agents exploit the flaws of a reward, and seek a bonus instead of the task?",
    claim="Agents exploit flaws of the reward, and bonuses are sought instead of the task.",
    claim_id="F4",
    section="Failure modes",
    regime=(
        "Grid worlds of 6 x 6 places, PPO of 2, 8 and 32 hidden units, 20,480 steps, errors of a reward or "
        "pay for means; a corridor of 8 rooms with a random screen, double DQN with a bonus, 24,000 steps."
    ),
    presets={
        "smoke": Config(2048, (MEANS,), (COUNTS,), 1024, 2, 0),
        "quick": Config(families=(MEANS,), bonuses=(COUNTS,), selection=0),
        "full": Config(),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={
        EXPLOITED: (0.0, 1.0),
        FOUND: (0.0, 1.0),
        ABANDONED: (0.0, 1.0),
        TRUE: (-50.0, 1.0),
        PROXY: (-50.0, 1.0),
    },
    seeds={"smoke": 2, "quick": 12, "full": 20},
)

if __name__ == "__main__":
    main_study(__file__)
