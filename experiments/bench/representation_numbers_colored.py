"""``python -m experiments.bench representation_numbers_colored [NAME ...] [--save FOLDER]``: Colored MNIST.

Each line trains one method on ten seeds and reports accuracies in training and at test (the color flipped
with chance .9), as means over seeds with 95% t intervals, beside what is known. The exit code is 1 if a mean
differs from a known one (Welch's test at .05), or lies outside of a known range.

published ERM, IRM, grey: the protocol and the settings of Arjovsky et al. (2019), of whose ten restarts the
    means and standard deviations are known: 50,000 images at 14x14x2 in two environments, all rows at each of
    500 steps (grey: 100), labels and colors drawn once. IRM takes most of an hour for two seeds on one core.
redrawn ERM, IRM, grey: the same on 5,000 images with labels and colors redrawn at each step; known from a
    pilot in another library.
fixed IRM: 5,000 images with labels and colors drawn once: the flipped labels are memorized, and IRM fails.

The rules that choose among the authors' numbers of steps (100, 200, ... 500) are compared: validation in the
training environments, on MNIST's test images; validation in one environment of a network trained on the
other, in two halves (``--left-out``, which doubles the cost); and the oracle, on half of the test rows. What
they chose is judged on the other half of the test rows. The authors chose all settings by the oracle.

With ``--save`` a stopped seed is resumed and a finished one is read, so that more seeds can be added.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from scipy import stats as scipy_stats

from lrn import check, data, nets, stats, train
from lrn.data import colored_mnist as colored
from lrn.representation.environments import without
from lrn.representation.erm import ERMConfig, erm
from lrn.representation.irm import irm
from lrn.representation.penalized import PenaltyConfig
from lrn.representation.selection import LEAVE_ONE_OUT, ORACLE, TRAINING_DOMAINS, Scores, choose
from lrn.supervised.learner import weights
from lrn.supervised.losses import cross_entropy
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Net, Params
from lrn.xla.runtime import enable_compilation_cache

EVERY = 100  # steps between the authors' candidates
FEW = 5000


class Line(NamedTuple):
    """A method on a protocol.

    factory, config: the method and its settings. hidden: the width of both layers. steps: of the training.
    known: from a figure to the mean and standard deviation of ten restarts, or to the least and the most.
    images: the number of training images. redrawn: whether labels and colors are redrawn at each step.
    grey: whether the network sees no color.
    """

    factory: Callable[..., Any]
    config: Any
    hidden: int
    known: dict[str, tuple[float, float]]
    steps: int = 500
    images: int = colored.TRAINING
    redrawn: bool = False
    grey: bool = False


def adam(rate: float) -> OptimizerConfig:
    """The authors' optimizer."""
    return OptimizerConfig("adam", rate)


PENALTY = PenaltyConfig(
    adam(0.0004898536566546834), penalty=91257.18613115903, begin=190.0, before=1.0, l2=0.00110794568
)
PUBLISHED = {
    "ERM": Line(
        erm, ERMConfig(adam(0.001), l2=0.001), 256, {"train": (0.874, 0.002), "test": (0.171, 0.006)}
    ),
    "IRM": Line(irm, PENALTY, 390, {"train": (0.708, 0.009), "test": (0.669, 0.025)}),
    "grey": Line(
        erm,
        ERMConfig(adam(0.0028171488133821726), l2=0.0008602868865288383),
        83,
        {"train": (0.735, 0.002), "test": (0.730, 0.004)},
        steps=100,
        grey=True,
    ),
}
RANGES = {
    "ERM": {"train": (0.82, 0.87), "test": (0.08, 0.16)},
    "IRM": {"train": (0.62, 0.72), "test": (0.62, 0.72)},
    "grey": {"train": (0.70, 0.77), "test": (0.70, 0.75)},
}


def _few(name: str, known: dict[str, tuple[float, float]], redrawn: bool) -> Line:
    return PUBLISHED[name]._replace(images=FEW, redrawn=redrawn, known=known)


LINES = {
    **{f"published {name}": line for name, line in PUBLISHED.items()},
    **{f"redrawn {name}": _few(name, RANGES[name], True) for name in PUBLISHED},
    "fixed IRM": _few("IRM", {"test": (0.30, 0.47)}, False),
}


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


