"""Prototypical networks against MAML on the same few-shot tasks: which is more accurate, at what cost? (C6)

Claim. Representing a class by the mean of its features does what adaptation by gradients does: it is as
accurate as MAML on the same few-shot tasks, and cheaper, because it needs no second derivatives.

Design. The tasks are from Omniglot, 5 ways with 1 and with 5 shots. One draw gives 1,100 characters for
training, 100 for validation and 423 for test; in training turned characters are further classes.
Prototypical networks (Snell et al. 2017) and MAML (Finn et al. 2017) have the same body and see the same
episodes, with the same pictures in the same order. Each method has three candidates: prototypes three
rates of the outer optimizer, MAML three inner rates at the outer rate that was best in a pilot. MAML
takes one inner step in training, as its authors did on Omniglot. The accuracy on validation characters
chooses the candidate, and for MAML also the number of steps at test (1 to 10), for each length of
training separately; MAML's larger choice is in its favor. First-order MAML is only in the full preset: in
the pilot its meta-step cost as much as that of prototypes, and its accuracy was 53 and 66 percent where
MAML had 66 and 80. Pooled pretraining is compared in another study (I8).

The cost is the number of floating-point operations in one lowered meta-step as XLA counts it, without the
drawing of tasks; it is exact and repeatable. CPU-seconds are printed during the run and decide nothing.
The accuracy is measured at each third of the training. The comparison at equal arithmetic stops MAML
where it has done as many operations as prototypes at their end, and interpolates its accuracy there
between two thirds.

What decides. At equal episodes prototypes are not worse by over two points. At equal arithmetic they are
better. They reach MAML's final accuracy with less than half of MAML's arithmetic; if they never reach it,
they count as if they needed twice the training.

Set beforehand: pilots on seeds 1000 and 1001 fixed the body, the number of meta-steps, and the ranges of
candidates around the best ones (for MAML outer rates of 1e-3 and 1e-2 and an inner rate of .8 were worse;
for prototypes a rate of 3e-2). The pilots had shown prototypes ahead by some points; the margins follow
from the claim.

Controls. With the support set of other characters every method is at chance. Training improves
prototypes, and MAML is better than the same steps from untrained weights. XLA's count of a prototypical
meta-step equals a count by hand (for the mlp body). NIL, the nearest features of MAML's body, is shown
for information.

    python -m experiments.meta.prototypes --preset quick

takes about a minute on two cores, half of it for compilation. Expected: partly supported, with one regime
of six open. Prototypes are ahead by 3 points with one shot and by 4 with five, and by 4 and 6 at equal
arithmetic. With five shots they reach MAML's accuracy with .29 of its arithmetic; with one shot they need
about half, which is the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrn import check
from lrn.study import (
    OLD_FORM,
    Cell,
    Control,
    Exact,
    Prediction,
    Study,
    Superiority,
    Within,
    by_regime,
    equal_budgets,
    no_overlap,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lrn.study.context import Context
    from lrn.table import Table

PROTOTYPES, MAML, FIRST = "prototypes", "MAML", "first-order MAML"
# The candidates, equally many for each method: outer rates, and pairs of an outer and an inner rate.
RATES = (1e-3, 3e-3, 1e-2)
PAIRS = ((3e-3, 0.1), (3e-3, 0.2), (3e-3, 0.4))
WAYS = 5
PARTS = 3  # the number of parts of the training; accuracy is measured at the end of each part
POINTS = 0.02
BODIES = ("mlp", "conv4")
# An alphabet for each part, for trials without Omniglot.
GLYPHS = {"train": "cyrillic", "validation": "hebrew", "test": "greek"}


@dataclass(frozen=True)
class Config:
    """Settings.

    shots: the numbers of shots, one or several.
    meta_steps: the number of meta-steps, a multiple of 3. tasks: the number of tasks in a meta-step.
    steps: the largest number of steps of adaptation at test.
    first_order: whether first-order MAML is trained too.
    data: "omniglot", or "glyphs", an alphabet for each part, for trials without data.
    body: "mlp", two layers, or "conv4". width: the width of its layers. size: the side of the pictures,
        in pixels.
    queries: the number of queries of a class, in training and at test.
    measured: the number of test tasks of a seed. validated: the number of validation tasks of a seed.
    """

    shots: tuple[int, ...] = (1, 5)
    meta_steps: int = 450
    tasks: int = 4
    steps: int = 10
    first_order: bool = False
    data: str = "omniglot"
    body: str = "mlp"
    width: int = 64
    size: int = 14
    queries: int = 5
    measured: int = 60
    validated: int = 40

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("tasks", "steps", "width", "size", "queries", "validated"):
            check.integer(name, getattr(self, name), low=1)
        check.integer("measured", self.measured, low=2)  # a wrong support set needs a second task
        check.integer("meta_steps", self.meta_steps, low=PARTS)
        if self.meta_steps % PARTS:
            raise check.InputError(
                f"meta_steps must be a multiple of {PARTS}, got {self.meta_steps}; round it."
            )
        check.choice("body", self.body, BODIES)
        check.choice("data", self.data, ("omniglot", "glyphs"))
        for shots in self.shots:
            check.integer("a number of shots", shots, low=1)
        if not self.shots or len(set(self.shots)) < len(self.shots):
            raise check.InputError(
                f"shots must be one number or several different ones, got {list(self.shots)}; give (1, 5)."
            )
        most = 20 - max(self.shots)
        if self.queries > most:
            raise check.InputError(
                f"queries must be at most {most}, got {self.queries}: there are 20 drawings of a character."
            )

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the compared methods."""
        return (PROTOTYPES, MAML, FIRST) if self.first_order else (PROTOTYPES, MAML)


