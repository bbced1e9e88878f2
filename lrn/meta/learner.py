"""The shape of a meta-learner: a `lrn.types.Learner` over episodes that can also adapt to a new task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.meta.episode import Episode
from lrn.meta.groups import fitting
from lrn.types import LANES, Array, Batch, Example, Goal, Key, Metrics, NetState, PyTree, State
from lrn.xla.parts import mean_of_parts

NET_STATE = "net_state"


class MetaLearner(NamedTuple):
    """A meta-learner as pure functions, made by a factory named after the method; `lrn.train.fit` trains it.

    init: ``init(key, episodes) -> state`` for an `Episode` with leaves [tasks, n, ...].
    step: ``step(key, state, episodes) -> (state, metrics)``. The metric ``loss`` is that of the queries after
        adaptation, unless the factory says otherwise; compare methods by an evaluation, not by this metric.
    curve: ``curve(state, support, x, code, steps) -> outputs [steps + 1, n, outputs]`` for one task: the
        outputs for the queries x [n, ...] after 0 to ``steps`` steps of adaptation to the support set. A
        method that takes no steps returns equal rows. ``code`` is () or the task's code, which only an
        oracle uses.
    divides: the number of tasks that the step shares among several devices, see `lrn.types.Learner`.
    """

    init: Callable[[Key, Episode], State]
    step: Callable[[Key, State, Episode], tuple[State, Metrics]]
    curve: Callable[[State, Batch, Array, PyTree, int], Array]
    divides: Callable[[State, Episode], int] | None = None

    def adapt(self, state: State, support: Batch, steps: int, code: PyTree = ()) -> Callable[[Array], Array]:
        """Adapt a trained state to the examples of a new task.

            predict = maml(problem, config).adapt(state, {"x": x, "y": y}, steps=5)
            labels = predict(new_x).argmax(-1)

        Args:
            state: the state of one training: one arm and one seed of a `lrn.train.Fit`,
                ``jax.tree.map(lambda leaf: leaf[0], fit.arm(name))``.
            support: ``{"x": [n, ...], "y": [n] int or [n, outputs] float}``, arrays of JAX or NumPy; x
                has the scale of the training, such as pixels in [0, 1].
            steps: the number of steps of adaptation. A method without steps uses the support set nonetheless.
            code: the task's code, for an oracle.

        Returns:
            ``predict(x) -> outputs [m, outputs]`` for x [m, ...]; each m compiles separately.

        Raises:
            ValueError: examples and labels do not fit each other or the state, or ``steps`` is below 0;
                from the predictor: x has another form than in the support set, or the labels do not fit
                the problem.
        """
        check.integer("steps", steps, low=0)
        support, code = jax.tree.map(jnp.asarray, (support, code))
        _check_support(self, state, support, code)

        # The support set is a constant of the program, so its labels are checked before anything compiles.
        @jax.jit
        def outputs(state: State, x: Array) -> Array:
            return self.curve(state, support, x, code, steps)[-1]

        def predict(x: Array) -> Array:
            x, form = jnp.asarray(x), support["x"].shape[1:]
            if x.ndim < 1 or x.shape[1:] != form or x.dtype != support["x"].dtype:
                raise check.InputError(
                    f"x must be {support['x'].dtype} {['m', *form]}, as in the support set, got {x.dtype} "
                    f"{list(x.shape)}; give x that dtype and shape."
                )
            return outputs(state, x)

        return predict


class MetaState(NamedTuple):
    """State of a meta-learner.

    meta: the meta-parameters, such as an initialization.
    net_state: the network's state, which changes only if the network keeps running statistics.
    opt_state: the outer optimizer's state. taken: int32 scalar, the number of meta-steps taken.
    """

    meta: PyTree
    net_state: NetState
    opt_state: optax.OptState
    taken: Array


class Gradient(NamedTuple):
    """The gradient of what is meta-learned, over a batch of tasks.

    of: ``of(key, meta, net_state, episodes, count) -> (gradient of meta, metrics)``; ``count`` is the number
        of meta-steps taken before.
    divides: ``divides(meta, net_state, episodes, count) -> n``: the number of tasks that `of` shares among
        several devices; 1 where one device does all.
    """

    of: Callable[[Key, PyTree, NetState, Episode, Array], tuple[PyTree, Mapping[str, Array]]]
    divides: Callable[[PyTree, NetState, Episode, Array], int]


# ``loss(key, meta, net_state, episode, count) -> (loss, metrics)`` of one task. A metric with the name
# `NET_STATE` is the network's new state; the state's mean over the tasks is kept.
TaskLoss = Callable[[Key, PyTree, NetState, Episode, Array], tuple[Array, Mapping[str, Array]]]


def by_gradient(
    start: Callable[[Key, Array], tuple[PyTree, NetState]],
    gradient: Gradient,
    curve: Callable[[State, Batch, Array, PyTree, int], Array],
    optimizer: optax.GradientTransformation,
) -> MetaLearner:
    """The meta-learner that follows a gradient of its meta-parameters.

    Args:
        start: ``start(key, x) -> (meta, net_state)`` for the support x [n, ...] of one task.
        gradient: the gradient by the meta-parameters; `of_tasks` makes one.
        curve: see `MetaLearner`.
        optimizer: the optimizer of the meta-parameters.
    """

    def init(key: Key, episodes: Episode) -> MetaState:
        check_episodes(episodes)
        meta, net_state = start(key, episodes.support["x"][0])
        return MetaState(meta, net_state, optimizer.init(meta), jnp.int32(0))

    def step(key: Key, state: MetaState, episodes: Episode) -> tuple[MetaState, Metrics]:
        check_episodes(episodes)
        slope, metrics = gradient.of(key, state.meta, state.net_state, episodes, state.taken)
        updates, opt_state = optimizer.update(slope, state.opt_state, state.meta)
        meta = optax.apply_updates(state.meta, updates)
        metrics = dict(metrics)
        kept = metrics.pop(NET_STATE, state.net_state)
        net_state = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), kept, state.net_state)
        return MetaState(meta, net_state, opt_state, state.taken + 1), metrics

    def divides(state: MetaState, episodes: Episode) -> int:
        return gradient.divides(state.meta, state.net_state, episodes, state.taken)

    return MetaLearner(init, step, curve, divides)


def of_tasks(loss: TaskLoss, tasks_at_once: int = 0) -> Gradient:
    """The gradient of the mean loss over the tasks, computed in groups of tasks.

    Up to rounding the result does not depend on the size of the groups. Several devices of a lane share the
    tasks (`lrn.xla.parts`). A device takes smaller groups if its share of the tasks is smaller than a
    group, or no multiple of it.

    Args:
        loss: the loss of one task.
        tasks_at_once: the number of tasks in a group, which divides the number of tasks; 0 for as many as run
            fast, see `lrn.meta.groups`.

    Raises:
        ValueError: from the gradient, before anything compiles: the tasks do not divide into groups.
    """
    check.integer("tasks_at_once", tasks_at_once, low=0)

    def some(meta: PyTree, net_state: NetState, keys: Key, episodes: Episode, count: Array) -> Any:
        def mean(meta: PyTree) -> Any:
            if len(keys) == 1:  # products without a task axis are faster
                key, episode = jax.tree.map(lambda x: x[0], (keys, episodes))
                value, metrics = loss(key, meta, net_state, episode, count)
                metrics = {k: v if k == NET_STATE else jnp.mean(v) for k, v in metrics.items()}
                return value, metrics
            losses, metrics = jax.vmap(
                lambda key, episode: loss(key, meta, net_state, episode, count), axis_name=LANES
            )(keys, episodes)
            kept = {k: v for k, v in metrics.items() if k == NET_STATE}
            kept = jax.tree.map(lambda x: x.mean(axis=0), kept)
            return losses.mean(), {**jax.tree.map(jnp.mean, metrics), **kept}

        return jax.grad(mean, has_aux=True)(meta)

    def gradient(key: Key, meta: PyTree, net_state: NetState, episodes: Episode, count: Array) -> Any:
        tasks = episodes.support["y"].shape[0]
        keys = jax.random.split(key, tasks)
        most = at_once(meta, net_state, episodes, count)

        def of(part: tuple[Key, Episode]) -> Any:
            return in_groups(meta, net_state, *part, count, most)

        return of((keys, episodes)) if alone(most, tasks) else mean_of_parts(of, (keys, episodes))

    def at_once(meta: PyTree, net_state: NetState, episodes: Episode, count: Array) -> int:
        tasks = episodes.support["y"].shape[0]
        if tasks_at_once and tasks_at_once < tasks and tasks % tasks_at_once:
            raise check.InputError(
                f"{tasks} tasks do not divide into groups of {tasks_at_once}; choose tasks_at_once that "
                "divides them."
            )
        first = jax.tree.map(lambda x: x[0], episodes)
        return tasks_at_once or fitting(lambda e: loss(jax.random.key(0), meta, net_state, e, count), first)

    def alone(most: int, tasks: int) -> bool:
        """Whether one device does all tasks.

        On CPU a group of tasks takes less time than the exchange of gradients between devices.
        """
        return jax.default_backend() == "cpu" and most >= tasks

    def divides(meta: PyTree, net_state: NetState, episodes: Episode, count: Array) -> int:
        tasks = episodes.support["y"].shape[0]
        return 1 if alone(at_once(meta, net_state, episodes, count), tasks) else tasks

    def in_groups(
        meta: PyTree, net_state: NetState, keys: Key, episodes: Episode, count: Array, most: int
    ) -> Any:
        tasks = len(keys)  # on this device
        at_once = max(n for n in range(1, tasks + 1) if tasks % n == 0 and n <= most)
        if at_once >= tasks:
            return some(meta, net_state, keys, episodes, count)
        groups = tasks // at_once
        parts = jax.tree.map(lambda x: x.reshape(groups, at_once, *x.shape[1:]), (keys, episodes))

        def add(total: Any, part: Any) -> tuple[Any, None]:
            of_group = some(meta, net_state, part[0], part[1], count)
            return jax.tree.map(jnp.add, total, of_group), None

        shape = jax.eval_shape(
            lambda p: some(meta, net_state, p[0], p[1], count), jax.tree.map(lambda x: x[0], parts)
        )
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape)
        total, _ = jax.lax.scan(add, zeros, parts)
        return jax.tree.map(lambda x: x / groups, total)

    return Gradient(gradient, divides)


def _check_support(learner: MetaLearner, state: State, support: Any, code: PyTree) -> None:
    """Raise InputError unless the support set has the training's form, and the state is of one training."""
    if not isinstance(support, dict) or set(support) != {"x", "y"}:
        raise check.InputError('the support set must be {"x": [n, ...], "y": [n, ...]}; give that dict.')
    if not jnp.issubdtype(support["x"].dtype, jnp.floating):
        raise check.InputError(
            f"x of the support set must be float, got {support['x'].dtype}; scale it as in training."
        )
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), (support, code))
    episodes = Episode(one[0], one[0], one[1])
    check_episodes(episodes)
    key = jax.eval_shape(lambda: jax.random.key(0))
    wanted = jax.tree.map(lambda x: x.shape, jax.eval_shape(learner.init, key, episodes))
    given = jax.tree.map(jnp.shape, state)
    if wanted != given:
        raise check.InputError(
            "the state does not fit the learner and the support set: its arrays would be "
            f"{_differing(wanted, given)}; give the state of one arm and one seed, and the examples' form."
        )


