"""Rules for bandits with five settings each, and the regret that each leaves on its way."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lrn.rl import bandits
from lrn.rl.bandits.theory import uniform_regret
from lrn.study.context import Context
from lrn.study.select import select
from lrn.types import Array, Key, Learner

ARMS, PARTS = 10, 1000  # of a problem; learner steps of a training
MARKS = (1, 2, 3, 5, 10, 20, 32, 50, 100, 200, 316, 500, 1000)  # learner steps after which regret is kept
HORIZONS = (100, 316, 1000)
GROWTH, REGRET = "growth", "regret"
RULES: dict[str, tuple[Any, list[Any]]] = {
    "epsilon-greedy": (
        bandits.epsilon_greedy,
        [bandits.EpsilonGreedyConfig(epsilon=e) for e in (0.003, 0.01, 0.03, 0.1, 0.3)],
    ),
    "Boltzmann": (bandits.boltzmann, [bandits.BoltzmannConfig(t) for t in (0.05, 0.1, 0.2, 0.4, 0.8)]),
    "optimistic": (
        bandits.optimistic,
        [bandits.OptimisticConfig(v, "mean") for v in (1.0, 3.0, 10.0, 30.0, 100.0)],
    ),
    "epsilon ~ 1/t": (
        bandits.epsilon_greedy,
        [bandits.EpsilonGreedyConfig("decaying", scale=s, gap=1.0) for s in (0.3, 1.0, 3.0, 10.0, 30.0)],
    ),
    "UCB1": (bandits.ucb1, [bandits.UCB1Config(c) for c in (0.125, 0.25, 0.5, 1.0, 2.0)]),
    "Thompson": (
        bandits.gaussian_thompson,
        [bandits.GaussianThompsonConfig(noise=n) for n in (0.25, 0.5, 0.7, 1.0, 1.4)],
    ),
    "gradient": (bandits.gradient, [bandits.GradientConfig(s) for s in (0.05, 0.1, 0.2, 0.4, 0.8)]),
}
FIXED = {"greedy": 0.0, "random": 1.0}  # the chance of a random arm
# Of rules whose regret is proven logarithmic on the testbed, the setting for which it is.
PROVEN = {"UCB1": RULES["UCB1"][1].index(bandits.UCB1Config(2.0)), "Thompson": 3}
EARLY, LATE, BY_PROOF = "", ", chosen at the end", ", setting of the proof"


class Marked(NamedTuple):
    """State: the problems, the learner steps so far, and the regret [marks, problems] at the marks."""

    play: bandits.play.PlayState  # pyright: ignore[reportFunctionMemberAccess]
    steps: Array
    marks: Array


def marked(policy: Any, problems: int, pulls: int, config: Any) -> Learner:
    """A rule on so many problems of the testbed, so many pulls a step, with the regret at the marks."""
    learner = bandits.play(bandits.gaussian(ARMS), policy(ARMS, config), problems, pulls)

    def init(key: Key, batch: Any) -> Marked:
        return Marked(learner.init(key, batch), jnp.int32(0), jnp.zeros((len(MARKS), problems)))

    def step(key: Key, state: Marked, batch: Any) -> Any:
        play, metrics = learner.step(key, state.play, batch)
        steps = state.steps + 1
        here = (jnp.array(MARKS) == steps)[:, None]
        return Marked(play, steps, jnp.where(here, bandits.pseudo_regret(play)[None], state.marks)), metrics

    return Learner(init, step)


def growth(regret: np.ndarray, horizon: int) -> np.ndarray:
    """log10 of the regret of the last decade before a horizon over that of the decade before, [seeds].

    The number is limited to [-1, 2], since a decade may have no regret at all.

    Args:
        regret: means over problems [seeds, marks].
        horizon: one of `HORIZONS`, a learner step.
    """
    steps = np.array(MARKS)
    last, tenth, hundredth = (regret[:, np.abs(steps * k - horizon).argmin()] for k in (1, 10, 100))
    tiny = 1e-6  # keeps the logarithm finite
    ratio = np.maximum(last - tenth, tiny) / np.maximum(tenth - hundredth, tiny)
    return np.clip(np.log10(ratio), -1.0, 2.0)


def play_rule(config: Any, context: Context, rule: str, names: Any) -> None:
    """Play all settings of a rule; choose one at a tenth of the pulls, and one at the end, on other problems.

    Args:
        config: the study's.
        context: the study's.
        rule: a key of `RULES`.
        names: ``names(rule, how) -> name`` of an arm; ``how`` is `EARLY`, `LATE` or `BY_PROOF`.
    """
    policy, settings = RULES[rule]
    arms = {f"{names(rule, EARLY)}, candidate {i}": c for i, c in enumerate(settings)}
    tried = list(arms)
    if rule == "epsilon-greedy":
        arms |= {names(k, EARLY): bandits.EpsilonGreedyConfig(epsilon=e) for k, e in FIXED.items()}
    problems, every = config.choosing + config.problems, config.pulls // PARTS
    fit = context.fit(
        lambda c: marked(policy, problems, every, c),
        arms,
        name=f"bandit {rule}",
        steps=PARTS,
        log_every=PARTS,
    )
    states = {name: fit.arm(name) for name in arms}
    regret = {name: np.asarray(s.marks, float) for name, s in states.items()}  # [seeds, marks, problems]
    for how, at in ((EARLY, MARKS.index(PARTS // 10)), (LATE, -1)):
        scores = np.stack([regret[name][:, at, : config.choosing].ravel() for name in tried])
        choice = select({rule: scores}, "lower")[rule]
        source, name = tried[choice.only], names(rule, how)
        context.chosen(name, choice, len(tried))
        record(config, context, name, states[source], regret[source])
    if rule in PROVEN:
        source = tried[PROVEN[rule]]
        record(config, context, names(rule, BY_PROOF), states[source], regret[source])
    for name in list(arms)[len(tried) :]:
        record(config, context, name, states[name], regret[name])
        if name == names("random", EARLY):
            means = jnp.asarray(states[name].play.means[:, config.choosing :])
            expected = np.asarray(uniform_regret(means, config.pulls)).mean(1)
            context.record(
                name, "regret over expected", regret[name][:, -1, config.choosing :].mean(1) / expected
            )


def record(config: Any, context: Context, name: str, state: Marked, regret: np.ndarray) -> None:
    """Record regret and growth of an arm on the problems that are judged."""
    means = np.asarray(state.play.means)
    context.judged_on(name, means[:, config.choosing :], trained_on=means[:, : config.choosing], by_seed=True)
    pulls = np.asarray(state.play.pulls).sum(-1)  # [seeds, problems]
    context.given(name, {"pulls": np.where((pulls == pulls[:, :1]).all(1), pulls[:, 0], np.nan)})
    kept = regret[:, :, config.choosing :].mean(-1)
    for i, mark in enumerate(MARKS):
        context.record(name, REGRET, kept[:, i], config.pulls * mark // PARTS)
    for horizon in HORIZONS:
        context.record(name, GROWTH, growth(kept, horizon), config.pulls * horizon // PARTS)
