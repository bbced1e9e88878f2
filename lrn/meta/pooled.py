"""Pooled pretraining and fine-tuning: one network for all tasks, then a tuned adaptation to each task.

This is the baseline that meta-learning must beat. The network is trained on the same episodes, support and
query set together, without an inner loop. At test it is fine-tuned like any pretrained network, with
settings of its own (``fine_tune``). Tune these settings as MAML's are tuned; do not copy them from MAML.

Where the same label means different classes in different tasks (few-shot classes), labels cannot be
pooled. The network is then trained to classify all classes of the training set, with a head that is
discarded afterwards (Chen et al. 2019, "baseline").
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
from lrn.types import Array, Batch, Example, Goal, Key, NetState, PyTree


@config
class PooledConfig:
    """Settings.

    fine_tune: the settings of fine-tuning at test; the evaluation chooses the number of steps.
    meta_rate: the learning rate of the pretraining.
    optimizer: ``optimizer(meta_rate) -> optax.GradientTransformation``, for the pretraining.
    tune: the part that fine-tuning changes: "all", "head" or "body".
    """

    fine_tune: InnerConfig = InnerConfig()
    meta_rate: float = 1e-3
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam
    tune: str = "all"

    def __post_init__(self) -> None:
        check_inner("fine_tune", self.fine_tune)
        check.positive("meta_rate", self.meta_rate)
        check.choice("tune", self.tune, PARTS)


def pooled(problem: Problem, config: PooledConfig, classes: int = 0) -> MetaLearner:
    """Pretrain on all tasks together, fine-tune at test.

    Metrics: ``loss`` of the pooled training.

    Args:
        problem: the network and the loss.
        config: the settings of both stages.
        classes: the number of classes of the training set, for tasks whose code is the class behind each
            label, int [ways]; fine-tuning then starts from a head of zeros. 0 where a label means the
            same class in every task.

    Raises:
        ValueError: only the body would be fine-tuned, with a head of zeros, which gives the body no gradient;
            from the training, the code of a task is not the class behind each label.
    """
    check.integer("classes", classes, low=0)
    if classes and config.tune == "body":
        raise check.InputError(
            "the head is zero before fine-tuning, so the body has no gradient; tune 'all' or 'head'."
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
            # Indexing would map a label outside of the ways to the last class, so it becomes -1, which is
            # no class.
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
    """The network and tasks of `lrn.meta.maml.example`."""
    return example_of(pooled, PooledConfig())._replace(solves=Goal("loss", below=6.0))