def _differing(wanted: PyTree, given: PyTree) -> str:
    """The first difference between two trees of shapes, in words for a message."""
    shapes = [jax.tree_util.tree_flatten_with_path(t, is_leaf=_is_shape) for t in (wanted, given)]
    if shapes[0][1] != shapes[1][1]:
        return "of another form"
    pairs = ((path, a, b) for (path, a), (_, b) in zip(shapes[0][0], shapes[1][0]) if a != b)
    path, a, b = next(pairs)
    return f"{list(a)} at {jax.tree_util.keystr(path)}, where these are {list(b)}"


def _is_shape(x: Any) -> bool:
    return type(x) is tuple and all(isinstance(n, int) for n in x)


def check_episodes(episodes: Any) -> None:
    """Raise InputError unless a batch is an `Episode` of tasks, with a label for each example."""
    if not isinstance(episodes, Episode):
        raise check.InputError(
            f"a meta-learner learns from an lrn.meta.episode.Episode, got {type(episodes).__name__}; "
            "give fit the sampler lrn.meta.episode.episodes(family, tasks)."
        )
    for name, part in (("support", episodes.support), ("query", episodes.query)):
        x, y = (jnp.shape(part[axis]) for axis in ("x", "y"))
        if len(x) < 2 or x[:2] != y[:2]:
            raise check.InputError(
                f"the {name} set has x {list(x)} and y {list(y)}; give x [tasks, n, ...] and one label for "
                "each of the n examples."
            )


