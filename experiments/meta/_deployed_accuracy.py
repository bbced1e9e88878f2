"""The accuracy of all methods under every kind of shift, with the labels that they use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.meta._deployed_arms import (
    ARM,
    ENSEMBLE,
    FROZEN,
    INNER,
    IRM,
    KEPT,
    LABELED,
    MAML,
    ORACLE,
    RATE,
    RATES,
    STATISTICS,
    STEPS,
    TUNED,
    TUNING,
    Training,
    called,
    shuffled,
)
from experiments.meta._deployed_training import core, network, normed, unscaled
from experiments.meta._shifted_digits import HALF, Draw, seen
from lrn.meta.adapt import InnerConfig
from lrn.meta.inner import adapt_part
from lrn.meta.learner import MetaState
from lrn.study.context import Context


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
        oracle = _of_all(params[ORACLE], told[labels[-1] :]) + env["prior"][None, None]
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


def _of_all(params: Any, x: Any) -> Any:
    """The outputs of several networks, whose parameters have leaves [networks, ...], on the same inputs."""
    return jax.vmap(_plain, (0, None))(params, x)


def _without_labels(params: Any, support: Any, asked: Any, trained: Any) -> dict[str, Any]:
    """The outputs [candidates, queries, classes] of the methods that use no labels."""
    told, norm = core(ARM, 1, Training(RATE)), normed()
    context = {"x": support}

    def mean(members: Any) -> Any:
        return jnp.log(jax.nn.softmax(_of_all(members, asked)).mean(0) + 1e-9)

    def of_context(p: Any) -> Any:
        return told.curve(MetaState(p, (), (), jnp.int32(0)), context, asked, (), 0)[0]

    def by(batch: Any) -> Any:
        return jax.vmap(lambda p: norm.predict(p, unscaled(), {"x": batch}, asked))(params[STATISTICS])

    return {
        FROZEN: _of_all(params[FROZEN], asked),
        IRM: _of_all(params[IRM], asked),
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
