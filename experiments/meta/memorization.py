"""Is few-shot success memorization, do more tasks prevent it, and does MR-MAML cure it? (O8)

Claim. Success in few-shot learning is often memorization: a network that can recognize a task by its inputs
memorizes the tasks and does not use the support set. With more tasks it memorizes less.

Design. The tasks are sinusoids (Finn et al. 2017) from a finite pool of 10, 100 or 2,000, which each seed
draws for itself. A task has 5 support points and 10 query points. Beside x the network receives eight
numbers, drawn from a normal distribution:
- code: drawn once for each task of the pool. The code identifies the task and says nothing else about it,
as a
  picture of a known object identifies its class. A new task has a new code.
- random code: drawn anew at each episode. It distracts as much, and identifies nothing.
- no code: zeros.
Tasks that contradict each other cannot be memorized, by construction (Yin et al. 2020). This is the case
without a code, with a random code, and in few-shot classification with shuffled labels. The effect of a
code is therefore measured against the random code, not against no code.

Every arm is second-order MAML with one inner step in training, on a perceptron 1-40-40-1 with eight more
inputs. MR-MAML (Yin et al. 2020, on weights) receives the code too; it has noise on the body's weights,
and a penalty on their divergence from a prior. Every arm has four candidates: MAML four inner rates,
MR-MAML four weights of the penalty at an inner rate of .01. The candidate with the least error after five
steps on validation tasks, which are new tasks, is used.

Measures. The error is measured after 0 to 5 steps as a fraction of the variance of y over all tasks, so
that a prediction without knowledge has error 1. It is measured on new tasks and on tasks of the pool,
with the right support set and with a wrong one (values of another task). A task's error counts at most
10, so that single divergences do not decide.

What decides. With a code the network knows 10 tasks before any step (error below .2), and the support set
gains over .5 less than without a code. On new tasks the code costs over .1, with pools of 10 and of 100
tasks. With more tasks the network knows less by heart, and with 2,000 tasks the code costs less than .1.
MR-MAML has over .1 less error than MAML with 10 and with 100 tasks, and recovers more than half of the
code's cost.

Set beforehand: pilots on seeds 1000 and 1001 fixed sizes, the outer rate, and for MR-MAML, in its favor,
the adapted part (all, not only the head), the prior and the range of the penalty. The pilots had shown
memorization with 10 tasks, and that MR-MAML recovers about half of the cost. They had also shown that a
wrong support set does not test memorization here: gradient steps on wrong values spoil memorized
knowledge too. The wrong support set is therefore a control, and the gain from the right support set decides.

Controls. Without a code, or with a random code, a network before adaptation knows ten tasks no better
than one function for all of them can; the least error of one function is computed exactly. Without a code
MAML solves new tasks, far better than the same steps from untrained weights, and fails on them with a
wrong support set. A new code carries no information: with it the error on new tasks before any step is
above .8. (On seeds 0 to 9 the study was first run with .5 in place of the exact error, which was too
much, because the mean of ten sinusoids alone may explain more. The study was invalid by that control;
nothing else has been changed since.)

    python -m experiments.meta.memorization --preset quick

takes about a minute on two cores, a quarter of it for compilation. Expected: partly supported. With 10 tasks
memorization is complete, and MR-MAML recovers most of its cost (.35 of .41). With 100 tasks, which are half
memorized, the code costs less than .1 within this training, so there is little to recover; with 2,000
tasks it costs nothing. Whether the support set gains .5 less stays open, because without a code the
support set of ten tasks can gain only .36.

On seeds 100 to 109, which nobody had seen (``--first-seed 100``), the study is partly supported too, less
clearly: with 10 tasks MR-MAML recovers .21 of the .35 that a code costs, and neither with 10 nor with 100
    tasks is it certain
that MR-MAML recovers over half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrn import check
from lrn.study import (
    OLD_FORM,
    Cell,
    Control,
    Prediction,
    Same,
    Study,
    Superiority,
    Trend,
    Within,
    by_regime,
    equal_budgets,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lrn.study.context import Context
    from lrn.table import Table

CODE, RANDOM, NONE, REGULARIZED = "code", "random code", "no code", "code, MR-MAML"
INNER = (0.003, 0.01, 0.02, 0.04)
CHARGE = (1e-4, 1e-3, 1e-2, 1e-1)
NUMBERS = 8  # the length of a code
STEPS = 5
MARGIN = 0.1  # the smallest difference of errors that matters
MOST = 10.0  # the largest error that counts
VARIANCE = (
    (5.0**3 - 0.1**3) / (3 * 4.9) / 2
)  # the variance of y, for amplitudes uniform in [.1, 5] and any phase
TASKS, RIGHT, WRONG = "tasks of the pool", "right support", "wrong support"
NEW = "new tasks"


@dataclass(frozen=True)
class Config:
    """Settings.

    pools: the numbers of training tasks, three or more, increasing. MR-MAML is trained with all but the last.
    meta_steps: the number of meta-steps. tasks: the number of tasks in a meta-step.
    measured: the number of tasks of each kind in the evaluation of a seed.
    """

    pools: tuple[int, ...] = (10, 100, 2000)
    meta_steps: int = 900
    tasks: int = 8
    measured: int = 40

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("meta_steps", "tasks", "measured"):
            check.integer(name, getattr(self, name), low=1)
        for pool in self.pools:
            check.integer("a number of pools", pool, low=1)
        if len(self.pools) < 3 or list(self.pools) != sorted(set(self.pools)):
            raise check.InputError(
                f"pools must be three or more increasing numbers of tasks, got {list(self.pools)}; sort them."
            )


def arm(kind: str, pool: int) -> str:
    """The name of an arm."""
    return f"{kind}, {pool} tasks"


def predictions(config: Config) -> Sequence[Prediction]:
    """The predictions of the claim on memorization, on the number of tasks, and on MR-MAML."""
    few, *_, many = config.pools
    some = config.pools[:-1]
    found: list[Prediction] = [
        Within(
            statement=f"With a code, {few} tasks are known before any step: an error below .2.",
            cell=Cell(arm(CODE, few), "known by heart"),
            low=-1.0,
            high=0.2,
            regime="known by heart",
        ),
        Superiority(
            statement=f"With {few} tasks the support set gains over .5 more without a code than with one.",
            better=Cell(arm(NONE, few), "gain by the support"),
            worse=Cell(arm(CODE, few), "gain by the support"),
            margin=0.5,
            regime="support not used",
        ),
        *(
            Superiority(
                statement=f"With {pool} tasks a code costs over .1 on new tasks, against a random one.",
                better=Cell(arm(CODE, pool), "error on new tasks"),
                worse=Cell(arm(RANDOM, pool), "error on new tasks"),
                margin=MARGIN,
                regime=f"cost on new tasks, {pool} tasks",
            )
            for pool in some
        ),
        Superiority(
            statement=f"With {many} tasks it costs less than .1.",
            better=Cell(arm(RANDOM, many), "error on new tasks"),
            worse=Cell(arm(CODE, many), "error on new tasks"),
            margin=-MARGIN,
            regime=f"cost on new tasks, {many} tasks",
        ),
        Trend(
            statement="The more tasks, the less is known before any step.",
            over=tuple(Cell(arm(CODE, pool), "known by heart") for pool in config.pools),
            levels=tuple(math.log10(pool) for pool in config.pools),
            regime="trend",
        ),
    ]
    for pool in some:
        found += [
            Superiority(
                statement=f"With {pool} tasks MR-MAML betters MAML on new tasks by over .1.",
                better=Cell(arm(CODE, pool), "error on new tasks"),
                worse=Cell(arm(REGULARIZED, pool), "error on new tasks"),
                margin=MARGIN,
                regime=f"MR-MAML helps, {pool} tasks",
            ),
            Superiority(
                statement=f"With {pool} tasks MR-MAML takes back over half of what the code costs.",
                better=Cell(arm(CODE, pool), "half of the cost left"),
                worse=Cell(arm(REGULARIZED, pool), "error on new tasks"),
                regime=f"MR-MAML cures, {pool} tasks",
            ),
        ]
    return found


def controls(config: Config) -> Sequence[Control]:
    """Controls that detect a broken learner, and a code that carries more than the task's identity."""
    few, *_, many = config.pools
    best = arm(NONE, many)
    checks: list[Prediction] = [
        *(
            Superiority(
                statement=f"With {kind} {few} tasks are not known better at once than one function can.",
                better=Cell(arm(kind, few), "known by heart"),
                worse=Cell(arm(kind, few), "least that one function for all has"),
                margin=-MARGIN,
            )
            for kind in (NONE, RANDOM)
        ),
        Within(
            statement=f"Without a code and with {many} tasks MAML does new tasks: an error below .5.",
            cell=Cell(best, "error on new tasks"),
            low=0.0,
            high=0.5,
        ),
        Superiority(
            statement="The same steps from untrained weights do worse by over .3.",
            better=Cell(best, "error on new tasks, untrained"),
            worse=Cell(best, "error on new tasks"),
            margin=0.3,
        ),
        Within(
            statement="It fails on new tasks with a wrong support set: an error above .8.",
            cell=Cell(best, "error on new tasks, wrong support"),
            low=0.8,
            high=MOST,
        ),
        Within(
            statement=f"A code never seen tells nothing: with {few} tasks the error at once is above .8.",
            cell=Cell(arm(CODE, few), "error on new tasks at once"),
            low=0.8,
            high=MOST,
        ),
    ]
    return [*map(Control, checks), *_treated_alike(config)]


