"""Tasks of few or many labeled points, and one procedure by which all methods adapt to them.

Waves: sinusoids (Finn et al. 2017) with noise of deviation `NOISE` on the labeled points. Classes: five
Gaussian classes in 16 dimensions, which two directions, the same for all tasks, tell apart. A network is
judged against the true function or the true probabilities of a task, which the noise of test points would
blur.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrn import nets
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import Episode, TaskFamily
from lrn.meta.families.directions import directions, posterior
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.learner import MetaLearner
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import Problem, classification, regression
from lrn.types import Array, Key, Params, PyTree

WAVES, CLASSES = "waves", "classes"
NOISE, APART, WAYS = 2.0, 3.0, 5  # the deviation of a wave is 2.1 on average
QUERIES = 200  # points of a task on which a network is judged
SHOTS = {WAVES: (10, 10), CLASSES: (2, 5)}  # of MAML's training: support, query; of each class for classes
SCALES = {WAVES: 0.5, CLASSES: 0.1}  # factors of the first weights of both methods, set for the specialist
INNER = {WAVES: 0.01, CLASSES: 0.03}  # the rate of MAML's inner step
LOST = 1e3  # the error of a task whose error is larger, or not finite
VALIDATION, TEST = 601, 602  # streams of keys for tasks; tests take `TEST` and those above


class Tasks(NamedTuple):
    """Tasks to adapt to and to be judged on, leaves [tasks, ...].

    episodes: with the support points of the largest N; a smaller N takes the first ones.
    truth: [queries, outputs], the true function or the logarithms of the true probabilities.
    """

    episodes: Episode
    truth: Array


class Place(NamedTuple):
    """A family of tasks and how it is learned.

    name: of the family. problem: the network and the loss of its training. family: tasks with many points.
    training: tasks as MAML is trained on. truth: ``truth(task, x)``, see `Tasks`.
    error: ``error(outputs, truth) -> scalar``: the mean squared error, or the mean divergence of Kullback and
    Leibler. known: ``known(episode) -> outputs``, the best prediction of who knows what all tasks share.
    """

    name: str
    problem: Problem
    family: TaskFamily
    training: TaskFamily
    truth: Callable[[PyTree, Array], Array]
    error: Callable[[Array, Array], Array]
    known: Callable[[Episode], Array]

    def tasks(self, key: Key, count: int) -> Tasks:
        """So many tasks."""

        def one(key: Key) -> Tasks:
            of_task, of_points = jax.random.split(key)
            task = self.family.sample(of_task)
            support, query = self.family.batch(of_points, task)
            code = () if self.family.code is None else self.family.code(task)
            return Tasks(Episode(support, query, code), self.truth(task, query["x"]))

        return jax.vmap(one)(jax.random.split(key, count))

    def log10_error(self, outputs: Array, truth: Array) -> Array:
        """The logarithm of the error, at most that of `LOST`."""
        error = self.error(outputs, truth)
        return jnp.log10(jnp.clip(jnp.where(error <= LOST, error, LOST), 1e-9))


def place_of(name: str, points: int) -> Place:
    """The place of a family, with tasks of so many labeled points."""
    if name == WAVES:
        return Place(
            name,
            regression(nets.mlp(None, (40, 40), activation="tanh")),
            sinusoid(points, QUERIES, noise=NOISE),
            sinusoid(*SHOTS[name], noise=NOISE),
            lambda task, x: task["amplitude"] * jnp.sin(x + task["phase"]),
            lambda outputs, truth: jnp.mean((outputs - truth) ** 2),
            least_squares,
        )
    return Place(
        name,
        classification(nets.mlp(None, (64,)), WAYS),
        directions(WAYS, points // WAYS, QUERIES // WAYS, apart=APART),
        directions(WAYS, *SHOTS[name], apart=APART),
        _log_probabilities,
        _divergence,
        lambda episode: posterior(episode, WAYS, APART),
    )


def _log_probabilities(task: PyTree, x: Array) -> Array:
    away = (x @ task["frame"].T)[:, None] - task["centers"][None]
    return jax.nn.log_softmax(-(away**2).sum(-1) / 2)


def _divergence(outputs: Array, truth: Array) -> Array:
    return jnp.sum(jnp.exp(truth) * (truth - jax.nn.log_softmax(outputs)), -1).mean()


def least_squares(episode: Episode) -> Array:
    """The regression of a wave on sin x and cos x; its error is 2 `NOISE`^2 / N for many points N."""

    def features(x: Array) -> Array:
        return jnp.concatenate([jnp.sin(x), jnp.cos(x)], 1)

    f = features(episode.support["x"])
    (a, b), (_, c) = f.T @ f  # solved by Cramer's rule
    u, v = f.T @ episode.support["y"][:, 0]
    weights = jnp.stack([c * u - b * v, a * v - b * u]) / (a * c - b * b)
    return features(episode.query["x"]) @ weights[:, None]


def drawn(place: Place, seed: Any, stream: Any, count: int) -> Tasks:
    """A seed's tasks of a stream."""
    return place.tasks(jax.random.fold_in(jax.random.key(stream), seed), count)


