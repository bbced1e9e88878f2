"""Families of tasks, as pure functions of a key, and episodes: the examples of a task.

    family = sinusoid()
    episode = draw(family, key, 25)  # 25 tasks, leaves [25, n, ...]
    fit(..., sampler=episodes(family, 25))

A family over real data is made by a function of the data, so that the data's arrays stay arguments of the
compiled program: ``sampler=episodes(lambda data: few_shot(data["images"], ways=5, shots=1, queries=1), 32)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Var, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr

from lrn import check
from lrn.types import Array, Batch, Key, PyTree, Sampler


class Episode(NamedTuple):
    """Examples of a task, or of several tasks with a leading axis [tasks].

    support: the examples to adapt to, ``{"x": [n, ...], "y": [n] int or [n, outputs] float}``.
    query: the examples on which the adapted learner is judged, of the same form.
    code: [c], a description of the task for learners that are told the task, such as `lrn.meta.oracle`;
        () in a family without codes.
    """

    support: Batch
    query: Batch
    code: PyTree = ()


class TaskFamily(NamedTuple):
    """A distribution over tasks, as pure functions.

    name: a name for messages.
    sample: ``sample(key) -> task``; a task is any pytree of arrays.
    batch: ``batch(key, task) -> (support, query)``, as in `Episode`.
    outputs: the number of outputs of a network: the ways of a classification, or the dimension of y.
    code: ``code(task) -> [c]``, a full description of the task; None for a family without codes.
    """

    name: str
    sample: Callable[[Key], PyTree]
    batch: Callable[[Key, PyTree], tuple[Batch, Batch]]
    outputs: int
    code: Callable[[PyTree], Array] | None = None


def episode_of(family: TaskFamily, key: Key, task: PyTree) -> Episode:
    """One episode of a given task."""
    support, query = family.batch(key, task)
    return Episode(support, query, () if family.code is None else family.code(task))


def draw(family: TaskFamily, key: Key, tasks: int) -> Episode:
    """Episodes of ``tasks`` independent tasks, leaves [tasks, ...].

    Raises:
        ValueError: ``tasks`` is below 1, or `check_family` refuses the family.
    """
    check.integer("tasks", tasks, low=1)
    check_family(family)
    task_keys, batch_keys = jax.random.split(key, (2, tasks))
    return jax.vmap(lambda k, b: episode_of(family, b, family.sample(k)))(task_keys, batch_keys)


def joined(episode: Episode) -> Batch:
    """The support and query set of a task as one batch, leaves [support + query, ...]."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), episode.support, episode.query)


def episodes(family: TaskFamily | Callable[[Any], TaskFamily], tasks: int) -> Sampler:
    """The ``sampler=`` of `lrn.train.fit`: it draws a meta-batch of new tasks at each step.

    Args:
        family: the family of tasks, or a function from the data to the family.
        tasks: the number of tasks in a meta-batch.

    Raises:
        ValueError: ``tasks`` is below 1; from ``draw``, before anything compiles,
            `check_family` refuses the family.
    """
    check.integer("tasks", tasks, low=1)

    def draw_batch(key: Key, data: PyTree) -> Episode:
        made = family if isinstance(family, TaskFamily) else family(data)
        return draw(made, key, tasks)

    return Sampler(draw_batch, needs_data=not isinstance(family, TaskFamily))


def check_family(family: TaskFamily) -> None:
    """Check the shapes of a family's episodes and, where all episodes have the same labels, the labels.

    Raises:
        ValueError: the family gives no `Episode`, a label is none of the classes, or the
            support set lacks a class.
    """
    if not isinstance(family, TaskFamily):
        raise check.InputError(
            f"tasks must come from a TaskFamily, got {type(family).__name__}; see lrn.meta.episode."
        )
    key = jax.eval_shape(lambda: jax.random.key(0))
    given = jax.eval_shape(lambda a, b: family.batch(a, family.sample(b)), key, key)
    if not isinstance(given, tuple) or len(given) != 2:
        raise check.InputError(
            f"batch of the tasks {family.name} must return (support, query), got "
            f"{_kind(given)}; return the two."
        )
    for part, batch in zip(("support", "query"), given):
        _check_part(family, part, batch)
    support, query = given
    _check_classes(family, 0, support["y"], key)
    _check_classes(family, 1, query["y"], key)
    for name in ("x", "y"):
        if support[name].shape[1:] != query[name].shape[1:] or support[name].dtype != query[name].dtype:
            raise check.InputError(
                f"{name} of the tasks {family.name} is {_form(support[name])} in the support set and "
                f"{_form(query[name])} in the query set; make them alike but for the number of examples."
            )