def candidates_of(name: str) -> list[str]:
    """The names of an arm's trainings."""
    return [f"{name}, candidate {i}" for i in range(len(CHARGE if name.startswith(REGULARIZED) else INNER))]


def _treated_alike(config: Config) -> list[Control]:
    """All arms have equally many steps and candidates; the exact floor equals a sum over a grid."""
    few = config.pools[0]
    plain = [arm(kind, pool) for kind in (CODE, RANDOM, NONE) for pool in config.pools]
    arms = [*plain, *(arm(REGULARIZED, pool) for pool in config.pools[:-1])]
    floors = ("least that one function for all has", "least that one function for all has, on a grid")
    return [
        equal_budgets("candidates", arms),
        equal_budgets("gradient steps", [name for a in arms for name in candidates_of(a)]),
        *(
            Control(
                Same(
                    statement=f"The least error of one function for {few} tasks ({kind}) is that on a grid.",
                    over=tuple(Cell(arm(kind, few), floor) for floor in floors),
                    atol=1e-3,
                )
            )
            for kind in (NONE, RANDOM)
        ),
    ]


def run(config: Config, context: Context) -> None:
    """Train MAML's arms in one program and MR-MAML's in another, and record the errors."""
    from lrn.config import config as pytree
    from lrn.meta.adapt import InnerConfig
    from lrn.meta.maml import MAMLConfig, maml
    from lrn.meta.mr_maml import MRMAMLConfig, mr_maml

    @pytree
    class Arm:
        """An arm's settings.

        pool: the number of tasks in the pool. coded: 1 with a code, else 0. anew: 1 for a code that is
            drawn anew,
        else 0. tuned: the inner rate, or MR-MAML's weight of the penalty.
        """

        pool: float
        coded: float
        anew: float
        tuned: float

    def plain(problem: Any, c: Any) -> Any:
        return maml(problem, MAMLConfig(InnerConfig(rate=c.tuned), meta_rate=3e-3))

    def regularized(problem: Any, c: Any) -> Any:
        settings = MRMAMLConfig(beta=c.tuned, prior_std=0.3, adapted="all", meta_rate=3e-3)
        return mr_maml(problem, settings)

    kinds = {CODE: (1.0, 0.0), RANDOM: (1.0, 1.0), NONE: (0.0, 0.0)}
    arms = {
        arm(kind, pool): [Arm(float(pool), *flags, rate) for rate in INNER]
        for kind, flags in kinds.items()
        for pool in config.pools
    }
    _train(config, context, "MAML", plain, arms)
    arms = {
        arm(REGULARIZED, pool): [Arm(float(pool), *kinds[CODE], charge) for charge in CHARGE]
        for pool in config.pools[:-1]
    }
    _train(config, context, "MR-MAML", regularized, arms)
    few = config.pools[0]
    floor = least(context.seeds, few)
    for kind in (NONE, RANDOM):
        context.record(arm(kind, few), "least that one function for all has", floor)
        grid = least_on_a_grid(context.seeds, few)
        context.record(arm(kind, few), "least that one function for all has, on a grid", grid)
    table = context.table()
    for pool in config.pools[:-1]:
        errors = [table.final(arm(kind, pool), "error on new tasks") for kind in (CODE, RANDOM)]
        context.record(arm(CODE, pool), "half of the cost left", sum(errors) / 2)


