"""Lines of `experiments.bench.representation_numbers_colored`: a method on Colored MNIST, seed by seed."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import data, nets, train
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
PILOT = {"ERM": (0.844, 0.10), "IRM": (0.66, 0.68), "grey": (0.74, 0.73)}  # train and test, redrawn


def _few(name: str, known: dict[str, tuple[float, float]], redrawn: bool) -> Line:
    return PUBLISHED[name]._replace(images=FEW, redrawn=redrawn, known=known)


def _near(name: str) -> dict[str, tuple[float, float]]:
    return {figure: (at - 0.05, at + 0.05) for figure, at in zip(("train", "test"), PILOT[name])}


LINES = {
    **{f"published {name}": line for name, line in PUBLISHED.items()},
    **{f"redrawn {name}": _few(name, _near(name), True) for name in PUBLISHED},
    "fixed IRM": _few("IRM", {"test": (0.0, 0.47)}, False),
}


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
        shapes = list(itertools.pairwise(sizes))
        return [(initial(k, shape), jnp.zeros(shape[1])) for k, shape in zip(keys, shapes)]

    def apply(params: Any, x: Array) -> Array:
        h = seen(x)
        for i, (kernel, bias) in enumerate(params):
            h = h @ kernel + bias[None]
            h = jax.nn.relu(h) if i < 2 else h
        return h

    return nets.from_function(init, apply)