def _check_part(family: TaskFamily, part: str, batch: Any) -> None:
    where = f"the {part} set of the tasks {family.name}"
    if not isinstance(batch, dict) or set(batch) != {"x", "y"}:
        raise check.InputError(
            f'{where} must be {{"x": ..., "y": ...}}, got {_kind(batch)}; return that dict.'
        )
    x, y = batch["x"], batch["y"]
    if x.ndim < 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise check.InputError(f"x of {where} must be float [n, ...], got {_form(x)}; add what is missing.")
    integer = jnp.issubdtype(y.dtype, jnp.integer)
    wanted = (x.shape[0],) if integer else (x.shape[0], family.outputs)
    if y.shape != wanted:
        raise check.InputError(
            f"y of {where} must be int [{x.shape[0]}] or float [{x.shape[0]}, {family.outputs}] for its "
            f"{x.shape[0]} examples, got {_form(y)}; return one label an example."
        )
    if integer and family.outputs < 2:
        raise check.InputError(
            f"the tasks {family.name} have labels and {family.outputs} outputs; set outputs to the classes."
        )


def _check_classes(family: TaskFamily, part: int, y: Any, key: Any) -> None:
    """Where every draw has the same labels, check that each label is a class and each class has support.

    Labels that are drawn are not checked: a task may lack a rare class.
    """
    if not jnp.issubdtype(y.dtype, jnp.integer):
        return
    labels = constant(lambda a, b: family.batch(a, family.sample(b))[part]["y"], key, key)
    if labels is None:
        return
    seen, classes = set(np.asarray(labels).tolist()), set(range(family.outputs))
    where = f"the {('support', 'query')[part]} set of the tasks {family.name}"
    if seen - classes:
        raise check.InputError(
            f"{where} has the label {min(seen - classes)}, which is none of its {family.outputs} classes, 0 "
            f"to {family.outputs - 1}; number them so, or set outputs to the classes."
        )
    missing = classes - seen
    if missing and part == 0:
        raise check.InputError(
            f"{where} has no example of class {min(missing)} of {family.outputs}; give at least one of each."
        )


def constant(function: Callable[..., Array], *args: Any) -> Array | None:
    """The result of ``function`` if it does not depend on the arguments; None if it does.

    The result is also None if it depends on a traced value. Only the steps that the result
    needs are computed.

    Args:
        function: a function from arrays to one array.
        args: arrays, or their shapes.
    """
    closed = jax.make_jaxpr(function)(*args)
    rest, used = dce_jaxpr(closed.jaxpr, [True])
    uses = [*(v for e in rest.eqns for v in e.invars), *rest.outvars]
    read = {v for v in uses if isinstance(v, Var)}
    known = {v: c for v, c in zip(closed.jaxpr.constvars, closed.consts) if v in read}
    if any(used) or any(isinstance(c, Tracer) for c in known.values()):
        return None
    rest = rest.replace(constvars=list(known))
    with jax.ensure_compile_time_eval():
        return jaxpr_as_fun(ClosedJaxpr(rest, list(known.values())))()[0]


def _form(x: Any) -> str:
    return f"{x.dtype} {list(x.shape)}"


def _kind(x: Any) -> str:
    if isinstance(x, dict):
        return f"a dict of {', '.join(map(str, x)) or 'nothing'}"
    return f"a tuple of {len(x)}" if isinstance(x, tuple) else type(x).__name__