def map_tasks(function: Callable[..., PyTree], tasks: PyTree, at_once: int = 0) -> PyTree:
    """The results of ``function`` for each task, leaves [tasks, ...].

    Args:
        function: the computation of one task.
        tasks: leaves [tasks, ...].
        at_once: the number of tasks computed together; 0 for as many as run fast.
    """
    count = jax.tree.leaves(tasks)[0].shape[0]
    at_once = at_once or fitting(function, jax.tree.map(lambda x: x[0], tasks))
    each = jax.vmap(function, axis_name=LANES)
    if at_once >= count:
        return each(tasks)
    groups = -(-count // at_once)
    # Repetitions of the last task pad the last group; their results are cut off.
    index = jnp.minimum(jnp.arange(groups * at_once), count - 1).reshape(groups, at_once)
    grouped = jax.lax.map(lambda i: each(jax.tree.map(lambda x: x[i], tasks)), index)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], grouped)


def flat(outputs: Array, steps: int) -> Array:
    """The curve [steps + 1, n, outputs] of a method without steps, from its outputs [n, outputs]."""
    return jnp.broadcast_to(outputs[None], (steps + 1, *outputs.shape))


def example() -> Example:
    """A meta-learner made by `by_gradient`: it learns an initialization, and does not adapt."""
    from lrn import nets
    from lrn.meta.episode import episodes
    from lrn.meta.families.sinusoid import sinusoid
    from lrn.meta.problem import regression

    problem = regression(nets.mlp(None, (8,)))

    def loss(key: Key, meta: PyTree, net_state: NetState, episode: Episode, count: Array) -> Any:
        value = problem.loss_on(meta, net_state, episode.support, episode.query)
        return value, {"loss": value}

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        return flat(problem.predict(state.meta, state.net_state, support, x), steps)

    return Example(
        factory=lambda rate: by_gradient(problem.init, of_tasks(loss), curve, optax.sgd(rate)),
        config=0.01,
        sampler=episodes(sinusoid(), 3),
        solves=Goal("loss", below=4.6),
    )