def figures(line: Line, seed: int, left_out: bool, folder: Path | None) -> dict[str, float]:
    """Accuracies at the end, and at the number of steps that each rule chooses."""
    part, test, validation = deal(line, seed)
    judged = {"train": part, "validation": validation, "test": test}
    found = trained(line, seed, part, judged, folder and folder / "whole")
    last = {"train": found["train 0"][-1] / 2 + found["train 1"][-1] / 2, "test": found["test"][-1]}
    scores = Scores(
        np.stack([found["validation 0"], found["validation 1"]], -1), None, found["test, chosen on"]
    )
    rules = [TRAINING_DOMAINS, ORACLE]
    if left_out:
        folds = []
        for e in range(2):
            fold = {"image": part["image"], "digit": part["digit"]}
            fold |= without({k: v for k, v in part.items() if k not in fold}, e)
            own = {"validation": validation}
            folds.append(
                trained(line, seed, fold, own, folder and folder / f"without_{e}")[f"validation {e}"]
            )
        scores, rules = scores._replace(left_out=np.stack(folds, -1)), [*rules, LEAVE_ONE_OUT]
    for rule in rules:
        i = int(choose(rule, scores))
        last[f"test, judged, by {rule.name}"] = found["test, judged"][i]
        last[f"steps by {rule.name}"] = EVERY * (i + 1)
    return {name: float(value) for name, value in last.items()}


def deal(line: Line, seed: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Training, test and validation environments of a seed."""
    mnist, new = data.load("mnist", "train"), data.load("mnist", "test")
    first, second = jax.random.split(jax.random.fold_in(jax.random.key(2019), seed))
    part, test = colored.published(first, mnist["image"], mnist["label"])
    if line.images < colored.TRAINING:
        chosen = np.asarray(part["rows"])[:, : line.images // 2]
        part |= {name: np.asarray(part[name])[:, : line.images // 2] for name in ("rows", "y", "color")}
        # Rows count through the images that are kept.
        part |= {"image": part["image"][chosen.ravel()], "digit": part["digit"][chosen.ravel()]}
        part["rows"] = np.arange(chosen.size, dtype=np.int32).reshape(chosen.shape)
    validation = {"image": colored.halved(new["image"])}
    validation |= colored.assign(second, new["label"].astype(np.int32), colored.FLIPS)
    return part, test, validation


def trained(
    line: Line, seed: int, part: dict[str, Any], judged: dict[str, dict[str, Any]], folder: Path | None
) -> dict[str, np.ndarray]:
    """Accuracies [candidates] of one seed's training at every hundredth step."""
    net = network(line.hidden, line.grey)
    draw = colored.painted().draw

    def evaluate(learner: Any, config: Any, key: Any, state: Any, given: Any) -> dict[str, Array]:
        del learner, config
        found: dict[str, Array] = {}
        for name, own in given["judged"].items():
            batch = draw(key, own)
            for e in range(batch["y"].shape[0]):
                right = (net.apply(*weights(state), batch["x"][e])[0][:, 0] > 0) == batch["y"][e]
                found[name if name == "test" else f"{name} {e}"] = jnp.mean(right, dtype=jnp.float32)
                if name == "test":
                    half = right.shape[0] // 2
                    found["test, chosen on"] = jnp.mean(right[:half], dtype=jnp.float32)
                    found["test, judged"] = jnp.mean(right[half:], dtype=jnp.float32)
        return found

    fit = train.fit(
        lambda config: line.factory(net, cross_entropy, config),
        line.config,
        [seed],
        steps=line.steps,
        data={**part, "judged": judged},
        sampler=colored.redrawn() if line.redrawn else colored.painted(),
        evaluate=evaluate,
        eval_every=EVERY,
        log_every=EVERY,
        folder=folder,
        save_seconds=60.0,
        progress=False,
    )
    names = [f"validation {e}" for e in range(2)]
    names += [*(f"train {e}" for e in range(2)), "test", "test, chosen on", "test, judged"]
    present = [n for n in names if n.split()[0].rstrip(",") in judged]
    curves = {name: fit.table.curve("default", name) for name in present}
    assert all(math.isfinite(y[0, -1]) for _, y in curves.values()), "a training became non-finite"
    return {name: np.asarray(y)[0, np.asarray(x) > 0] for name, (x, y) in curves.items()}


@functools.cache
def network(hidden: int, grey: bool) -> Net:
    """The authors' network: two hidden layers, Glorot's uniform initial weights, one logit."""
    initial = jax.nn.initializers.glorot_uniform()

    def seen(x: Array) -> Array:
        return (colored.grey(x) if grey else x).reshape(x.shape[0], -1)

    def init(key: Any, x: Array) -> Params:
        sizes = [seen(x).shape[1], hidden, hidden, 1]
        keys = jax.random.split(key, 3)
        shapes = list(zip(sizes[:-1], sizes[1:]))
        return [(initial(k, shape), jnp.zeros(shape[1])) for k, shape in zip(keys, shapes)]

    def apply(params: Any, x: Array) -> Array:
        h = seen(x)
        for i, (kernel, bias) in enumerate(params):
            h = h @ kernel + bias[None]
            h = jax.nn.relu(h) if i < 2 else h
        return h

    return nets.from_function(init, apply)
