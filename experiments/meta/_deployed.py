"""A classifier's deployments under a shift, and the methods that meet them, for the study of shifts.

An environment has pictures of digits under one kind of shift. The methods share one network, the number of
training steps, and the gradients of single examples that these steps take (`lrn.meta.compute`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrn import data, nets
from lrn.config import config
from lrn.data.few_shot import by_class, shrink
from lrn.meta import arm as contexts
from lrn.meta.adapt import InnerConfig
from lrn.meta.arm import ARMConfig
from lrn.meta.compute import maml_gradients, pooled_gradients
from lrn.meta.episode import Episode, draw, joined
from lrn.meta.families.shifted import rotated, shifted
from lrn.meta.inner import adapt_part
from lrn.meta.irm import IRMConfig, irm
from lrn.meta.learner import MetaLearner, MetaState
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.pooled import PooledConfig, pooled
from lrn.meta.problem import Problem, classification
from lrn.study.context import Context
from lrn.types import Net, Sampler

CLASSES, WIDTHS, SUPPORT, QUERY = 10, (64, 64), 20, 20
HALF = 0.5  # the strength of the shifts in training, as a part of those at deployment
NONE, COVARIATE, LABEL, CONCEPT = "no shift", "covariate shift", "label shift", "concept shift"
KINDS = (NONE, COVARIATE, LABEL, CONCEPT)
# The largest shift of a deployment, in the order of KINDS; see `lrn.meta.families.shifted`.
DIALS = {
    "turn": (0.0, 60.0, 0.0, 0.0),
    "brightness": (0.0, 0.3, 0.0, 0.0),
    "contrast": (0.0, 0.6, 0.0, 0.0),
    "noise": (0.0, 0.3, 0.0, 0.0),
    "imbalance": (0.0, 0.0, 3.0, 0.0),
    "renamed": (0.0, 0.0, 0.0, 0.6),
}
FROZEN, STATISTICS, ARM, IRM, ENSEMBLE = "frozen", "BN statistics", "ARM", "IRM", "ensemble"
TUNED, MAML, ORACLE, KEPT = "fine-tuning", "MAML", "oracle", "batch norm, frozen"
FREE, LABELED = (STATISTICS, ARM, IRM, ENSEMBLE), (TUNED, MAML)  # adaptations by no labels and by some
METHODS, JOINT = (FROZEN, *FREE, *LABELED), " | "
MEMBERS, STEPS = 3, 10  # of an ensemble; of adaptation
RATE = 3e-3  # of Adam where a method tunes another setting
RATES = (1e-3, RATE, 1e-2, 3e-2)  # of Adam
PENALTIES, INNER, TUNING = (0.01, 0.1, 1.0, 10.0), (0.01, 0.05, 0.25, 1.25), (0.01, 0.05, 0.25, 1.25)
# Trainings that share a program: the methods, and the gradients of an example that an environment costs. The
# context network of ARM reads the support set once more. An ensemble trains each environment in all members.
POOLED = pooled_gradients(SUPPORT, QUERY)
GROUPS = {
    "pooled": ((FROZEN, IRM, ORACLE), POOLED),
    ENSEMBLE: ((ENSEMBLE,), MEMBERS * POOLED),
    STATISTICS: ((STATISTICS,), POOLED),
    ARM: ((ARM,), POOLED + SUPPORT),
    MAML: ((MAML,), maml_gradients(SUPPORT, QUERY)),
}


@config
class Training:
    """One training.

    rate: of Adam. own: IRM's penalty, or MAML's inner rate. start: the number of the initial weights. told: 1
    for the oracle, which sees deployments whose shift is undone.
    """

    rate: float
    own: float = 0.0
    start: float = 0.0
    told: float = 0.0


def trainings(method: str) -> dict[str, Training]:
    """The trainings of a method, in the order of its candidates."""
    if method == ENSEMBLE:
        return {
            f"{method}, rate {r:g}, member {m}": Training(r, start=m) for r in RATES for m in range(MEMBERS)
        }
    own = {IRM: PENALTIES, MAML: INNER}.get(method)
    if own:
        return {f"{method}, {x:g}": Training(RATE, own=x) for x in own}
    return {f"{method}, rate {r:g}": Training(r, told=float(method == ORACLE)) for r in RATES}


def pictures(dataset: str, size: int) -> dict[str, np.ndarray]:
    """Digits for training, validation and test, uint8 [classes, examples, size, size, 1] of equal size."""
    if dataset == "mnist":
        known, new = (data.load("mnist", part) for part in ("train", "test"))
        tables = [by_class(x["image"], x["label"], n) for x, n in ((known, 1000), (new, 500))]
        every = np.concatenate(tables, 1)
    else:
        rows = data.load(dataset, "all")
        every = by_class(rows["image"], rows["label"])
    part = every.shape[1] // 3
    every = shrink(every, size)
    return {p: every[:, i * part : (i + 1) * part] for i, p in enumerate(("train", "validation", "test"))}


def environments(count: int, support: int, queries: int, seed: Any, shared: Any) -> dict[str, Any]:
    """Environments of every kind, leaves [kinds, count, support + queries, ...].

    Args:
        count: environments of a kind. support, queries: pictures of an environment.
        seed: of the environments.
        shared: the pictures by class, the strength of the shifts in [0, 1], and the stream of keys.

    Returns:
        "x", uint8 [..., pixels], and "y"; for who is told the shift, "told x", in which brightness, contrast
        and rotation are undone, "told y", the class, and "prior", the log frequencies of the classes.
    """
    images, strength, stream = shared
    key = jax.random.fold_in(jax.random.key(stream), seed)

    def of_kind(kind: Any) -> Any:
        dials = {name: strength * jnp.array(values)[kind] for name, values in DIALS.items()}
        family = shifted(images, support, queries, **dials)
        return jax.vmap(_told)(draw(family, jax.random.fold_in(key, kind), count))

    return jax.lax.map(of_kind, jnp.arange(len(KINDS)))


def _told(episode: Episode) -> dict[str, Any]:
    both, code = joined(episode), episode.code
    x, angle, brightness, contrast = both["x"], 180 * code[0], code[1], code[2]
    names = code[-(CLASSES**2) :].reshape(CLASSES, CLASSES)  # [class, label]
    often = code[-(CLASSES**2) - CLASSES : -(CLASSES**2)]
    plain = jnp.clip((x - brightness - 0.5) / (1 - contrast) + 0.5, 0, 1)
    plain = jax.vmap(lambda picture: rotated(picture, -angle))(plain)
    return {
        "x": _stored(x),
        "y": both["y"],
        "told x": _stored(plain),
        "told y": names.argmax(0)[both["y"]],
        "prior": jnp.log(jnp.maximum(often, 1e-4)),
    }


def _stored(x: Any) -> Any:
    return jnp.round(255 * x.reshape(len(x), -1)).astype(jnp.uint8)


def seen(x: Any) -> Any:
    """Stored pictures as a network sees them."""
    return x.astype(jnp.float32) / 255


def sampler(count: int) -> Sampler:
    """So many environments of a seed's pool, as they are and with the shift undone."""

    def some(key: Any, pool: Any) -> dict[str, Episode]:
        which, begin = jax.random.split(key)
        which = jax.random.randint(which, (count, 1), 0, pool["x"].shape[1])
        rows = pool["x"].shape[2]
        row = (jax.random.randint(begin, (), 0, rows) + jnp.arange(SUPPORT + QUERY))[None] % rows

        def episodes(told: str) -> Episode:
            x, y = (pool[f"{told}{name}"][pool["place"], which, row] for name in ("x", "y"))
            x = seen(x)
            return Episode(
                {"x": x[:, :SUPPORT], "y": y[:, :SUPPORT]}, {"x": x[:, SUPPORT:], "y": y[:, SUPPORT:]}
            )

        return {"plain": episodes(""), "told": episodes("told ")}

    return Sampler(some)