def _train(config: Config, context: Context, name: str, learner: Any, arms: dict[str, list[Any]]) -> None:
    """Train all candidates of all arms together, and record each arm by its best candidate."""
    import numpy as np

    from lrn import nets
    from lrn.meta.episode import draw
    from lrn.meta.learner import MetaLearner
    from lrn.meta.problem import regression
    from lrn.types import Sampler

    problem = regression(nets.mlp(None, (40, 40)))

    def made(c: Any) -> MetaLearner:
        """The learner on tasks of its pool; a batch holds the key by which the learner draws its tasks."""
        inner = learner(problem, c)

        def drawn(batch: Any) -> Any:
            return draw(family(batch["pool"], c), batch["key"], config.tasks)

        return MetaLearner(
            lambda key, batch: inner.init(key, drawn(batch)),
            lambda key, state, batch: inner.step(key, state, drawn(batch)),
            inner.curve,
        )

    fit = context.fit(
        made,
        {f"{a}, candidate {i}": c for a, candidates in arms.items() for i, c in enumerate(candidates)},
        name=name,
        steps=config.meta_steps,
        per_seed={"pool": np.asarray(context.seeds, np.uint32)},
        sampler=Sampler(lambda key, data: {"key": key, "pool": data["pool"]}),
        evaluate=_measure(config, problem),
        eval_every=config.meta_steps,
    )
    for a, candidates in arms.items():
        context.given(a, {"candidates": len(candidates)})
        for training in candidates_of(a):
            context.given(training, {"gradient steps": fit.arm(training).taken})
        scores = [_scores(fit.table, f"{a}, candidate {i}") for i in range(len(candidates))]
        _record(context, a, scores)