def arm(method: str, shots: int) -> str:
    """The name of a method's arm."""
    return f"{method}, {shots} shot{'s' if shots > 1 else ''}"


def predictions(config: Config) -> Sequence[Prediction]:
    """The predictions of the claim for each number of shots."""
    found: list[Prediction] = []
    for shots in config.shots:
        prototypes, regime = Cell(arm(PROTOTYPES, shots), "accuracy"), f"{shots}-shot"
        found += [
            Superiority(
                statement=f"{shots}-shot: prototypes are not two points under {other} at equal episodes.",
                better=prototypes,
                worse=Cell(arm(other, shots), "accuracy"),
                margin=-POINTS,
                regime=f"{regime}, equal episodes, {other}",
            )
            for other in config.methods[1:]
        ]
        found.append(
            Superiority(
                statement=f"{shots}-shot: prototypes are better than MAML at equal arithmetic.",
                better=prototypes,
                worse=Cell(arm(MAML, shots), "accuracy at equal arithmetic"),
                regime=f"{regime}, equal arithmetic",
            )
        )
        found.append(
            Within(
                statement=f"{shots}-shot: prototypes reach MAML's accuracy with under half its arithmetic.",
                cell=Cell(arm(PROTOTYPES, shots), "arithmetic to MAML's accuracy"),
                low=-1.0,
                high=0.5,
                regime=f"{regime}, arithmetic to equal accuracy",
            )
        )
    return found


