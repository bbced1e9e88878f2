"""Pooled pretraining and fine-tuning: one network for all tasks, then a tuned adaptation to each.

The baseline that meta-learning has to beat. It is trained on the same episodes, support and queries together,
without any inner loop; at test it is fine-tuned like any pretrained network, by settings of its own
(``fine_tune``), to be tuned as MAML's are and not copied from it.

Where the labels of tasks mean different things (few-shot classes), pooling them would teach nothing. Then the
network is trained to tell all classes of the training set apart, by a head that is thrown away (Chen et al.
2019, "baseline").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.meta.adapt import InnerConfig, check_inner
from lrn.meta.episode import Episode, joined
from lrn.meta.inner import PARTS, curve_of
from lrn.meta.learner import MetaLearner, MetaState, by_gradient, of_tasks
from lrn.meta.maml import example_of
from lrn.meta.problem import Problem, check_labels, one_hot_or_nan
from lrn.types import Array, Batch, Example, Key, NetState, PyTree


@config
class PooledConfig:
    """Settings.

    fine_tune: at test; as many steps as one asks for.
    meta_rate, optimizer: of the pretraining.
    tune: what fine-tuning changes: "all", "head" or "body".
    """

    fine_tune: InnerConfig = InnerConfig()
    meta_rate: float = 1e-3
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam
    tune: str = "all"

    def __post_init__(self):
        check_inner("fine_tune", self.fine_tune)
        check.positive("meta_rate", self.meta_rate)
        check.choice("tune", self.tune, PARTS)


def pooled(problem: Problem, config: PooledConfig, classes: int = 0) -> MetaLearner:
    """Pretrain on all tasks as one, fine-tune at test.

    Args:
        problem: the network and the loss.
        config: of both stages.
        classes: of the training set, for tasks whose code is the classes behind their labels, int [ways];
            then fine-tuning starts from a head of zeros. 0 where labels mean the same in every task.

    Metrics: ``loss`` of the pooled training.

    Raises:
        ValueError: fine-tuning of the body alone from a head of zeros, which gives it no gradient; from the
            training, tasks whose code is no class a label.
    """
    check.integer("classes", classes, low=0)
    if classes and config.tune == "body":
        raise check.InputError(
            "the head is zero before fine-tuning, so its body alone has no gradient; tune 'all' or 'head'."
        )

    def start(key: Key, x: Array) -> tuple[PyTree, NetState]:
        params, net_state = problem.init(key, x)
        if not classes:
            return params, net_state
        kernel = params["head"]["kernel"]
        wide = jax.random.normal(jax.random.fold_in(key, 1), (kernel.shape[0], classes), kernel.dtype)
        head = {"kernel": wide / jnp.sqrt(kernel.shape[0]), "bias": jnp.zeros(classes, kernel.dtype)}
        return {**params, "head": head}, net_state

    def loss(key: Key, meta: PyTree, net_state: NetState, episode: Episode, count: Array) -> Any:
        del count
        seen = joined(episode)
        (own_key,) = problem.training_keys(key, meta["body"], net_state, seen["x"], 1)
        outputs = problem.predict(meta, net_state, seen, seen["x"], own_key)
        if classes:
            y = check_labels(seen["y"], len(outputs), problem.outputs)
            code = _classes_of(episode, problem.outputs)
            # A label that is none of the ways is no class either, and not the last.
            name = jnp.where((y >= 0) & (y < problem.outputs), code[y], -1)
            value = optax.softmax_cross_entropy(outputs, one_hot_or_nan(name, classes, outputs.dtype)).mean()
        else:
            value = problem.loss(outputs, seen["y"])
        return value, {"loss": value}

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        del code
        params = state.meta
        if classes:
            kernel = params["head"]["kernel"]
            none = {
                "kernel": jnp.zeros((kernel.shape[0], problem.outputs), kernel.dtype),
                "bias": jnp.zeros(problem.outputs, kernel.dtype),
            }
            params = {**params, "head": none}
        return curve_of(problem, params, state.net_state, support, x, config.fine_tune, steps, config.tune)

    return by_gradient(start, of_tasks(loss), curve, config.optimizer(config.meta_rate))


def _classes_of(episode: Episode, ways: int) -> Array:
    code = episode.code
    if not hasattr(code, "dtype") or code.shape != (ways,) or not jnp.issubdtype(code.dtype, jnp.integer):
        raise check.InputError(
            f"pooled with classes needs tasks whose code is the class behind each of {ways} labels, "
            f"int [{ways}]; give such tasks, or leave classes at 0."
        )
    return code


def example() -> Example:
    """As `lrn.meta.maml.example`."""
    return example_of(pooled, PooledConfig())