def network() -> Problem:
    """The network of all methods."""
    return classification(nets.mlp(None, WIDTHS), CLASSES)


def normed() -> Problem:
    """The network with batch normalization, which keeps no averages: the statistics are those of a batch."""

    def init(key: Any, x: Any) -> Any:
        sizes = zip(jax.random.split(key, len(WIDTHS)), (x.shape[1], *WIDTHS), WIDTHS)
        kernels = [jnp.sqrt(2 / i) * jax.random.normal(k, (i, o)) for k, i, o in sizes]
        layers = [
            {"kernel": w, "scale": jnp.ones(w.shape[1]), "bias": jnp.zeros(w.shape[1])} for w in kernels
        ]
        return layers, [{"mean": jnp.zeros(w), "var": jnp.ones(w)} for w in WIDTHS]

    def apply(params: Any, state: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        del key
        after = []
        for layer, kept in zip(params, state):
            x = x @ layer["kernel"]
            now = {"mean": x.mean(0), "var": x.var(0)} if train else kept
            x = (x - now["mean"][None]) * jax.lax.rsqrt(now["var"] + 1e-5)[None]
            x = jax.nn.relu(x * layer["scale"][None] + layer["bias"][None])
            after.append(now)
        return x, after

    return classification(Net(init, apply), CLASSES, "support")


def clipped(rate: Any) -> optax.GradientTransformation:
    """Adam with gradients of a norm of at most 10, for all methods."""
    return optax.chain(optax.clip_by_global_norm(10.0), optax.adam(rate))


def core(group: str, steps: int, training: Training) -> MetaLearner:
    """The learner of a group; with a penalty of 0 IRM is pooled training. IRM's begins after a quarter."""
    rate = training.rate
    if group == ARM:
        return contexts.arm(network(), nets.mlp(8, (32,)), ARMConfig(rate, clipped))
    if group == MAML:
        return maml(network(), MAMLConfig(InnerConfig(1, training.own), rate, clipped))
    if group == STATISTICS:
        return pooled(normed(), PooledConfig(meta_rate=rate, optimizer=clipped))
    return irm(network(), IRMConfig(training.own, steps // 4, meta_rate=rate, optimizer=clipped))


def learner(group: str, steps: int, training: Training) -> MetaLearner:
    """The learner of a group on the batches of `sampler`."""
    made = core(group, steps, training)

    def given(batch: Mapping[str, Episode]) -> Episode:
        told = jnp.asarray(training.told) > 0
        both = jax.tree.map(lambda a, b: jnp.where(told, a, b), batch["told"], batch["plain"])
        if group != STATISTICS:
            return both
        return jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), both)  # normalized as one batch

    def init(key: Any, batch: Any) -> Any:
        start = jnp.asarray(training.start, jnp.float32).astype(jnp.uint32)
        return made.init(jax.random.fold_in(key, start), given(batch))

    def step(key: Any, state: Any, batch: Any) -> Any:
        return made.step(key, state, given(batch))

    return MetaLearner(init, step, made.curve)


Draw = Callable[[str, float, int], dict[str, np.ndarray]]


def drawer(
    context: Context, images: Mapping[str, np.ndarray], count: int, support: int, queries: int
) -> Draw:
    """``draw(part, strength, stream)``: `environments` with pictures of a part, leaves [seeds, ...]."""
    mapped = context.over_seeds(partial(environments, count, support, queries))
    seeds = np.asarray(context.seeds, np.uint32)
    return lambda part, strength, stream: mapped(
        seeds, (images[part], np.float32(strength), np.uint32(stream))
    )


def pool_of(draw: Draw, rounds: int) -> dict[str, np.ndarray]:
    """Training environments, leaves [seeds, environments, ...]; those of the oracle have the full shift."""
    found: dict[str, np.ndarray] = {}
    for stream, strength, names in ((610, HALF, ("x", "y")), (640, 1.0, ("told x", "told y"))):
        each = [draw("train", strength, stream + i) for i in range(rounds)]
        for k in names:
            found[k] = np.concatenate([x[k].reshape(len(x[k]), -1, *x[k].shape[3:]) for x in each], 1)
    return found


def some_of_each(x: np.ndarray, every: int) -> np.ndarray:
    """The pictures [seeds, n, pixels] of one in ``every`` environments of `pool_of`."""
    return x[:, ::every].reshape(len(x), -1, x.shape[-1])


def trained(
    context: Context, pool: Mapping[str, np.ndarray], steps: int, environments: int, group: str
) -> dict[str, Any]:
    """By method, trained parameters, leaves [seeds, candidates, ...], with members behind in the ensemble.

    Args:
        context: records what each method was given.
        pool: see `pool_of`.
        steps: of every training.
        environments: of a step of a pooled training; other methods have fewer, for equal gradients.
        group: the trainings, which share a program.
    """
    methods, cost = GROUPS[group]
    count = environments * POOLED // cost
    fit = context.fit(
        partial(learner, group, steps),
        {name: t for m in methods for name, t in trainings(m).items()},
        name=f"training of {group}",
        steps=steps,
        data=dict(pool),
        per_seed={"place": np.arange(len(context.seeds))},
        sampler=sampler(count),
    )
    params = {}
    for m in methods:
        every = jax.tree.map(lambda *x: np.stack(x, 1), *(fit.arm(name).meta for name in trainings(m)))
        context.given(m, {"gradients": steps * count * cost})
        params[m] = every
        if m == ENSEMBLE:
            params[m] = jax.tree.map(lambda x: x.reshape(len(x), len(RATES), MEMBERS, *x.shape[2:]), every)
    return params


def called(method: str, labels: int) -> str:
    """A method with a number of labels."""
    return f"{method}, {labels} labels" if labels else method


def arm(kind: str, method: str, labels: int = 0) -> str:
    """The name of an arm: a method under a kind of shift with a number of labels."""
    return f"{kind}: {called(method, labels)}"


def key(kind: str, *those: tuple[str, int]) -> str:
    """The key of a regret, or of the difference of two, each of a method with a number of labels."""
    return JOINT.join((kind, *(called(*that) for that in those)))


def shown(labels: Sequence[int]) -> list[tuple[str, int]]:
    """Every method with every number of labels that it uses."""
    return [(m, 0) for m in (FROZEN, *FREE)] + [(m, n) for m in LABELED for n in labels]


def ranked(labels: Sequence[int]) -> list[tuple[str, int]]:
    """Every method once, with the most labels that it uses."""
    return [(m, labels[-1] if m in LABELED else 0) for m in METHODS]


def shuffled(method: str) -> str:
    """A method that gets its labels in a random order."""
    return f"{method}, labels shuffled"


def accuracies(labels: Sequence[int], own: Any, shared: Any = None) -> dict[str, Any]:
    """The accuracy of every candidate of every method for one seed, [kinds, candidates].

    Args:
        labels: the numbers of labels, increasing; the last is that of the support pictures.
        own: the seed; by method the parameters, leaves [candidates, ...], of the ensemble [candidates,
            members, ...]; training pictures [n, pixels], whose statistics batch normalization keeps; and
            `environments`.
        shared: unused.
    """
    del shared
    seed, params, trained, found = own
    key = jax.random.fold_in(jax.random.key(603), seed)
    start = params[FROZEN]
    of_default = jax.tree.map(lambda x: jnp.stack([x[RATES.index(RATE)]] * len(TUNING)), start)
    starts = jax.tree.map(lambda *x: jnp.concatenate(x), of_default, params[MAML])
    rates = jnp.array([*TUNING, *INNER])

    def of_environment(given: Any) -> dict[str, Any]:
        number, env = given
        order = jax.random.permutation(jax.random.fold_in(key, number), labels[-1])
        x, told, y = seen(env["x"]), seen(env["told x"]), env["y"]
        support, asked = x[: labels[-1]], x[labels[-1] :]
        outputs = _without_labels(params, support, asked, seen(trained))
        right = {m: _right(each, y[labels[-1] :]) for m, each in outputs.items()}
        oracle = jax.vmap(_plain, (0, None))(params[ORACLE], told[labels[-1] :]) + env["prior"][None, None]
        right[ORACLE] = _right(oracle, env["told y"][labels[-1] :])
        names = [{m: called(m, n) for m in LABELED} for n in labels] + [{m: shuffled(m) for m in LABELED}]
        sets = [y[:n] for n in labels] + [y[: labels[-1]][order]]
        for name, known in zip(names, sets):
            few = {"x": support[: len(known)], "y": known}
            adapted = jax.vmap(lambda p, r, few=few: _adapted(p, r, few, asked))(starts, rates)
            scores = _right(adapted, y[labels[-1] :])
            right |= {name[TUNED]: scores[: len(TUNING)], name[MAML]: scores[len(TUNING) :]}
        return right

    kinds, count = found["y"].shape[:2]
    flat = jax.tree.map(lambda x: x.reshape(kinds * count, *x.shape[2:]), found)
    scores = jax.lax.map(of_environment, (jnp.arange(kinds * count), flat))
    return {m: x.reshape(kinds, count, -1).mean(1) for m, x in scores.items()}


def measured(
    context: Context, labels: Sequence[int], params: Mapping[str, Any], seen: np.ndarray, draw: Draw
) -> list[dict[str, np.ndarray]]:
    """`accuracies` [seeds, kinds, candidates] on validation environments, on deployments, and on new
    environments with new pictures in the range of the training.

    Args:
        context: gives the seeds, and keeps the results.
        labels: see `accuracies`.
        params: see `trained`. seen: training pictures, see `some_of_each`. draw: see `drawer`.
    """
    own = np.asarray(context.seeds, np.uint32), dict(params), seen
    judge = context.over_seeds(partial(accuracies, labels))
    sets = {"validation": HALF, "deployment": 1.0, "in range": HALF}
    found = []
    for i, (name, strength) in enumerate(sets.items()):
        part = "test" if i else name
        found.append(
            context.once(name, lambda s=strength, p=part, i=i: judge((*own, draw(p, s, 600 + i)), ()))
        )
    return found


def _plain(params: Any, x: Any) -> Any:
    return network().predict(params, (), {}, x)


def _without_labels(params: Any, support: Any, asked: Any, trained: Any) -> dict[str, Any]:
    """The outputs [candidates, queries, classes] of the methods that use no labels."""
    told, norm = core(ARM, 1, Training(RATE)), normed()
    zero = [{"mean": jnp.zeros(w), "var": jnp.ones(w)} for w in WIDTHS]
    context = {"x": support}

    def mean(members: Any) -> Any:
        return jnp.log(jax.nn.softmax(jax.vmap(_plain, (0, None))(members, asked)).mean(0) + 1e-9)

    def of_context(p: Any) -> Any:
        return told.curve(MetaState(p, (), (), jnp.int32(0)), context, asked, (), 0)[0]

    def by(batch: Any) -> Any:
        return jax.vmap(lambda p: norm.predict(p, zero, {"x": batch}, asked))(params[STATISTICS])

    return {
        FROZEN: jax.vmap(_plain, (0, None))(params[FROZEN], asked),
        IRM: jax.vmap(_plain, (0, None))(params[IRM], asked),
        ENSEMBLE: jax.vmap(mean)(params[ENSEMBLE]),
        ARM: jax.vmap(of_context)(params[ARM]),
        STATISTICS: by(support),
        KEPT: by(trained),
    }


def _adapted(params: Any, rate: Any, few: Any, asked: Any) -> Any:
    after, _ = adapt_part(network(), params, (), few, InnerConfig(STEPS, rate), unroll=1)
    return _plain(after, asked)


def _right(outputs: Any, y: Any) -> Any:
    """The share of right answers of outputs [candidates, queries, classes]; a NaN is no answer."""
    right = (outputs.argmax(-1) == y[None]) & ~jnp.isnan(outputs).any(-1)
    return right.astype(jnp.float32).mean(-1)