def controls(config: Config) -> Sequence[Control]:
    """Controls that detect leaking labels, a training without effect, and a wrong count of operations."""
    checks: list[Prediction] = []
    for shots in config.shots:
        checks += [
            Within(
                statement=f"{arm(method, shots)}: at chance, .2 +- .03, with other characters' support set.",
                cell=Cell(arm(method, shots), "accuracy, wrong support"),
                low=1 / WAYS - 0.03,
                high=1 / WAYS + 0.03,
            )
            for method in config.methods
        ]
        checks += [
            Superiority(
                statement=f"{shots}-shot: training betters {method} by over five points.",
                better=Cell(arm(method, shots), "accuracy"),
                worse=Cell(arm(method, shots), "accuracy, untrained"),
                margin=0.05,
            )
            for method in config.methods
        ]
        if config.body == "mlp":
            checks.append(
                Exact(
                    statement=f"{shots}-shot: XLA counts a prototypical meta-step as by hand, +- 10%.",
                    cell=Cell(arm(PROTOTYPES, shots), "arithmetic over counted by hand"),
                    value=1.0,
                    atol=0.1,
                )
            )
    return [*map(Control, checks), *_treated_alike(config)]


def candidate(method: str, shots: int, i: int) -> str:
    """The name of one of a method's trainings."""
    return f"{arm(method, shots)}, candidate {i}"


def _treated_alike(config: Config) -> list[Control]:
    """All methods have equally many steps, tasks and candidates; no test character is in training."""
    found = []
    for shots in config.shots:
        methods = [arm(method, shots) for method in config.methods]
        trainings = [candidate(method, shots, i) for method in config.methods for i in range(len(RATES))]
        found.append(equal_budgets("candidates", methods))
        found += [equal_budgets(what, trainings) for what in ("steps", "samples")]
        found += [no_overlap(name) for name in trainings]
    return found


def run(config: Config, context: Context) -> None:
    """Run the comparison for each number of shots."""
    data = _pictures(config)
    for shots in config.shots:
        _few_shot(config, context, shots, data)


def _pictures(config: Config) -> dict[str, Any]:
    """The pictures of each part, uint8 [classes, 20, size, size, 1]."""
    if config.data == "glyphs":
        from lrn.data.glyphs import glyphs

        return {part: glyphs(script, size=config.size).images for part, script in GLYPHS.items()}
    from lrn.data.few_shot import omniglot

    # The last 100 characters of "development" are those for validation.
    development, test = (omniglot(part, size=config.size).images for part in ("development", "test"))
    return {"train": development[:-100], "validation": development[-100:], "test": test}


def _few_shot(config: Config, context: Context, shots: int, data: Mapping[str, Any]) -> None:
    """Train all methods on tasks with ``shots`` shots, and record their accuracy and cost."""
    import jax
    import numpy as np

    from lrn.meta.adapt import InnerConfig
    from lrn.meta.episode import TaskFamily, draw, episodes
    from lrn.meta.maml import MAMLConfig, maml
    from lrn.meta.nil import nil
    from lrn.meta.problem import classification
    from lrn.meta.prototypical import PrototypicalConfig, prototypical

    problem = classification(_body(config), WAYS)

    def family(data: Any) -> TaskFamily:
        return _tasks(config, shots, data, "train")

    judged = draw(_tasks(config, shots, data, "test"), jax.random.key(0), config.measured)
    pictures = judged.query["x"].reshape(-1, *judged.query["x"].shape[-3:])

    def pairs(order: str) -> list[Any]:
        return [MAMLConfig(InnerConfig(rate=inner, order=order), outer) for outer, inner in PAIRS]

    learners: dict[str, tuple[Any, list[Any]]] = {
        PROTOTYPES: (prototypical, [PrototypicalConfig(rate, halve_every=0) for rate in RATES]),
        MAML: (maml, pairs("second")),
        FIRST: (maml, pairs("first")),
    }
    scores, cost = {}, {}
    for method in config.methods:
        learner, candidates = learners[method]
        name = arm(method, shots)
        others = {"NIL": nil} if method == MAML else {}
        fit = context.fit(
            lambda c, learner=learner: learner(problem, c),
            {candidate(method, shots, i): c for i, c in enumerate(candidates)},
            name=name,
            steps=config.meta_steps,
            sampler=episodes(family, config.tasks),
            data=data,
            evaluate=_measure(config, problem, shots, learner, others),
            eval_every=config.meta_steps // PARTS,
        )
        for training in fit.arms:
            context.judged_on(training, pictures)
        context.given(name, {"candidates": len(fit.arms)})
        scores[method] = _scores(fit, config.steps, others)
        cost[method], adapting = _arithmetic(
            config, learner(problem, candidates[0]), problem, method, family(data)
        )
        context.record(name, "megaflops of a meta-step", np.full(len(context.seeds), cost[method] / 1e6))
        context.record(name, "megaflops of adapting", np.full(len(context.seeds), adapting / 1e6))
        if fit.cpu["train"]:
            spent = 1e3 * fit.cpu["train"] / config.meta_steps / len(candidates) / len(context.seeds)
            context.say(f"{name}: {spent:.2f} CPU-milliseconds a meta-step.")
    counted = _by_hand(config, shots) if config.body == "mlp" else float("nan")
    ratio = np.full(len(context.seeds), cost[PROTOTYPES] / counted)
    context.record(arm(PROTOTYPES, shots), "arithmetic over counted by hand", ratio)
    for method in config.methods:
        _record(context, config, arm(method, shots), scores[method], cost[PROTOTYPES] / cost[method])
    _record_reached(context, config, shots, scores, cost)


