"""The tasks and trainings of `free_robustness`: few labels, pseudo-labels, and closed forms."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from experiments.robust import _clouds as clouds
from experiments.robust._vulnerability import learner
from lrn import nets
from lrn.config import config as pytree
from lrn.data.dataset import split
from lrn.data.few_shot import shrink
from lrn.data.seeded import for_seeds
from lrn.robust.apgd import APGDConfig, apgd
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.losses import is_correct
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.square import SquareConfig, square
from lrn.study.context import Context
from lrn.study.findings import Found
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Sampler

BATCH, D, STRONG, WEAK, EPS = 64, 100, 5, 0.15, 0.2  # of Gaussians: EPS in units, above the weak means
LABELS, BOTH = "labels alone", "with unlabelled data"
SOURCES = (LABELS, BOTH)
LENGTHS = {"separated": 4.0, "overlapping": 1.5}  # of the strong part of the mean
RADIUS = EPS * clouds.UNIT  # in pixels
UNLABELLED = 10**6  # the first unlabelled row of Gaussians


@pytree
class Arm:
    """A training.

    eps: in pixels. labels: their number. extra: 1 with unlabelled data. length: of the strong part of the
    Gaussians' mean. teacher: the row of the pseudo-labels.
    """

    eps: float = 0.0
    labels: float = 1.0
    extra: float = 0.0
    length: float = 0.0
    teacher: float = 0.0


class Task(NamedTuple):
    """What arms are trained on.

    net: the network. attack: from a radius to the attack of the training.
    batch: ``batch(arm, seed, rows, data) -> (x, y)``; rows of labelled data are those below the number of
        labels, unlabelled row i is ``unlabelled + i``.
    data, per_seed: as for `lrn.train.fit`. unlabelled: the first unlabelled row. pool: their number.
    """

    net: Any
    attack: Callable[[Any], Any]
    batch: Callable[..., Any]
    data: Mapping[str, Any]
    per_seed: Mapping[str, Any]
    unlabelled: int
    pool: int


def mean_of(length: Any) -> Any:
    """The mean of class 1: five strong coordinates, and weak ones that are below eps."""
    strong = jnp.arange(D) < STRONG
    return jnp.where(strong, jnp.asarray(length) / math.sqrt(STRONG), WEAK)


def known(length: float) -> dict[str, float]:
    """Closed forms of the Gaussians: the largest clean and the largest robust accuracy, and the clean cost.

    The most robust classifier is sign(rest . z), where rest is the mean after the adversary took up to eps
    from each coordinate (Bhagoji et al. 2019; Dan et al. 2020); the Bayes classifier is sign(mean . z).
    """
    mean = np.asarray(mean_of(length), float)
    rest = np.maximum(mean - EPS, 0)
    size = np.linalg.norm(rest)
    bayes, clean = norm.cdf(np.linalg.norm(mean)), norm.cdf(rest @ mean / size)
    return {"clean": float(bayes), "robust": float(norm.cdf(size)), "cost": float(bayes - clean)}


def gaussian_task(seeds: Any, pool: int) -> Task:
    """Two Gaussians and a linear network, for which one step of FGSM is the exact attack."""

    def batch(arm: Arm, seed: Any, rows: Any, data: Any) -> Any:
        del data
        keys = jax.vmap(lambda r: jax.random.fold_in(jax.random.key(seed), r))(rows)
        noise = jax.vmap(lambda key: jax.random.normal(key, (D,)))(keys)
        y = (rows % 2).astype(jnp.int32)
        return clouds.to_box((2 * y - 1)[:, None] * mean_of(arm.length)[None] + noise), y

    net = nets.mlp(2, (), mean=0.5, std=clouds.UNIT)
    per_seed = {"seed": np.asarray(seeds, np.uint32)}
    return Task(net, lambda eps: fgsm(FGSMConfig(eps=eps)), batch, {}, per_seed, UNLABELLED, pool)


def image_task(seeds: Any, dataset: str, side: int, most: int, pool: int, tests: int, width: int) -> Task:
    """Images of digits; a seed draws its labelled, unlabelled and test rows."""
    parts = for_seeds(dataset, seeds, drawn=dataset == "digits")
    train, test = parts.train_rows, parts.test_rows[:, :tests]
    if dataset != "digits":
        train, test = (
            np.stack([split(s, len(rows[0]), (n / len(rows[0]),))[0] for s in seeds])
            for rows, n in ((train, most + pool), (test, tests))
        )

    def small(part: Any) -> Any:
        return part["image"] if part["image"].shape[1] == side else shrink(part["image"], side)

    image = small(parts.train)
    own = parts.test is parts.train
    data = {
        "image": image, "label": parts.train["label"],
        "test_image": image if own else small(parts.test), "test_label": parts.test["label"],
    }  # fmt: skip

    def batch(arm: Arm, seed: Any, rows: Any, data: Any) -> Any:
        del arm, seed
        chosen = data["rows"][rows]
        return jnp.asarray(data["image"][chosen], jnp.float32) / 255, data["label"][chosen]

    def attack(eps: Any) -> Any:
        return pgd(PGDConfig(eps=eps, step_size=eps / 3, steps=5, keep="last"))

    per_seed = {"seed": np.asarray(seeds, np.uint32), "rows": train[:, : most + pool], "tests": test}
    return Task(nets.mlp(10, (width, width)), attack, batch, data, per_seed, most, pool)


def named(training: str, place: str, labels: int, source: str) -> str:
    """The name of an arm."""
    return f"{training}, {place}, {labels} labels" + (", " + source if source != LABELS else "")


def train_all(context: Context, name: str, task: Task, radii: Any, labels: Any, steps: int) -> list[Any]:
    """Three fits, each with its arms: standard on labels alone; standard with pseudo-labels; adversarial.

    Args:
        radii: from the name of a setting to its radius. labels: the numbers of labels.
    """
    cells = [(place, n) for place in radii for n in labels]

    def arms(training: str, source: str) -> dict[str, Arm]:
        extra = float(source != LABELS)
        return {
            named(training, place, n, source): Arm(radii[place], float(n), extra, LENGTHS.get(place, 0.0), i)
            for i, (place, n) in enumerate(cells)
        }

    told = np.zeros((len(context.seeds), len(cells), task.pool), np.int8)
    alone, both = arms("standard", LABELS), arms("standard", BOTH)
    first = trained(context, f"standard, {name}", task, alone, steps, told, False)
    told = pseudo_labels(context, name, task, first, alone)
    second = trained(context, f"standard, {name}, {BOTH}", task, both, steps, told, False)
    strong = {arm: value for source in SOURCES for arm, value in arms("adversarial", source).items()}
    third = trained(context, f"adversarial, {name}", task, strong, steps, told, True)
    return [(first, alone), (second, both), (third, strong)]


def train_short(context: Context, word: str, task: Task, radii: Any, labels: int, steps: int) -> list[Any]:
    """Two fits, each with its arms, on labels alone: standard and adversarial; ``word`` says how long."""
    told, fits = np.zeros((len(context.seeds), 1, task.pool), np.int8), []
    for training in ("standard", "adversarial"):
        arms = {
            named(training, f"{place}, {word}", labels, LABELS): Arm(eps, float(labels))
            for place, eps in radii.items()
        }
        attacked = training == "adversarial"
        fits.append((trained(context, f"{training}, {word}", task, arms, steps, told, attacked), arms))
    return fits


def record(context: Context, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Record all figures of all arms, and the clean costs of the adversarial ones."""
    for arm, values in found.items():
        context.record(arm, values)
        if arm.startswith("adversarial"):
            plain = found[arm.replace("adversarial", "standard", 1)]["clean"]
            context.record(arm, "cost", plain - values["clean"])


