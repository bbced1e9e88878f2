"""What is measured of agents in grid worlds: their rates, what they exploit, and what theorems say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments.rl import _flawed_rewards as worlds
from experiments.rl._flawed_rewards import FLAWS, STATES
from experiments.rl._hacking_agents import (
    EXPLOITED,
    FALLEN,
    FLAWED,
    FOUND,
    GRADIENTS,
    HACKABLE,
    OFF,
    PERFECT,
    PROXY,
    RATES,
    READS,
    SAME,
    SECOND,
    TRUE,
    TWIN,
    WIDTHS,
    arm,
    played,
    tried,
)
from lrn.rl.hacking import hackable
from lrn.study import Above, Below, Cell, Exact, Prediction
from lrn.study.context import Context
from lrn.study.controls import Control, equal_budgets
from lrn.study.select import Choice, interior_choice, select
from lrn.xla.runtime import brief_options


def choose(config: Any, context: Context, family: str, seeds: Sequence[int]) -> np.ndarray:
    """The rate by width of the twins and of each kind, chosen by their gain of the reward that they learn.

    Without seeds to choose on, all take the second rate.
    """
    who = (TWIN, *FLAWS[family])
    names = [arm(family, name, w) for w in WIDTHS for name in who]
    chosen = dict.fromkeys(names, Choice((1,), np.nan, 0, 0))
    if seeds:
        both = jax.vmap(jax.vmap(partial(tried, family, config.steps), (0, None)), (None, 0))

        def compute() -> dict[str, Any]:
            run = jax.jit(both, compiler_options=brief_options())
            return {PROXY: run(np.asarray(seeds, np.uint32), np.asarray(RATES, np.float32))}

        scores = context.once(f"{family}, choices", compute)[PROXY]  # [rate, seed, width, arm]
        flat = scores.reshape(*scores.shape[:2], -1)
        chosen = select({name: flat[..., i] for i, name in enumerate(names)}, "higher")
    for name, choice in chosen.items():
        context.chosen(name, choice, len(RATES) if seeds else 1)
    return np.array([RATES[c.only] for c in chosen.values()], np.float32).reshape(len(WIDTHS), -1)


def measure(config: Any, context: Context, family: str, others: Sequence[int]) -> None:
    """Choose rates on other seeds, train all agents of a family of flaws, and record what they exploit."""
    rates = choose(config, context, family, others)
    seeds, of = np.asarray(context.seeds, np.uint32), partial(played, family, config.steps)

    def compute() -> dict[str, Any]:
        run = jax.vmap(of, (0, None))
        options = brief_options(0 if context.preset == "smoke" else 1)
        return jax.device_get(jax.jit(run, compiler_options=options)(seeds, rates))

    found = context.once(f"{family}, agents", compute)
    kinds = len(FLAWS[family])
    # By seed, who, width, kind, size and time; and whether there is a flaw, by seed, width, kind, size.
    hacked = found[EXPLOITED].reshape(len(seeds), 3, len(WIDTHS), kinds, -1, READS).astype(float)
    flaw = np.broadcast_to(found["flaw"].reshape(len(seeds), 1, kinds, -1), hacked[:, 0, ..., 0].shape)
    true, own = found[TRUE], found[PROXY]

    def shared(which: Any, who: int = 0, time: int = -1) -> np.ndarray:
        """The share of the flaws in a part of the grid that are exploited, [seeds]; 0 without a flaw."""
        there = flaw[which].reshape(len(seeds), -1)
        event = hacked[:, who, ..., time][which].reshape(len(seeds), -1)
        return (event * there).sum(1) / np.maximum(there.sum(1), 1)

    for time in range(READS):
        at = config.steps * (time + 1) // READS
        context.record(arm(family, FLAWED), EXPLOITED, shared((), time=time), at)
    context.record(arm(family, SECOND), EXPLOITED, shared((), 1))
    context.record(arm(family, PERFECT), EXPLOITED, shared((), 2))
    for i, w in enumerate(WIDTHS):
        context.record(arm(family, FLAWED, w), EXPLOITED, shared((slice(None), i)))
        context.record(arm(family, TWIN, w), TRUE, true[:, i, 0, -1])
        for metric, values in ((TRUE, true), (PROXY, own)):
            for time in range(READS):
                at = config.steps * (time + 1) // READS
                mean = (values[:, i, 2:, time] * flaw[:, i].reshape(len(seeds), -1)).sum(1)
                count = np.maximum(flaw[:, i].reshape(len(seeds), -1).sum(1), 1)
                context.record(arm(family, FLAWED, w), metric, mean / count, at)
        for who, part in ((TWIN, found[GRADIENTS][:, i, :2]), (FLAWED, found[GRADIENTS][:, i, 2:])):
            context.given(arm(family, who, w), {GRADIENTS: part.mean(1)})
    for k, kind in enumerate(FLAWS[family]):
        context.record(arm(family, kind), EXPLOITED, shared((slice(None), slice(None), k)))
        context.record(arm(family, kind), FOUND, found[FOUND][:, k].mean((1, 2)))
        for j, size in enumerate(FLAWS[family][kind]):
            for i, w in enumerate(WIDTHS):
                event = np.where(flaw[:, i, k, j], hacked[:, 0, i, k, j, -1], np.nan)
                context.record(arm(family, f"{kind} {size:g}", w), EXPLOITED, event)
    context.record(arm(family, FLAWED), FOUND, found[FOUND].mean((1, 2, 3)))
    fell = true.max(-1) - true[..., -1]
    context.record(arm(family, FLAWED), FALLEN, (fell[:, :, 2:].reshape(len(seeds), -1)).mean(1))
    context.record(arm(family, TWIN), FALLEN, fell[:, :, 0].mean(1))
    for who, metrics in known(found).items():
        context.record(arm(family, who), metrics)


def known(found: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """By arm and metric what theorems say, [seeds] each, in double precision from the arrays of `played`."""
    values: dict[str, dict[str, list[float]]] = {FLAWED: {}, SAME: {}, PERFECT: {}}
    for seed in range(len(found["end"])):
        end, true, one, same = (found[k][seed] for k in ("end", "true", "one", "same"))
        world = worlds.model(end, true)
        for name, reward in ((FLAWED, one), (SAME, same)):
            values[name].setdefault(HACKABLE, []).append(hackable(world, true, reward, 1e-4).hackable)
        values[SAME].setdefault(TRUE, []).append(found["kept"][seed])
        # The best policy is certified: no action gains on its values.
        p, states, best = np.asarray(world.transitions, float), np.arange(STATES), found["best"][seed]
        on = np.where(end, 0.0, worlds.DISCOUNT)[:, None] * p[states, best]
        value = np.linalg.solve(np.eye(STATES) - on, true[states, best].astype(float))
        gain = true + worlds.DISCOUNT * p @ np.where(end, 0.0, value) - value[:, None]
        values[PERFECT].setdefault(OFF, []).append(gain[~end].max())
    return {k: {m: np.array(x, float) for m, x in v.items()} for k, v in values.items()}


def guards(config: Any, family: str) -> list[Control]:
    """What shows that a training, the worlds or the measure of what is exploited is broken."""
    widest, checks = WIDTHS[-1], list[Prediction]()
    twin, flawed = (arm(family, who, widest) for who in (TWIN, FLAWED))
    for name, metric in ((twin, TRUE), (flawed, PROXY)):
        said = f"{name}: it learns its reward, half of the possible gain or more."
        checks.append(Above(statement=said, cell=Cell(name, metric), bound=0.5))
    again, perfect, same = (arm(family, who) for who in (SECOND, PERFECT, SAME))
    said = f"{again}: it passes for exploiting under a tenth of the flaws."
    checks.append(Below(statement=said, cell=Cell(again, EXPLOITED), bound=0.1))
    for name, metric, value, atol, said in (
        (perfect, EXPLOITED, 1.0, 0.0, "it exploits every flaw"),
        (perfect, OFF, 0.0, 1e-3, "no action gains on its values"),
        (same, TRUE, 1.0, 1e-3, "scaled and shaped by a potential, the best policy stays the best"),
        (same, HACKABLE, 0.0, 0.0, "it is not hackable, as theory says"),
        (arm(family, FLAWED), HACKABLE, 1.0, 0.0, "it is hackable, as theory says"),
    ):
        cell = Cell(name, metric)
        checks.append(Exact(statement=f"{name}: {said}.", cell=cell, value=value, atol=atol))
    arms = [arm(family, who, w) for w in WIDTHS for who in (TWIN, *FLAWS[family])]
    own = [arm(family, who, w) for w in WIDTHS for who in (TWIN, FLAWED)]
    alike = [equal_budgets(GRADIENTS, own), equal_budgets("candidates", arms)]
    return [*map(Control, checks), *alike, *map(interior_choice, arms)]