def _tasks(config: Config, shots: int, data: Any, part: str) -> Any:
    """The tasks of a part of the characters; only in training turned characters are further classes."""
    from lrn.meta.families.few_shot import few_shot

    return few_shot(data[part], WAYS, shots, config.queries, rotations=part == "train")


def _body(config: Config) -> Any:
    from lrn import nets

    if config.body == "mlp":
        return nets.mlp(None, (config.width, config.width), mean=0.1, std=0.25)
    return nets.conv4(None, config.width, blocks=4 if config.size > 16 else 3, mean=0.1, std=0.25)


def _measure(config: Config, problem: Any, shots: int, learner: Any, others: Mapping[str, Any]) -> Any:
    """An evaluation on validation tasks, on test tasks, and on test tasks with a wrong support set."""
    import jax
    import jax.numpy as jnp

    from lrn.meta.episode import draw
    from lrn.meta.evaluate import per_task
    from lrn.meta.mislead import wrong_support

    wrong = max(1, config.measured // 4)

    def measure(c: Any, key: Any, state: Any, data: Any) -> Any:
        seen, new = (_tasks(config, shots, data, part) for part in ("validation", "test"))
        keys = jax.random.split(key, 2)
        tasks = draw(new, keys[1], config.measured)
        # Each task gets the support set of the next task, whose labels stand for other characters.
        misled = jax.tree.map(lambda x: x[:wrong], wrong_support(tasks))
        parts = [draw(seen, keys[0], config.validated), tasks, misled]
        every = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
        right = per_task(learner(problem, c), problem, state, every, config.steps)["accuracy"]
        ends = (config.validated, config.validated + config.measured)
        found = {
            f"{part} @{k}": values.mean(0)[k]
            for part, values in zip(("validation", "test", "wrong"), jnp.split(right, ends))
            for k in range(config.steps + 1)
        }
        for name, other in others.items():
            found[name] = per_task(other(problem, c), problem, state, tasks, 0)["accuracy"].mean()
        return found

    return measure


def _scores(fit: Any, steps: int, others: Mapping[str, Any]) -> dict[str, Any]:
    """The accuracies of each part, [candidates, seeds, points, steps + 1], and of others, without steps."""
    import numpy as np

    def curve(name: str, metric: str) -> Any:
        return fit.table.curve(name, metric)[1]

    found = {
        part: np.stack(
            [np.stack([curve(name, f"{part} @{k}") for k in range(steps + 1)], -1) for name in fit.arms]
        )
        for part in ("validation", "test", "wrong")
    }
    return {**found, **{name: np.stack([curve(a, name) for a in fit.arms]) for name in others}}


def best(validation: Any) -> tuple[int, int]:
    """The candidate and the number of steps of the best mean accuracy, of [candidates, seeds, steps + 1].

    No step at all is no choice; where steps change nothing it is one step.
    """
    import numpy as np

    mean = np.nan_to_num(validation.mean(1), nan=-1.0)[:, 1:]
    candidate, steps = np.unravel_index(mean.argmax(), mean.shape)
    return int(candidate), int(steps) + 1


def at_share(values: Any, share: float) -> Any:
    """Values [..., points, steps + 1] at a share of the training, interpolated between measured points."""
    import numpy as np

    place = min(max(share, 0.0), 1.0) * (values.shape[-2] - 1)
    low = int(np.floor(place))
    high = min(low + 1, values.shape[-2] - 1)
    return values[..., low, :] + (place - low) * (values[..., high, :] - values[..., low, :])


def _chosen(scores: Mapping[str, Any], share: float, part: str = "test") -> Any:
    """A part's accuracy [seeds] at a share of the training, by the choice of validation tasks there."""
    candidate, steps = best(at_share(scores["validation"], share))
    return at_share(scores[part][candidate], share)[:, steps]


def _record(context: Context, config: Config, name: str, scores: Mapping[str, Any], share: float) -> None:
    """Record an arm; ``share`` of its training costs as much as the whole training of prototypes."""
    import numpy as np

    for i in range(PARTS + 1):
        step = i * config.meta_steps // PARTS
        context.record(name, "accuracy along training", _chosen(scores, i / PARTS), step=step)
    context.record(name, "accuracy", _chosen(scores, 1.0))
    context.record(name, "accuracy at equal arithmetic", _chosen(scores, share))
    context.record(name, "accuracy, untrained", _chosen(scores, 0.0))
    context.record(name, "accuracy, wrong support", _chosen(scores, 1.0, "wrong"))
    candidate, steps = best(scores["validation"][:, :, -1])
    context.record(name, "candidate", np.full(len(context.seeds), candidate))
    context.record(name, "steps of adaptation", np.full(len(context.seeds), steps))
    untrained, _ = best(scores["validation"][:, :, 0])
    for k in range(config.steps + 1):
        context.record(name, "accuracy after steps", scores["test"][candidate, :, -1, k], step=k)
        context.record(name, "accuracy after steps, untrained", scores["test"][untrained, :, 0, k], step=k)
    if "NIL" in scores:
        context.record(name, "accuracy of nearest features", scores["NIL"][candidate, :, -1])


def _record_reached(
    context: Context, config: Config, shots: int, scores: Mapping[str, Any], cost: Mapping[str, float]
) -> None:
    """Record the share of MAML's arithmetic with which prototypes reach MAML's final accuracy."""
    import numpy as np

    target = _chosen(scores[MAML], 1.0).mean()
    along = np.stack([_chosen(scores[PROTOTYPES], i / PARTS) for i in range(PARTS + 1)], 1)
    share = np.array([reached(curve, target) for curve in along])
    context.record(
        arm(PROTOTYPES, shots), "arithmetic to MAML's accuracy", share * cost[PROTOTYPES] / cost[MAML]
    )


def reached(curve: Any, target: float) -> float:
    """The share of the training at which a curve [points] first reaches the target; 2 if it never does."""
    import numpy as np

    above = np.flatnonzero(np.asarray(curve) >= target)
    if not above.size:
        return 2.0
    i = int(above[0])
    if i == 0:
        return 0.0
    return (i - 1 + (target - curve[i - 1]) / (curve[i] - curve[i - 1])) / (len(curve) - 1)


def _arithmetic(config: Config, learner: Any, problem: Any, method: str, family: Any) -> tuple[float, float]:
    """The floating-point operations of a meta-step, and of one step of adaptation, as XLA counts."""
    import jax

    from lrn.meta.adapt import InnerConfig
    from lrn.meta.episode import draw
    from lrn.meta.inner import adapt_part
    from lrn.meta.prototypical import prototypes

    key = jax.eval_shape(lambda: jax.random.key(0))
    batch = jax.eval_shape(lambda k: draw(family, k, config.tasks), key)
    state = jax.eval_shape(learner.init, key, batch)
    support = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch.support)

    def adapted(state: Any, support: Any) -> Any:
        if method == PROTOTYPES:
            features = problem.features(state.meta, state.net_state, support, support["x"])
            return prototypes(features, support["y"], WAYS)
        return adapt_part(problem, state.meta, state.net_state, support, InnerConfig())[0]

    return _flops(learner.step, key, state, batch), _flops(adapted, state, support)