def trained(
    context: Context, name: str, task: Task, arms: Any, steps: int, pseudo: Any, attacked: bool
) -> Any:
    """Train arms; those with ``extra`` take half of each batch from unlabelled data and its pseudo-labels.

    Args:
        pseudo: int8 [seeds, teachers, pool]. attacked: whether the arms' radii count.
    """
    settings = OptimizerConfig("adam", 3e-3, schedule="cosine", steps=steps)

    def draw(key: Any, data: Any) -> Any:
        return {"at": jax.random.uniform(key, (BATCH,)), "data": dict(data)}

    def seen(arm: Arm, drawn: Any) -> Any:
        at, data = drawn["at"], drawn["data"]
        labelled = jnp.minimum(jnp.int32(at * arm.labels), jnp.int32(arm.labels) - 1)
        other = jnp.int32(at * task.pool)
        free = (jnp.arange(BATCH) % 2 == 1) & (arm.extra > 0)
        x, y = task.batch(arm, data["seed"], jnp.where(free, task.unlabelled + other, labelled), data)
        told = data["pseudo"][jnp.int32(arm.teacher), other].astype(y.dtype)
        return {"x": x, "y": jnp.where(free, told, y)}

    against = (lambda arm: task.attack(arm.eps)) if attacked else None
    factory = functools.partial(learner, lambda arm: task.net, lambda arm: settings, against, seen)
    per_seed = {**task.per_seed, "pseudo": pseudo}
    return context.fit(
        factory, arms, name=name, steps=steps, sampler=Sampler(draw), data=dict(task.data), per_seed=per_seed
    )


def pseudo_labels(context: Context, name: str, task: Task, fit: Any, arms: Mapping[str, Arm]) -> np.ndarray:
    """What each teacher, an arm of a fit, calls the unlabelled data: int8 [seeds, teachers, pool]."""
    lanes = _lanes(fit, arms, len(context.seeds))

    def of_seed(one: Any, shared: Any) -> Any:
        own, lanes = one
        rows = task.unlabelled + jnp.arange(task.pool)

        def of_lane(lane: Any) -> Any:
            arm, params = lane
            x, _ = task.batch(arm, own["seed"], rows, {**shared, **own})
            return task.net.apply(params, (), x)[0].argmax(-1).astype(jnp.int8)

        return {"labels": jax.lax.map(of_lane, lanes)}

    found = context.per_seed(
        f"pseudo-labels of {name}", of_seed, (dict(task.per_seed), lanes), dict(task.data)
    )
    return found["labels"].astype(np.int8)