def family(pool: Any, c: Any, new: Any = False, wrong: Any = False) -> Any:
    """Tasks of a pool, or new tasks, whose inputs hold the code beside x.

    Args:
        pool: the number of the pool, uint32.
        c: the arm's settings; the pool has ``c.pool`` tasks.
        new: whether the tasks are outside of the pool; may be traced.
        wrong: whether the support set has the values of another task; may be traced.
    """
    import jax
    import jax.numpy as jnp

    from lrn.meta.episode import TaskFamily
    from lrn.meta.families.sinusoid import sinusoid

    base = sinusoid(5, 10)

    def sample(key: Any) -> Any:
        number = jnp.floor(jax.random.uniform(key) * c.pool).astype(jnp.int32)
        wave, code = jax.random.split(jnp.where(new, key, _key_of(pool, number)))
        return {"wave": base.sample(wave), "code": jax.random.normal(code, (NUMBERS,))}

    def batch(key: Any, task: Any) -> Any:
        support, query = base.batch(key, task["wave"])
        other, fresh = jax.random.split(jax.random.fold_in(key, 1))
        if wrong is not False:  # true or traced
            misled, _ = base.batch(key, base.sample(other))
            support = {**support, "y": jnp.where(wrong, misled["y"], support["y"])}
        code = c.coded * jnp.where(c.anew > 0, jax.random.normal(fresh, (NUMBERS,)), task["code"])

        def told(part: Any) -> Any:
            beside = jnp.broadcast_to(code[None], (part["x"].shape[0], NUMBERS))
            return {**part, "x": jnp.concatenate([part["x"], beside], axis=1)}

        return told(support), told(query)

    return TaskFamily("sinusoids with a code", sample, batch, 1)


def _key_of(pool: Any, number: Any) -> Any:
    """The key of a task of a pool."""
    import jax

    return jax.random.fold_in(jax.random.fold_in(jax.random.key(_POOL), pool), number)


