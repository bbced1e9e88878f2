"""What codes know and what setting them does, for the study of illusions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.representation._illusions import (
    ACROSS,
    CALLED,
    CODES,
    DCI,
    FACTOR,
    FACTORS,
    HALF,
    MIDDLE,
    MIG,
    NUISANCE,
    PCA,
    RATIO,
    READER,
    ROTATED,
    SCORE,
    SIZES,
    STRENGTHS,
    SUPERVISED,
    UNTRAINED,
    model,
    population,
    reading,
)  # fmt: skip
from lrn.representation.codes import Codec, codec
from lrn.representation.dci_trees import dci_trees
from lrn.representation.intervention_score import interventions
from lrn.representation.linear_codes import pca, rotated
from lrn.representation.mig import mig
from lrn.supervised.learner import SupervisedState
from lrn.types import Array, Key


def ranks(x: Array) -> Array:
    """The ranks of each column of [n, k] from 0, as floats; ties have their mean rank."""

    def column(values: Array) -> Array:
        order = jnp.sort(values)
        low, high = (jnp.searchsorted(order, values, side=side) for side in ("left", "right"))
        return 0.5 * (low + high - 1).astype(jnp.float32)

    return jax.vmap(column, 1, 1)(x)


def rank_correlations(a: Array, b: Array) -> Array:
    """The absolute rank correlations [k, m] of columns [n, k] and [n, m]; 0 with a constant column."""
    a, b = (ranks(x) - (x.shape[0] - 1) / 2 for x in (a, b))
    norms = jnp.linalg.norm(a, axis=0)[:, None] * jnp.linalg.norm(b, axis=0)[None]
    return jnp.abs(a.T @ b) / norms


def variances(images: Array, values: Array, bins: int) -> Array:
    """The variance over pixels that one variable [n], an index below ``bins``, explains: of group means."""
    flat = images.reshape(images.shape[0], -1)
    group = jax.nn.one_hot(values, bins)
    means = group.T @ flat / jnp.maximum(jnp.sum(group, axis=0), 1)[:, None]
    share = jnp.mean(group, axis=0)
    return share @ jnp.sum(jnp.square(means - jnp.mean(flat, axis=0)[None]), axis=1)


def explained(images: Array, levels: Array, nuisance: Array) -> Array:
    """The pixels' variance that each factor and the nuisance explain, [factors + 1]."""
    own = [variances(images, levels[:, i], size) for i, size in enumerate(SIZES)]
    return jnp.stack([*own, variances(images, jnp.floor(nuisance * 8).astype(jnp.int32), 8)])


def codec_scores(
    key: Key, coder: Codec, read: Callable, test: dict[str, Array], lesser: Array, rows: int
) -> dict[str, Array]:
    """What the codes of one model know, by independent test pictures, and what setting them does.

    MIG, DCI (boosted trees, 20 rounds) and the intervention score, 0 where all codes are constant. The score
    is the mean over the factors; the nuisance, which ``read`` gives last, is off target for each. "with the
    nuisance", "with a factor": the largest rank correlation of a code with the nuisance, and with a factor of
    lesser variance. "matched codes": the same of the codes with which the factors correlate most.
    """
    codes = coder.encode(test["image"])
    cut = codes.shape[0] // 2
    levels = test["levels"]
    dci = dci_trees(codes[:cut], levels[:cut], codes[cut:], levels[cut:], rounds=20, bins=32, sizes=SIZES)
    known = rank_correlations(codes, jnp.concatenate([levels, test["nuisance"][:, None]], axis=1))
    factors, nuisance = known[:, :-1], known[:, -1]
    chosen = jnp.argmax(factors, axis=0)
    set_codes = interventions(key, coder.decode, read, codes[:rows])
    found = {
        MIG: mig(codes, levels, sizes=SIZES),
        DCI: dci.disentanglement,
        SCORE: jnp.mean((set_codes.target - set_codes.off_target)[: len(FACTORS)]),
        "target": jnp.mean(set_codes.target[: len(FACTORS)]),
        "off-target": jnp.mean(set_codes.off_target[: len(FACTORS)]),
        NUISANCE: jnp.max(nuisance),
        FACTOR: jnp.max(jnp.where(lesser[None], factors, 0)),
        "matched codes with the nuisance": jnp.mean(nuisance[chosen]),
        "matched codes with their factor": jnp.mean(jnp.max(factors, axis=0)),
    }
    return {name: jnp.nan_to_num(value) for name, value in found.items()}