def learner(place: Place, rate: float) -> MetaLearner:
    """MAML with one inner step from the first weights of a specialist; ``rate`` is that of Adam.

    Gradients are clipped, because once in thousands of steps an inner loop diverges.
    """

    def clipped(rate: Any) -> Any:
        return optax.chain(optax.clip_by_global_norm(10.0), optax.adam(rate))

    made = maml(place.problem, MAMLConfig(InnerConfig(rate=INNER[place.name]), rate, clipped))

    def init(key: Key, tasks: Episode) -> Any:
        state = made.init(key, tasks)
        return state._replace(meta=scaled(place, state.meta))

    return made._replace(init=init)


def scaled(place: Place, params: Params) -> Params:
    """Weights with the factor of a family."""
    return jax.tree.map(lambda p: SCALES[place.name] * p, params)


def fresh(place: Place, seed: Any) -> Params:
    """The first weights of a specialist."""
    x = jax.eval_shape(lambda: drawn(place, 0, TEST, 1)).episodes.query["x"]
    return scaled(place, place.problem.init(jax.random.key(seed), jnp.zeros((1, x.shape[-1])))[0])


def yardsticks(place: Place, counts: Any, tasks: int, streams: int, seed: Any) -> dict[str, Array]:
    """Log10 errors of who knows the family and of who knows nothing, [counts]; and the first's error over
    that of theory, for waves, with the most points.
    """

    def of_task(task: Tasks) -> dict[str, Array]:
        episode, truth = task

        def after(points: int) -> Array:
            return place.known(episode._replace(support=jax.tree.map(lambda a: a[:points], episode.support)))

        known = jnp.stack([place.log10_error(after(n), truth) for n in counts])
        nothing = jnp.full(len(counts), place.log10_error(jnp.zeros_like(truth), truth))
        ratio = place.error(after(counts[-1]), truth) * counts[-1] / (2 * NOISE**2)
        return {"known": known, "nothing": nothing, "ratio": ratio}

    parts = [drawn(place, seed, TEST + i, tasks) for i in range(streams)]
    found = jax.vmap(of_task)(jax.tree.map(lambda *x: jnp.concatenate(x), *parts))
    return {name: x.mean(0) for name, x in found.items()}


def shown(place: Place, seeds: np.ndarray, tasks: int, streams: int) -> dict[str, np.ndarray]:
    """The first points of the tasks of validation and test, [seeds, tasks, points, d], for comparison."""
    n = SHOTS[place.name][0] * (1 if place.name == WAVES else WAYS)

    def of(seed: Any) -> Any:
        every = [drawn(place, seed, s, tasks).episodes for s in (VALIDATION, *range(TEST, TEST + streams))]
        first = [e.support["x"][:, :n] for e in every]
        return {"validation": first[0], "test": jnp.concatenate(first[1:])}

    return jax.device_get(jax.jit(jax.vmap(of))(seeds))