def least(seeds: Sequence[int], size: int) -> Any:
    """The least mean error of one function for all tasks of a pool, exactly, [seeds].

    A sinusoid is a weighted sum of sin x and cos x; the best function has the mean weights.
    """
    import numpy as np

    from lrn.meta.families.sinusoid import HIGH

    amplitude, phase = waves_of(seeds, size)
    squares = 0.5 + np.array([-1, 1]) * np.sin(2 * HIGH) / (4 * HIGH)  # the mean of sin^2 x, and of cos^2 x
    spread = [(amplitude * part(phase)).var(axis=1) for part in (np.cos, np.sin)]
    return squares @ np.array(spread) / VARIANCE


def waves_of(seeds: Sequence[int], size: int) -> tuple[Any, Any]:
    """The amplitudes and phases of the first tasks of each seed's pool, both float64 [seeds, size]."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from lrn.meta.families.sinusoid import sinusoid
    from lrn.xla.runtime import jit_brief

    def waves(pool: Any) -> Any:
        keys = jax.vmap(lambda number: jax.random.split(_key_of(pool, number))[0])(jnp.arange(size))
        return jax.vmap(sinusoid(5, 10).sample)(keys)

    drawn = jit_brief(jax.vmap(waves))(np.asarray(seeds, np.uint32))
    amplitude, phase = (np.asarray(drawn[name], np.float64) for name in ("amplitude", "phase"))
    return amplitude, phase


def least_on_a_grid(seeds: Sequence[int], size: int, points: int = 4001) -> Any:
    """`least` computed on a grid: at each x the best answer is the mean over tasks."""
    import numpy as np

    from lrn.meta.families.sinusoid import HIGH

    amplitude, phase = waves_of(seeds, size)
    x = (np.arange(points) + 0.5) / points * 2 * HIGH - HIGH
    y = amplitude[..., None] * np.sin(x + phase[..., None])  # [seeds, tasks, points]
    return y.var(1).mean(-1) / VARIANCE


_POOL = 77  # the stream of keys for pools
# Kinds of tasks: name, whether the tasks are new, whether the support set is wrong, and the
# index of the keys.
_KINDS = (
    ("validation", True, False, 0),
    (f"{NEW}, {RIGHT}", True, False, 1),
    (f"{NEW}, {WRONG}", True, True, 1),
    (f"{TASKS}, {RIGHT}", False, False, 2),
    (f"{TASKS}, {WRONG}", False, True, 2),
)


def _measure(config: Config, problem: Any) -> Any:
    """An evaluation on all kinds of tasks: mean errors after 0 to 5 steps, and the share that diverged."""
    import jax
    import jax.numpy as jnp

    from lrn.meta.episode import draw
    from lrn.meta.evaluate import per_task

    def measure(trained: Any, c: Any, key: Any, state: Any, data: Any) -> Any:
        keys = jax.random.split(key, 3)
        new, wrong, which = (jnp.array(column) for column in list(zip(*_KINDS))[1:])
        every = jax.vmap(lambda n, w, i: draw(family(data["pool"], c, n, w), keys[i], config.measured))(
            new, wrong, which
        )
        every = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), every)
        loss = per_task(trained, problem, state, every, STEPS)["loss"] / VARIANCE
        loss = loss.reshape(len(_KINDS), config.measured, STEPS + 1)
        error = jnp.where(jnp.isfinite(loss), jnp.minimum(loss, MOST), MOST).mean(1)
        found = {f"{kind[0]} @{k}": error[i, k] for i, kind in enumerate(_KINDS) for k in range(STEPS + 1)}
        return {**found, "diverged": 1 - jnp.isfinite(loss[1, :, STEPS]).mean()}

    return measure


def _scores(table: Table, candidate: str) -> dict[str, Any]:
    """A candidate's errors before and after training, [seeds, 2, steps + 1] for each kind of tasks."""
    import numpy as np

    return {
        kind: np.stack([table.curve(candidate, f"{kind} @{k}")[1] for k in range(STEPS + 1)], -1)
        for kind, *_ in _KINDS
    } | {"diverged": table.curve(candidate, "diverged")[1]}