def judged(width: int, rows: int, own: Any, shared: Any) -> dict[str, Array]:
    """The scores of all models of one seed, [models + 2] each: PCA and the rotated codes come last.

    Args:
        width: of the networks. rows: the test pictures whose codes are set.
        own: the seed's "params" [models, ...] (the supervised model last), "reader" (its state), "seed" and
            "data". shared: nothing.
    """
    del shared
    net, regressor, part = model(width), reading(width), own["data"]
    test = {"image": part["test"] / jnp.float32(255), "levels": part["test levels"]}
    test["nuisance"] = part["test nuisance"]
    variance = explained(test["image"], test["levels"], test["nuisance"])
    score_key, turn_key = jax.random.split(jax.random.key(own["seed"]))
    linear = pca(part["train"][:1000] / jnp.float32(255), CODES)

    def read(images: Array) -> Array:
        return regressor.apply(own["reader"].params, own["reader"].net_state, images)[0]

    def scores(each: tuple[Any, Array, Array]) -> dict[str, Array]:
        params, turn, is_linear = each
        state = SupervisedState(params, {"encoder": (), "decoder": ()}, (), (), jnp.zeros(()))
        network = rotated(codec(net, state), turn)
        either = Codec(
            lambda x: jax.lax.cond(is_linear, linear.encode, network.encode, x),
            lambda z: jax.lax.cond(is_linear, linear.decode, network.decode, z),
        )
        lesser = variance[:-1] < variance[-1]
        return codec_scores(score_key, either, read, test, lesser, rows)

    block = jax.random.orthogonal(turn_key, len(FACTORS))
    turned = jnp.eye(CODES).at[: len(FACTORS), : len(FACTORS)].set(block)
    params = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[-1:], leaf[-1:]]), own["params"])
    count = jax.tree.leaves(params)[0].shape[0]
    turns = jnp.concatenate([jnp.broadcast_to(jnp.eye(CODES), (count - 1, CODES, CODES)), turned[None]])
    found = jax.lax.map(scores, (params, turns, jnp.arange(count) == count - 2))
    errors = jnp.mean(jnp.square(read(test["image"]) - part["test all"]), axis=0)
    found[READER] = 1 - jnp.max(errors / jnp.var(part["test all"], axis=0))
    found[RATIO] = variance[-1] / jnp.max(variance[:-1])
    return found


def groups(found: dict[str, np.ndarray]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Names and values [seeds] of models, methods, those called disentangled, references, the place."""
    count = len(population())
    scores = {k: v for k, v in found.items() if v.ndim == 2}
    free = {k: v[:, :count] for k, v in scores.items()}
    for i, (method, strength) in enumerate(population()):
        yield f"{method}, {strength:g}", {k: v[:, i] for k, v in free.items()}
    for method in STRENGTHS:
        own = [i for i, (m, _) in enumerate(population()) if m == method]
        yield method, {k: v[:, own].mean(1) for k, v in free.items()}
    chosen = called(free)
    yield CALLED, {k: np.mean(v, 1, where=chosen) for k, v in free.items()}
    for i, who in enumerate((UNTRAINED, SUPERVISED, PCA, ROTATED)):
        yield who, {k: v[:, count + i] for k, v in scores.items()}
    base, best = (scores[SCORE][:, count + i] for i in range(2))
    each = {metric: across(free, metric) for metric in (MIG, DCI)}
    whole = {f"{metric} and score across models": v for metric, v in each.items()}
    whole |= {ACROSS: np.maximum(*each.values()), MIDDLE: (base + best) / 2, HALF: best / 2}
    yield "", {**whole, **{name: found[name] for name in (READER, RATIO)}}


def called(scores: dict[str, np.ndarray], names: Sequence[str] = (MIG, DCI)) -> np.ndarray:
    """Which models are called disentangled, bool [seeds, models]: the top quarter by one of the metrics."""
    found = []
    for name in names:
        values = scores[name]
        order = np.argsort(np.argsort(-values, axis=1), axis=1)
        found.append(order < max(1, values.shape[1] // 4))
    return np.any(found, axis=0)


def across(scores: dict[str, np.ndarray], metric: str) -> np.ndarray:
    """The rank correlation of a metric and the intervention score across each seed's models, [seeds]."""
    a, b = (np.argsort(np.argsort(scores[n], axis=1), axis=1) for n in (metric, SCORE))
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b)])
