"""The shape of a meta-learner: a `lrn.types.Learner` over batches of episodes that can also do a new task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.meta.episode import Episode
from lrn.meta.groups import fitting
from lrn.types import LANES, Array, Batch, Example, Key, Metrics, NetState, PyTree, State
from lrn.xla.parts import mean_of_parts

NET_STATE = "net_state"


class MetaLearner(NamedTuple):
    """A meta-learner as pure functions, made by a factory named after the method; `lrn.train.fit` trains it.

    init: ``init(key, episodes) -> state`` for an `Episode` with leaves [tasks, n, ...].
    step: ``step(key, state, episodes) -> (state, metrics)``; ``loss`` is on the queries after adapting,
        unless the factory says otherwise: compare methods by an evaluation, not by it.
    curve: ``curve(state, support, x, code, steps) -> outputs [steps + 1, n, outputs]`` for one task: what is
        predicted for the queries x [n, ...] after 0 to ``steps`` steps of adaptation (or whatever the method
        does with the support set; where it takes no steps, all rows are equal). ``code`` is () or the task's
        code, which only an oracle looks at.
    divides: how many tasks the step shares among several devices, see `lrn.types.Learner`.
    """

    init: Callable[[Key, Episode], State]
    step: Callable[[Key, State, Episode], tuple[State, Metrics]]
    curve: Callable[[State, Batch, Array, PyTree, int], Array]
    divides: Callable[[State, Episode], int] | None = None

    def adapt(self, state: State, support: Batch, steps: int, code: PyTree = ()) -> Callable[[Array], Array]:
        """Adapt a trained state to one's own examples; gives a predictor.

            predict = maml(problem, config).adapt(state, {"x": x, "y": y}, steps=5)
            labels = predict(new_x).argmax(-1)

        Args:
            state: of one training: of `lrn.train.Fit`, one arm and one seed,
                ``jax.tree.map(lambda leaf: leaf[0], fit.arm(name))``.
            support: ``{"x": [n, ...], "y": [n] int or [n, outputs] float}``, arrays of JAX or NumPy, x as in
                training (pixels in [0, 1]).
            steps: of adaptation; what takes no steps looks at the support set all the same.
            code: for an oracle, the task's code.

        Returns:
            ``predict(x) -> outputs [m, outputs]`` for x [m, ...], compiled for each m by itself.

        Raises:
            ValueError: examples and labels do not fit together or to the state, or ``steps`` is below 0; from
                the predictor, x is of another form than in the support set, or labels do not fit the problem.
        """
        check.integer("steps", steps, low=0)
        support, code = jax.tree.map(jnp.asarray, (support, code))
        _check_support(self, state, support, code)

        # The support set is a constant, so that its labels are looked at before anything compiles.
        @jax.jit
        def outputs(state: State, x: Array) -> Array:
            return self.curve(state, support, x, code, steps)[-1]

        def predict(x: Array) -> Array:
            x, form = jnp.asarray(x), support["x"].shape[1:]
            if x.ndim < 1 or x.shape[1:] != form or x.dtype != support["x"].dtype:
                raise check.InputError(
                    f"x must be {support['x'].dtype} {['m', *form]}, as in the support set, got {x.dtype} "
                    f"{list(x.shape)}; make them alike."
                )
            return outputs(state, x)

        return predict


class MetaState(NamedTuple):
    """State of a meta-learner.

    meta: what is meta-learned. net_state: of the network, changed only where it keeps running statistics.
    taken: meta-steps till now.
    """

    meta: PyTree
    net_state: NetState
    opt_state: optax.OptState
    taken: Array


class Gradient(NamedTuple):
    """The gradient of what is meta-learned, over a batch of tasks.

    of: ``of(key, meta, net_state, episodes, count) -> (gradient of meta, metrics)``, after ``count`` steps.
    divides: ``divides(meta, net_state, episodes, count) -> n``: among how many tasks `of` divides its work.
    """

    of: Callable[[Key, PyTree, NetState, Episode, Array], tuple[PyTree, Mapping[str, Array]]]
    divides: Callable[[PyTree, NetState, Episode, Array], int]


# ``loss(key, meta, net_state, episode, count) -> (loss, metrics)`` of one task. A metric called `NET_STATE`
# is what the network is to keep of it; the mean over the tasks is kept.
TaskLoss = Callable[[Key, PyTree, NetState, Episode, Array], tuple[Array, Mapping[str, Array]]]


def by_gradient(
    start: Callable[[Key, Array], tuple[PyTree, NetState]],
    gradient: Gradient,
    curve: Callable[[State, Batch, Array, PyTree, int], Array],
    optimizer: optax.GradientTransformation,
) -> MetaLearner:
    """The meta-learner that follows a gradient.

    Args:
        start: ``start(key, x) -> (meta, net_state)`` for the support x [n, ...] of one task.
        gradient: of what is meta-learned; see `of_tasks`.
        curve: see `MetaLearner`.
        optimizer: of the meta-parameters.
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
    """The gradient of the mean loss over the tasks, so many at a time (0: as many as run fast, see `groups`).

    Their number divides that of the tasks. The result does not depend on it, up to rounding. Several devices
    of a lane share the tasks (`lrn.xla.parts`); one whose share is smaller than a group, or is not divided by
    it, takes smaller groups.

    Raises:
        ValueError: from the gradient, before anything compiles: the tasks do not divide.
    """
    check.integer("tasks_at_once", tasks_at_once, low=0)

    def some(meta: PyTree, net_state: NetState, keys: Key, episodes: Episode, count: Array) -> Any:
        def mean(meta: PyTree) -> Any:
            if len(keys) == 1:  # products without an axis for the tasks are the faster ones
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
        """Whether one device does all: on CPU tasks that one core does together take less than to divide."""
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
            found = some(meta, net_state, part[0], part[1], count)
            return jax.tree.map(jnp.add, total, found), None

        shape = jax.eval_shape(
            lambda p: some(meta, net_state, p[0], p[1], count), jax.tree.map(lambda x: x[0], parts)
        )
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape)
        total, _ = jax.lax.scan(add, zeros, parts)
        return jax.tree.map(lambda x: x / groups, total)

    return Gradient(gradient, divides)


def _check_support(learner: MetaLearner, state: State, support: Any, code: PyTree) -> None:
    """Raise InputError unless a support set is of the form of training, and a state that of one training."""
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
    """The first array of another shape, or that the trees are of another form."""
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
    """``function`` of each task, leaves [tasks, ...]; ``at_once`` together, 0 for as many as run fast."""
    count = jax.tree.leaves(tasks)[0].shape[0]
    at_once = at_once or fitting(function, jax.tree.map(lambda x: x[0], tasks))
    each = jax.vmap(function, axis_name=LANES)
    if at_once >= count:
        return each(tasks)
    groups = -(-count // at_once)
    # The last group is filled up with its last task.
    index = jnp.minimum(jnp.arange(groups * at_once), count - 1).reshape(groups, at_once)
    found = jax.lax.map(lambda i: each(jax.tree.map(lambda x: x[i], tasks)), index)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], found)


def flat(outputs: Array, steps: int) -> Array:
    """The curve [steps + 1, n, outputs] of a method that takes no steps."""
    return jnp.broadcast_to(outputs[None], (steps + 1, *outputs.shape))


def example() -> Example:
    """A meta-learner of one's own: an initialization that is good as it is, adapted by nothing."""
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
    )
