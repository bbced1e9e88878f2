"""Is few-shot success memorization, do more tasks prevent it, and does MR-MAML cure it? (O8)

Claim. Success in few-shot learning is often memorization: where a network can tell which task it is from the
inputs, it learns the tasks by heart and does not use the support set. The more tasks, the less it can.

Design. Sinusoids (Finn et al. 2017) from a finite pool of 10, 100 or 2,000, of which each seed draws its own;
5 points to adapt to, 10 to be judged by. Beside x the network gets eight more numbers, drawn from a normal:
- code: drawn once for each task of the pool. They name the task and say nothing about it, as a picture of a
  known object names its class. A new task comes with new ones.
- random code: drawn anew at each episode. As distracting, and no use.
- no code: zeros.
Trap (Yin et al. 2020): tasks that contradict each other cannot be learned by heart by construction. That
holds without a code and with a random one, and in few-shot classification where labels are shuffled. So those
are the comparison here, and what a code does is seen against the random one, not against none.

Every arm is MAML, second order, one inner step in training, on 1-40-40-1 with eight more inputs. MR-MAML
(Yin et al. 2020, on weights) gets the code too: noise on the body's weights, whose divergence from a prior is
charged. Every arm has four candidates: MAML its inner rate, MR-MAML the weight of its charge at an inner rate
of .01. The candidate is the one of the least error after five steps on validation tasks, which are new ones.

Measured after 0 to 5 steps, as a fraction of the variance of y over all tasks, so that 1 is what knowing
nothing gives: the error on new tasks and on tasks of the pool, with right and wrong support set (values of
another task). A task's error counts as 10 at most, so that single divergences do not decide.

What decides. With a code and 10 tasks these are known before any step (error below .2), and the support set
gains over .5 less than without a code. On new tasks the code costs over .1, with 10 and with 100 tasks. The
more tasks the less is known by heart, and with 2,000 the code costs less than .1. MR-MAML betters MAML by
over .1 at 10 and at 100 tasks, and takes back more than half of what the code costs.

Set beforehand: pilots on seeds 1000 and 1001 fixed sizes, the outer rate, and for MR-MAML what it adapts
(all, not the head alone), its prior and the range of its charge, each in its favor. They had shown
memorization with 10 tasks, and MR-MAML to take back about half of the cost. They also showed that a wrong
support set is no test of memorization here: gradient steps on wrong values spoil what is known by heart, too.
So it serves as a control, and what the right one gains decides.

Controls. Without a code or with a random one ten tasks are not known better before adapting than one function
for all of them can be, whose error is exact. Without a code MAML does new tasks, far better than the same
steps from untrained weights, and fails on them with a wrong support set. A code that was never seen tells
nothing: with it the error on new tasks before any step is above .8. (On seeds 0 to 9 the study was first run
with .5 in place of the exact error, which was too much: the mean of ten sinusoids alone may explain more. It
came out invalid by that control; nothing else has been changed since.)

    python -m experiments.meta.memorization --preset quick

takes about a minute on two cores, a quarter of it compiling. Expected: partly supported. With 10 tasks memory
is complete and MR-MAML takes back most of what it costs (.35 of .41); with 100 tasks, half known by heart,
the code costs less than .1 within this training, so that there is little to cure, and with 2,000 nothing.
That the support set gains .5 less stays open, since without a code ten tasks leave it .36 to gain.

On seeds 100 to 109, which nobody had seen (``--first-seed 100``), it is partly supported too, and less clear:
MR-MAML betters MAML by .21 of the .35 that a code costs with 10 tasks, but that it takes back over half is
certain neither there nor with 100 tasks.
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
NUMBERS = 8  # in a code
STEPS = 5
MARGIN = 0.1  # of error: what matters
MOST = 10.0  # that an error counts
VARIANCE = (5.0**3 - 0.1**3) / (3 * 4.9) / 2  # of y: of amplitudes uniform in [.1, 5], at any phase
TASKS, RIGHT, WRONG = "tasks of the pool", "right support", "wrong support"
NEW = "new tasks"


@dataclass(frozen=True)
class Config:
    """Settings.

    pools: numbers of training tasks, three or more, increasing. MR-MAML is trained with all but the last.
    meta_steps: of training. tasks: of a meta-step.
    measured: tasks of each kind, a seed.
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
    """What the claim says of memory, of the number of tasks, and of MR-MAML."""
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
    """What shows that the learner is broken, or that memory or a code are not what they should be."""
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
    """As many steps and candidates for all arms; the floor is what a sum over a grid gives."""
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
    """MAML in every arm as one program, MR-MAML as another."""
    from lrn.config import config as pytree
    from lrn.meta.adapt import InnerConfig
    from lrn.meta.maml import MAMLConfig, maml
    from lrn.meta.mr_maml import MRMAMLConfig, mr_maml

    @pytree
    class Arm:
        """Tasks in the pool; whether there is a code, and whether it is drawn anew; what is tuned."""

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
        """The learner on tasks of its pool: what is sampled is the key that they are drawn by."""
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
    """Tasks of a pool or new ones, each with its code beside x.

    Args:
        pool: the number of the pool, uint32; it holds the first ``c.pool`` of its tasks.
        c: ``pool`` tasks, ``coded`` times a code, which is drawn ``anew`` at each episode.
        new: whether tasks are outside of the pool.
        wrong: whether the values of the support set are another task's.
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
        if wrong is not False:  # or traced
            misled, _ = base.batch(key, base.sample(other))
            support = {**support, "y": jnp.where(wrong, misled["y"], support["y"])}
        code = c.coded * jnp.where(c.anew > 0, jax.random.normal(fresh, (NUMBERS,)), task["code"])

        def told(part: Any) -> Any:
            beside = jnp.broadcast_to(code[None], (part["x"].shape[0], NUMBERS))
            return {**part, "x": jnp.concatenate([part["x"], beside], axis=1)}

        return told(support), told(query)

    return TaskFamily("sinusoids with a code", sample, batch, 1)


def _key_of(pool: Any, number: Any) -> Any:
    """What a task of a pool is drawn by."""
    import jax

    return jax.random.fold_in(jax.random.fold_in(jax.random.key(_POOL), pool), number)


def least(seeds: Sequence[int], size: int) -> Any:
    """The least mean error that one function has on all tasks of a pool, for each seed, exactly.

    A sinusoid is a sum of sin x and cos x; the best function is that of their mean coefficients.
    """
    import numpy as np

    from lrn.meta.families.sinusoid import HIGH

    amplitude, phase = waves_of(seeds, size)
    squares = 0.5 + np.array([-1, 1]) * np.sin(2 * HIGH) / (4 * HIGH)  # the mean of sin^2 x, and of cos^2 x
    spread = [(amplitude * part(phase)).var(axis=1) for part in (np.cos, np.sin)]
    return squares @ np.array(spread) / VARIANCE


def waves_of(seeds: Sequence[int], size: int) -> tuple[Any, Any]:
    """Amplitudes and phases of the first tasks of each seed's pool, float64 [seeds, size]."""
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
    """`least` without its algebra: at each x the best answer is the mean over tasks."""
    import numpy as np

    from lrn.meta.families.sinusoid import HIGH

    amplitude, phase = waves_of(seeds, size)
    x = (np.arange(points) + 0.5) / points * 2 * HIGH - HIGH
    y = amplitude[..., None] * np.sin(x + phase[..., None])  # [seeds, tasks, points]
    return y.var(1).mean(-1) / VARIANCE


_POOL = 77  # a stream of keys for pools
# Name, and whether tasks are new, the support set is wrong, and which keys are used.
_KINDS = (
    ("validation", True, False, 0),
    (f"{NEW}, {RIGHT}", True, False, 1),
    (f"{NEW}, {WRONG}", True, True, 1),
    (f"{TASKS}, {RIGHT}", False, False, 2),
    (f"{TASKS}, {WRONG}", False, True, 2),
)


def _measure(config: Config, problem: Any) -> Any:
    """An evaluation on every kind of tasks at once: mean errors after 0 to 5 steps, and what diverged."""
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
    """What was measured of a candidate, before and after training: [seeds, 2, steps + 1] of each kind."""
    import numpy as np

    return {
        kind: np.stack([table.curve(candidate, f"{kind} @{k}")[1] for k in range(STEPS + 1)], -1)
        for kind, *_ in _KINDS
    } | {"diverged": table.curve(candidate, "diverged")[1]}


def _record(context: Context, name: str, scores: Sequence[dict[str, Any]]) -> None:
    """Record an arm by the candidate of the least validation error after the last step."""
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
    """Adaptation on the pool's tasks and on new ones with few tasks; errors by the number of tasks."""
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