def _lanes(fit: Any, arms: Mapping[str, Arm], seeds: int) -> Any:
    """(arms, parameters) with leaves [seeds, arms, ...]."""
    values = jax.tree.map(lambda *v: np.tile(np.asarray(v, np.float32), (seeds, 1)), *arms.values())
    return values, jax.tree.map(lambda *s: np.stack(s, 1), *(fit.arm(name).params for name in arms))


def judge_gaussians(fit: Any, arms: Mapping[str, Arm]) -> dict[str, dict[str, np.ndarray]]:
    """The exact clean and robust accuracy of linear networks, by arm: {"clean", "robust"} of [seeds]."""

    def exact(head: Any, length: float) -> Any:
        u, bias = head["kernel"][:, 1] - head["kernel"][:, 0], head["bias"][1] - head["bias"][0]
        return {
            "clean": clouds.linear_attacked(u, bias, mean_of(length), 0.0),
            "robust": clouds.linear_attacked(u, bias, mean_of(length), EPS),
        }

    run = jax.jit(jax.vmap(exact, (0, None)))
    return {name: jax.device_get(run(fit.arm(name).params["head"], arm.length)) for name, arm in arms.items()}


def judge_images(
    context: Context, name: str, task: Task, lanes: Mapping[str, Any], n: int, plan: Any
) -> dict[str, dict[str, np.ndarray]]:
    """Clean accuracy on all test rows, and accuracy under attack on the first n: by name, metric -> [seeds].

    Args:
        lanes: from a name to (fit, arm, radius): a trained network and the radius of the attack.
        plan: (steps of APGD, queries of Square).
    """
    params = jax.tree.map(lambda *s: np.stack(s, 1), *(fit.arm(arm).params for fit, arm, _ in lanes.values()))
    radii = np.tile(np.asarray([eps for *_, eps in lanes.values()], np.float32), (len(context.seeds), 1))

    def of_seed(one: Any, shared: Any) -> Any:
        own, params, radii = one
        x = jnp.asarray(shared["test_image"][own["tests"]], jnp.float32) / 255
        y = shared["test_label"][own["tests"]]
        keys = jax.random.split(jax.random.fold_in(jax.random.key(own["seed"]), 5), 3)

        def of_lane(params: Any, radius: Any) -> Any:
            def right(z: Any, label: Any) -> Any:
                return is_correct(logits_fn(z), label)

            def logits_fn(z: Any) -> Any:
                return task.net.apply(params, (), z)[0]

            by_ce, by_margin = (
                apgd(APGDConfig(eps=radius, steps=plan[0], loss=loss)) for loss in ("cross_entropy", "margin")
            )
            by_search = square(SquareConfig(eps=radius, queries=plan[1]))
            some, label = x[:n], y[:n]
            strong = right(some, label)
            for attack, key in zip((by_ce, by_margin), keys):
                strong &= right(attack(key, logits_fn, some, label), label)
            robust = strong & right(by_search(keys[2], logits_fn, some, label), label)
            return {"clean": right(x, y).mean(), "robust": robust.mean(), "missed": (strong & ~robust).mean()}

        return jax.vmap(of_lane)(params, radii)

    each = (dict(task.per_seed), params, radii)
    found = context.per_seed(f"attacks on {name}", of_seed, each, dict(task.data))
    return {lane: {what: v[:, i] for what, v in found.items()} for i, lane in enumerate(lanes)}


def half_distance(task: Task, pairs: int = 1500) -> np.ndarray:
    """Half of the least Linf distance between images of different classes, [seeds], among some test images.

    A classifier that is right within this radius of every one of these images exists (Yang et al. 2020).
    """
    found = []
    for rows in task.per_seed["tests"]:
        x = task.data["test_image"][rows[:pairs]].reshape(min(len(rows), pairs), -1).astype(np.int16)
        y = task.data["test_label"][rows[:pairs]]
        least = min(int(np.abs(x[y != c] - one).max(1).min()) for one, c in zip(x, y))
        found.append(least / 255 / 2)
    return np.asarray(found)


def judged_apart(context: Context, name: str, task: Task) -> None:
    """Record how many judged images of each seed are among the images that the seed trains on."""
    trained_on, judged = task.per_seed["rows"], task.per_seed["tests"]
    if task.data["image"] is task.data["test_image"]:
        context.judged_on_rows(name, judged, trained_on)
    else:  # all test images against all that any seed trains on
        seen = task.data["image"][np.unique(trained_on)]
        context.judged_on(name, task.data["test_image"][judged[0]], trained_on=seen)


def joint(found: Found, points: int) -> Found:
    """A finding with its 95% t interval widened to hold for so many points at once (Bonferroni)."""
    if found.n < 2:
        return found
    wider = student.ppf(1 - 0.025 / points, found.n - 1) / student.ppf(0.975, found.n - 1)
    low, high = (found.effect + wider * (end - found.effect) for end in (found.low, found.high))
    return found._replace(low=float(low), high=float(high))