def _flops(function: Any, *args: Any) -> float:
    import jax

    found = jax.jit(function).lower(*args).cost_analysis()
    return float(found["flops"]) if found else float("nan")


def _by_hand(config: Config, shots: int) -> float:
    """Multiplications and additions in the matrix products of a prototypical meta-step, with the mlp body.

    An example costs its forward pass, the gradient of the weights, and that of what comes into each layer but
    the first.
    """
    first, second = config.size**2 * config.width, config.width**2
    examples = config.tasks * WAYS * (shots + config.queries)
    return 2.0 * examples * (2 * first + 3 * second)


def figure(table: Table, config: Config) -> Figure:
    """Accuracy over arithmetic, and over steps of adaptation; on the left one shot, on the right five."""
    from lrn import figures

    fig, axes = figures.subplots(2, len(config.shots), height=7.0, squeeze=False)
    dashes = ("-", (0, (5, 2)), (0, (1, 1.3)))
    for column, shots in enumerate(config.shots):
        ax = axes[0, column]
        for dash, marker, method in zip(dashes, "os^", config.methods):
            name = arm(method, shots)
            steps, accuracy = table.curve(name, "accuracy along training")
            gigaflops = steps * table.final(name, "megaflops of a meta-step").mean() / 1e3
            figures.curves(ax, gigaflops, {method: accuracy}, legend=False)
            ax.lines[-1].set(linestyle=dash, marker=marker)
        ax.set(
            title=f"5 ways, {shots} shot{'s' if shots > 1 else ''}: training",
            xlabel="arithmetic, Gflop",
            ylabel="accuracy on new characters",
        )
        ax.legend()
        adaptation = {m: table.curve(arm(m, shots), "accuracy after steps")[1] for m in config.methods}
        adaptation["untrained, by gradients"] = table.curve(
            arm(MAML, shots), "accuracy after steps, untrained"
        )[1]
        adaptation["untrained, prototypes"] = table.curve(
            arm(PROTOTYPES, shots), "accuracy after steps, untrained"
        )[1]
        figures.curves(
            axes[1, column],
            range(config.steps + 1),
            adaptation,
            title="adaptation after training",
            xlabel="steps",
            ylabel="accuracy on new characters",
            legend=column == 0,
        )
    return fig


STUDY = Study(
    title="Prototypes or MAML: who is right more often, at what cost?",
    claim="Prototypical networks are as accurate as MAML on the same few-shot tasks, and cost less.",
    claim_id="C6",
    section="Concepts",
    regime=(
        "Omniglot, 5 ways, 1 and 5 shots, 14x14 pictures, an MLP of two layers of 64, 450 meta-steps of 4 "
        "tasks (full: conv4 of 64 channels at 28x28, 21,000 meta-steps of 32)."
    ),
    presets={
        "smoke": Config(
            shots=(1,),
            meta_steps=6,
            tasks=2,
            steps=2,
            data="glyphs",
            width=16,
            size=7,
            measured=8,
            validated=4,
        ),
        "quick": Config(),
        "full": Config(
            meta_steps=21_000,
            tasks=32,
            first_order=True,
            body="conv4",
            size=28,
            queries=15,
            measured=600,
            validated=200,
        ),
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