def _record(context: Context, name: str, scores: Sequence[dict[str, Any]]) -> None:
    """Record an arm by the candidate with the least validation error after the last step."""
    import numpy as np

    def chosen(trained: int) -> int:
        errors = np.array([s["validation"][:, trained, STEPS].mean() for s in scores])
        return int(np.where(np.isfinite(errors), errors, np.inf).argmin())

    best = chosen(-1)
    own = {kind: values[:, -1] for kind, values in scores[best].items()}
    for kind, *_ in _KINDS[1:]:
        for k in range(STEPS + 1):
            context.record(name, kind, own[kind][:, k], step=k)
    new, known = own[f"{NEW}, {RIGHT}"], own[f"{TASKS}, {RIGHT}"]
    context.record(name, "error on new tasks", new[:, STEPS])
    context.record(name, "error on new tasks at once", new[:, 0])
    context.record(name, "error on new tasks, wrong support", own[f"{NEW}, {WRONG}"][:, STEPS])
    floor = scores[chosen(0)][f"{NEW}, {RIGHT}"][:, 0, STEPS]
    context.record(name, "error on new tasks, untrained", floor)
    context.record(name, "known by heart", known[:, 0])
    context.record(name, "gain by the support", known[:, 0] - known[:, STEPS])
    context.record(name, "diverged", own["diverged"])
    context.record(name, "candidate", np.full(len(context.seeds), best))


def figure(table: Table, config: Config) -> Figure:
    """Above adaptation on tasks of the smallest pool and on new tasks; below errors by size of the pool."""
    import numpy as np

    from lrn import figures

    few, some = config.pools[0], config.pools[:-1]
    fig, axes = figures.subplots(2, 2, height=7.2)
    arms = (CODE, RANDOM, NONE, REGULARIZED)
    dashes = dict(zip(arms, ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (6, 2, 1, 2)))))
    for ax, tasks in zip(axes[0], (TASKS, NEW)):
        curves = {kind: table.curve(arm(kind, few), f"{tasks}, {RIGHT}")[1] for kind in arms}
        figures.curves(
            ax,
            range(STEPS + 1),
            curves,
            title=f"{few} tasks in the pool: {tasks}",
            xlabel="steps of adaptation",
            ylabel="error / variance",
            legend=tasks == NEW,
        )
        ax.set_ylim(bottom=0)
    for ax, metric, title in (
        (axes[1, 0], "known by heart", "Before any step, tasks of the pool"),
        (axes[1, 1], "error on new tasks", "After five steps, new tasks"),
    ):
        for kind in arms:
            pools = some if kind == REGULARIZED else config.pools
            values = np.stack([table.final(arm(kind, pool), metric) for pool in pools], 1)
            figures.curves(ax, pools, {kind: values}, legend=False)
            like = axes[0, 0].lines[arms.index(kind)]
            ax.lines[-1].set(linestyle=dashes[kind], marker=like.get_marker())
        ax.set(title=title, xlabel="tasks in the pool", ylabel="error / variance", xscale="log")
        ax.set_ylim(bottom=0)
    return fig


STUDY = Study(
    title="Is few-shot success memorization?",
    claim="Few-shot success is often memorization: tasks that can be told apart by their inputs are learned "
    "by heart, the fewer the more, and MR-MAML cures it.",
    claim_id="O8",
    section="Observations",
    regime=(
        "Sinusoids from pools of 10, 100 and 2,000 with a code of eight numbers beside x, 5 points to adapt "
        "to, MLP 40-40, 900 meta-steps of 8 tasks (full: 30,000 of 25)."
    ),
    presets={
        "smoke": Config(pools=(2, 4, 8), meta_steps=10, tasks=2, measured=4),
        "quick": Config(),
        "full": Config(meta_steps=30_000, tasks=25, measured=600),
    },
    regimes=by_regime(predictions),
    exploratory=OLD_FORM,
    controls=controls,
    run=run,
    figure=figure,
)

if __name__ == "__main__":
    from lrn.cli import main_study

    main_study(__file__)
