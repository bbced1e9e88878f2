"""Does the shape of the reward matter more than the algorithm? (O5)

Claim. The shape of the reward matters more than the algorithm, and bad shaping degenerates under any.

Reading. The reward matters more if it explains more of the variance of scores than the algorithm, by a tenth
of the variance; less would change nobody's choice. Bad shaping degenerates under any algorithm if the one
that copes best with it keeps under half of what it reaches with good shaping. The claim is true on a task if
both hold, and false if either fails. Secondary: bad shaping does worse than none.

Design. The levels of a factor decide such a comparison, so they come from stated populations, used whole.
Rewards: the environment's own, plain or with a term. A term has a quantity of the state of which more looks
better, two a task; a form: a bonus, a penalty for the lack of it, or progress (a difference of potentials,
which keeps the best policies best); and a weight of a third or of three times the own reward. No term has a
wrong sign or was picked for its effect. Every reward is divided by the spread of its returns under random
play, so that no algorithm suffers from mere units. Algorithms: the library's five families for discrete
actions (REINFORCE with a baseline, A2C, PPO, double DQN, PQN), with equal networks and steps. The tasks:
MountainCar, where the plain reward says nothing until the goal is reached, and CartPole, where it says all.

A score is the greedy policy's return by the environment's own reward, 0 for random play or failure and 1 for
solved, in the mean over three budgets (a quarter, half, all of the training), so that no single one decides;
each alone is secondary. The table of rewards by algorithms of each seed has three components of variance
(two-way analysis of variance, random levels): rewards, algorithms, and the rest, which is interaction and
chance. Bad and good shaping are the quarters of the shaped rewards with the lowest and the highest mean over
algorithms; the algorithm that copes best has the highest mean with the bad (of those within five points, the
highest with the good). For each seed all other seeds choose them. Leave-one-level-out: the difference of
shares without any one reward, algorithm, form, weight or quantity. Gate: some algorithm makes half of the way
with good shaping.

Controls. Tabular learning with a potential makes the updates of learning that starts at it (Wiewiora 2003),
and a potential that is kept at ends is found out. Without a reward, and at a rate of zero, nothing is
learned. Scores are what the environment pays. Steps are equal.

Set beforehand. A tenth, half, a quarter of rewards. Each algorithm has on each task the rate of three that
does best on two other seeds, in the mean over all rewards. Not blind: an older form compared four rewards on
the same tasks. Pilots of one seed saw scores, and moved menus of rates whose best lay at the edge; no pilot
with all algorithms was run. docs/results/method.md tells of a second run. `full`: 14 minutes of a processor.

    python -m experiments.rl.reward_shaping --preset quick
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.rl import _shaped_learners as learners
from experiments.rl import _shaped_table as tabled
from experiments.rl import _shaping_theory as theory
from experiments.rl._shaped_learners import ALGORITHMS, BUDGETS, RATES
from experiments.rl._shaped_rewards import NOTHING, PLAIN, TASKS, groups, population, scaled
from experiments.rl._shaped_table import BAD, COPES, FACTORS, GOOD, HALF, arm, share
from lrn import check, figures, stats
from lrn.cli import main_study
from lrn.study import Above, Below, Cell, Exact, Findings, Prediction, Regime, Study, Superiority
from lrn.study.context import Context
from lrn.study.controls import Control, equal_budgets, exact_budget
from lrn.study.select import interior_choice
from lrn.table import Table

SCORE, PAY, UNTRAINED = "score", "other pay", "no learning"
MARGIN, WAY = 0.1, 0.5


@dataclass(frozen=True)
class Config:
    """Settings.

    tasks: names. algorithms: names of two or more. steps: environment steps of each training, a multiple of
    16000. episodes: of an evaluation. selection: seeds that choose rates; with 0 the middle one is taken.
    tabular: steps of the control of theory.
    """

    tasks: tuple[str, ...] = tuple(TASKS)
    algorithms: tuple[str, ...] = ALGORITHMS
    steps: int = 48_000
    episodes: int = 8
    selection: int = 2
    tabular: int = 3000

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in self.tasks:
            check.choice("task", name, TASKS)
        for name in self.algorithms:
            check.choice("algorithm", name, ALGORITHMS)
        if len(set(self.algorithms)) != len(self.algorithms) or len(self.algorithms) < 2:
            raise check.InputError("algorithms must name two to five different ones; repeat none.")
        check.counts(self, "steps", "episodes", "tabular")
        check.integer("selection", self.selection, low=0)
        if self.steps % learners.ROUND:
            raise check.InputError(f"steps must be a multiple of {learners.ROUND}; got {self.steps}.")


def regime(config: Config, task: str) -> Regime:
    """The claim on one task."""

    def more(key: str = "", budget: str = "") -> Superiority:
        said = f"{task}: of the variance{f' at {budget}' if budget else ''} the reward has a tenth more."
        one, other = (Cell(task, share(f, budget)) for f in FACTORS[:2])
        return Superiority(statement=said, key=key, better=one, worse=other, margin=MARGIN)

    def falls(name: str, key: str = "") -> Superiority:
        said, cells = f"{arm(task, name)} keeps under half with bad shaping.", Cell(arm(task, name), HALF)
        return Superiority(statement=said, key=key, better=cells, worse=Cell(arm(task, name), BAD))

    def shown(said: str, key: str, cell: Cell, bound: float) -> Above:
        return Above(statement=f"{task}: {said}", key=f"{key}, {task}", cell=cell, bound=bound)

    copes, best, weakest = (arm(task, name) for name in (COPES, tabled.BEST, tabled.WEAKEST))
    secondary: list[Prediction] = [
        *(
            shown(f"the {f} has over half of the variance.", f, Cell(task, share(f)), 0.5)
            for f in FACTORS[:2]
        ),
        *(more(budget=b) for b in BUDGETS),
        *map(falls, config.algorithms),
        shown("under bad shaping the one that copes best makes half.", "bad", Cell(copes, BAD), WAY),
        shown("with good shaping the same makes half of the way.", "good", Cell(copes, GOOD), WAY),
        shown("with good shaping the weakest makes half.", "weakest", Cell(weakest, GOOD), WAY),
    ]
    said, none, bad = f"{copes}: bad shaping is worse than none, by .1.", Cell(copes, PLAIN), Cell(copes, BAD)
    secondary.append(Superiority(statement=said, key=f"harm, {task}", better=none, worse=bad, margin=0.1))
    if len(config.algorithms) > 2:
        least, most = Cell(task, tabled.LEAST), Cell(task, tabled.MOST)
        secondary.append(shown("the reward has more, whichever level is left out.", "least", least, 0.0))
        said = f"{task}: the algorithm has more, whichever level is left out."
        secondary.append(Below(statement=said, key=f"most, {task}", cell=most, bound=0.0))
    return Regime(
        name=task,
        gate=shown("with good shaping the best makes half.", "best", Cell(best, GOOD), WAY),
        primary=(more(f"difference, {task}"), falls(COPES, f"fall, {task}")),
        secondary=tuple(secondary),
    )


def controls(config: Config) -> Sequence[Control]:
    """Shaping agrees with theory, nothing comes of nothing, and scores and budgets are what they say."""
    slip = Cell(theory.TABULAR, theory.SLIP)
    found = [Control(Above(statement="A potential kept at ends differs.", cell=slip, bound=0.05))]
    for method in theory.METHODS:
        said = f"{method} with shaping is {method} started at the potential, step by step."
        cell = Cell(theory.TABULAR, method)
        found.append(Control(Exact(statement=said, cell=cell, value=0.0, atol=1e-3)))
    for task in config.tasks:
        tuned = [arm(task, a) for a in config.algorithms]
        found += [equal_budgets("candidates", tuned), *map(interior_choice, tuned)]
        for a in config.algorithms:
            for at in (arm(task, a, name) for name in (NOTHING, UNTRAINED)):
                said = f"{at}: under a quarter of the way."
                found.append(Control(Below(statement=said, cell=Cell(at, SCORE), bound=0.25)))
            for at in (arm(task, a, name) for name in (*population(task), NOTHING, UNTRAINED)):
                said = f"{at}: judged by what the environment pays."
                found.append(Control(Exact(statement=said, cell=Cell(at, PAY), value=0.0, atol=1.0)))
                found.append(exact_budget("environment steps", at, config.steps))
    return found


def run(config: Config, context: Context) -> None:
    """Train every algorithm with every reward and divide the variance; then the control of theory."""
    others = [(seed + 2**31) % 2**32 for seed in context.seeds[: config.selection]]
    for task in config.tasks:
        rewards, settings = scaled(task), (config.steps, config.episodes)
        tried = {name: rewards[name] for name in population(task)}
        chosen = learners.choose(task, config.algorithms, tried, *settings, others, context.once)
        rows = []
        for a, choice in chosen.items():
            context.chosen(arm(task, a), choice, len(RATES[a]) if others else 1)
            rows.append(_trained(config, context, task, a, RATES[a][choice.only], rewards))
        table = np.stack(rows, 1)
        tabled.divide(context, task, config.algorithms, table)
        tabled.compare(context, task, config.algorithms, table.mean(-1))
    seeds = np.asarray(context.seeds, np.uint32)
    deviations = partial(theory.deviations, steps=config.tabular)
    context.record(theory.TABULAR, context.per_seed(theory.TABULAR, lambda seed, _: deviations(seed), seeds))


def _trained(
    config: Config, context: Context, task: str, a: str, rate: float, rewards: dict[str, Any]
) -> np.ndarray:
    """Train one algorithm with all rewards, and record it: progress [rewards, seeds, budgets]."""
    order = np.argsort(np.argsort(context.seeds))  # results come by rising seed
    arms = {arm(task, a, name): (rate, reward) for name, reward in rewards.items()}
    arms[arm(task, a, UNTRAINED)] = learners.IDLE, rewards[PLAIN]
    rows = {}
    for name, found in learners.trained(context.fit, task, a, config.steps, arms, config.episodes).items():
        rows[name] = np.stack([*learners.scores(found["progress"]).values()], -1)[order]
        context.record(name, {SCORE: rows[name].mean(-1), PAY: found[PAY][order]})
        context.given(name, {"environment steps": found["steps"][order]})
    return np.stack([rows[arm(task, a, name)] for name in population(task)])


def figure(table: Table, config: Config) -> Figure:
    """By task all scores, the difference of shares with and without levels, and good against bad shaping."""
    tasks, algorithms = config.tasks, config.algorithms
    rows = len(tasks) + 1
    options: dict[str, Any] = {"height_ratios": [2] * len(tasks) + [1], "squeeze": False}
    fig, axes = figures.subplots(rows, 2, width=12.5, height=8 * len(tasks) + 4, **options)
    for (left, right), task in zip(axes, tasks):
        names = [*population(task)]
        values = np.stack([[table.final(arm(task, a, r), SCORE) for a in algorithms] for r in names])
        figures.matrix(left, values, names, algorithms, title=f"{task}: score", xlabel="algorithm")
        shares = {b: [table.final(task, share(f, b)) for f in FACTORS[:2]] for b in ("", *BUDGETS)}
        found = {f"budget: {b}" if b else "all levels": x - y for b, (x, y) in shares.items()}
        if len(algorithms) > 2:
            left_out = (*groups(task), *algorithms)
            found |= {f"without {level}": table.final(task, tabled.lacking(level)) for level in left_out}
        spans = [stats.t_interval(x) for x in found.values()]
        claimed = [(MARGIN, np.inf), *[None] * (len(found) - 1)]
        options = {"points": [*found.values()], "title": f"{task}: share of the variance"}
        label = "reward's share less algorithm's; claimed: shaded"
        figures.intervals(right, [*found], spans, regions=claimed, xlabel=label, **options)
    for ax, task in zip(axes[-1], tasks):
        for i, a in enumerate(algorithms):
            with_good, with_bad, half = (table.final(arm(task, a), m) for m in (GOOD, BAD, HALF))
            for x, y, fill in ((i - 0.18, with_good, "full"), (i + 0.18, with_bad, "none")):
                places = x + np.linspace(-0.1, 0.1, len(y))
                ax.plot(places, y, "o", color=f"C{i}", fillstyle=fill, markersize=4, alpha=0.8)
            ax.plot([i, i + 0.36], [half.mean()] * 2, ":", color="0.4", linewidth=1.5)
        ax.set(title=f"{task}: good (filled) and bad (open) shaping", ylabel="score", ylim=(-0.03, 1.03))
        ax.set_xticks(range(len(algorithms)), algorithms)
        ax.set_xlabel("dotted: half of the mean with good shaping")
    axes[-1][-1].set_visible(len(tasks) > 1)
    return fig


def answer(findings: Findings) -> str:
    """By task the shares and what leaving a level out does to them, and what shaping comes to."""
    said = []
    for task in findings.regimes:
        keys = (*FACTORS[:2], "good", "bad", "weakest")
        reward, algorithm, good, bad, weakest = (findings[f"{k}, {task}"].said(100, "%") for k in keys)
        levels = ""
        if f"least, {task}" in [*findings]:
            least, most = (100 * findings[f"{k}, {task}"].effect for k in ("least", "most"))
            levels = f" (without one level the difference lies between {least:.0f} and {most:.0f} points)"
        plain = 100 * (findings[f"harm, {task}"].effect + findings[f"bad, {task}"].effect)
        said.append(
            f"On {task} the reward explains {reward} of the variance of scores and the algorithm {algorithm}"
            f"{levels}; the algorithm that copes best makes {bad} of the way with the worst quarter of "
            f"plausible shapings, {plain:.0f}% with none and {good} with the best quarter (the weakest "
            f"algorithm: {weakest})"
        )
    return f"{'. '.join(said)}."


STUDY = Study(
    title="Does the shape of the reward matter more than the algorithm?",
    claim="The shape of the reward matters more than the algorithm, and bad shaping degenerates under any.",
    claim_id="O5",
    section="Observations",
    regime=(
        "MountainCar-v0 and CartPole-v1, 48,000 steps, discount .99; 13 rewards; REINFORCE, A2C, PPO, double "
        "DQN and PQN with networks of 32-32."
    ),
    presets={
        "smoke": Config(("CartPole",), ("REINFORCE", "A2C"), 16_000, 2, 0, 200),
        "quick": Config(("CartPole",), ("REINFORCE", "A2C", "PPO"), 16_000),
        "full": Config(),
    },
    regimes=lambda config: [regime(config, task) for task in config.tasks],
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={
        **{share(f, b): (-1.0, 1.0) for f in FACTORS for b in ("", *BUDGETS)},
        **dict.fromkeys((SCORE, GOOD, BAD, PLAIN), (0.0, 1.0)), HALF: (0.0, 0.5),
        tabled.LEAST: (-2.0, 2.0), tabled.MOST: (-2.0, 2.0), PAY: (0.0, 1000.0),
        **dict.fromkeys((*theory.METHODS, theory.SLIP), (0.0, 1000.0)),
    },
    seeds={"smoke": 2, "quick": 8, "full": 8},
)  # fmt: skip

if __name__ == "__main__":
    main_study(__file__)
