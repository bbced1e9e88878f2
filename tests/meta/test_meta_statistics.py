"""BatchNorm's statistics and dropout in episodes, implicit derivatives, types of images, diverged tasks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree

from lrn import nets
from lrn.meta import maml, pooled, prototypical
from lrn.meta.adapt import InnerConfig, adapt
from lrn.meta.episode import Episode, TaskFamily, draw
from lrn.meta.evaluate import DIVERGED_ABOVE, evaluator
from lrn.meta.families.few_shot import few_shot
from lrn.meta.families.linear_gaussian import posterior_mean
from lrn.meta.families.shifted import shifted
from lrn.meta.imaml import implicit_adapt
from lrn.meta.learner import MetaLearner, MetaState
from lrn.meta.problem import batch_statistics, classification, regression
from lrn.meta.tune import tuned
from lrn.types import LANES, Net
from lrn.xla.runtime import jit_brief


class Normed(nn.Module):
    momentum: float

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.BatchNorm(use_running_average=not train, momentum=self.momentum)(x)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.9999])
def test_statistics_of_the_support_set_are_those_of_flax_in_training(momentum):
    """The statistics are right at an input scale of 1e4, with variance 1e8, and at other scales."""
    body = nets.from_flax(Normed(momentum))
    x = jax.random.normal(jax.random.key(0), (12, 4)) * jnp.array([1e4, 3e3, 1.0, 1e-2])[None] + 2
    problem = classification(body, 3, "support")

    @jit_brief
    def both(x: Any) -> Any:
        params, net_state = body.init(jax.random.key(1), x)
        trained, _ = body.apply(params, net_state, x, train=True)
        # The network gets a copy, because the problem recognizes the support set by its identity.
        features = problem.features(params, net_state, {"x": x}, x + 0)
        return trained, features, batch_statistics(body, params, net_state, x)["batch_stats"]["BatchNorm_0"]

    trained, found, kept = both(x)
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(kept["mean"], exact.mean(0), rtol=1e-5, atol=1e-6)
    # (flax computes a variance as a difference, which leaves four digits for inputs of 2 +- 0.01.)
    np.testing.assert_allclose(kept["var"][:3], exact.var(0)[:3], rtol=1e-4)
    np.testing.assert_allclose(found, trained, rtol=1e-3, atol=1e-3)


def apply(params: Any, state: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
    """A network with BatchNorm's mean (momentum .9) and a random factor in place of dropout."""
    mean = x.mean(0) if train else state["mean"]
    out = (x - mean[None]) @ params["w"]
    if not train:
        return out, state
    scale = 0.5 + (jax.random.key_data(key)[-1] % 1024).astype(out.dtype) / 1024
    return out * scale, {"mean": 0.9 * state["mean"] + 0.1 * mean}


DROPPING = Net(
    lambda key, x: ({"w": jax.random.normal(key, (x.shape[1], 4))}, {"mean": jnp.zeros(x.shape[1])}), apply
)


@pytest.mark.parametrize("statistics", ["support", "transductive", "running"])
def test_dropout_beside_statistics(statistics):
    """The loss depends on the key in training; at test it depends only on the statistics."""
    problem = classification(DROPPING, 3, statistics)
    rng = np.random.default_rng(0)
    x, query = (jnp.asarray(rng.normal(size=(2, n, 3)) + 3, jnp.float32) for n in (3, 6))
    y = jnp.tile(jnp.arange(3), (2, 2))
    given = Episode({"x": x, "y": y[:, :3]}, {"x": query, "y": y})
    learners: list[Any] = [
        prototypical.prototypical(problem, prototypical.PrototypicalConfig(tasks_at_once=2))
    ]
    if statistics == "support":
        inner = InnerConfig(steps=1, rate=0.05)
        learners += [maml.maml(problem, maml.MAMLConfig(inner=inner, optimizer=optax.sgd, tasks_at_once=2))]
        learners += [pooled.pooled(problem, pooled.PooledConfig(optimizer=optax.sgd))]
    for learner in learners:
        state = learner.init(jax.random.key(1), given)
        step = jit_brief(learner.step)
        losses = [float(step(jax.random.key(seed), state, given)[1]["loss"]) for seed in (2, 2, 3)]
        assert np.isfinite(losses).all()
        assert losses[0] == losses[1] != losses[2]
    if statistics != "running":
        params = problem.init(jax.random.key(1), x[0])[0]["body"]
        features = problem.features(params, {"mean": jnp.zeros(3)}, {"x": x[0]}, query[0])
        mean = (x if statistics == "support" else query)[0].mean(0)
        np.testing.assert_allclose(features, (query[0] - mean[None]) @ params["w"], rtol=1e-4, atol=1e-5)


def test_implicit_derivatives_by_everything_equal_finite_differences():
    """Derivatives by the start, the strength, the support set and a number that the loss closes over."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, query = rng.normal(size=(2, 6, 3))
        y, wanted = rng.normal(size=(2, 6))
        start = {"w": jnp.array([0.3, -1.0, 0.5]), "strength": 0.7, "x": jnp.asarray(x), "decay": 0.2}
        inner = InnerConfig(steps=200, rate=0.2)

        @jit_brief
        @jax.value_and_grad
        def outer(given: Any) -> Any:
            def loss(w: Any, support: Any) -> Any:
                return jnp.mean((support @ w - y) ** 2) + given["decay"] * jnp.sum(w**4)

            w = implicit_adapt(loss, given["w"], given["x"], inner, given["strength"], cg_steps=10)
            return jnp.mean((query @ w - wanted) ** 2)

        flat, tree = ravel_pytree(start)
        h = 1e-5
        moved = [(outer(tree(flat + d))[0], outer(tree(flat - d))[0]) for d in h * np.eye(flat.size)]
        differences = np.array([(a - b) / (2 * h) for a, b in moved])
        vector = ravel_pytree(outer(start)[1])[0]
    np.testing.assert_allclose(vector, differences, rtol=1e-5, atol=1e-7)
    assert np.abs(differences).min() > 1e-4  # the result depends on each of them


def test_implicit_derivatives_take_so_many_conjugate_gradient_steps():
    """One conjugate gradient step from zero along c gives (c c / c A c) c, with A = H / strength + 1."""
    h, c = np.array([1.0, 4.0, 9.0], np.float32), np.array([1.0, 2.0, -1.0], np.float32)

    def end(w: Any) -> Any:
        loss = lambda w, support: (support * w**2).sum() / 2  # noqa: E731
        return implicit_adapt(loss, w, jnp.asarray(h), InnerConfig(), 2.0, cg_steps=1) @ c

    expected = c * (c @ c) / (c @ ((h / 2 + 1) * c))
    np.testing.assert_allclose(jit_brief(jax.grad(end))(jnp.ones(3)), expected, rtol=1e-5)


def test_the_posterior_mean_without_noise_is_the_limit_of_little():
    """One point in two dimensions: the nearest weights to the mean that fit it."""
    with jax.enable_x64(True):
        mean, x, y = np.array([1.0, -1.0]), np.array([[0.6, 0.3]]), np.array([[2.0]])
        support = {"x": jnp.asarray(x), "y": jnp.asarray(y)}
        find = jit_brief(lambda spread, noise: posterior_mean(support, jnp.asarray(mean), spread, noise))
        wanted = mean + x[0] * (y[0, 0] - x[0] @ mean) / (x[0] @ x[0])
        np.testing.assert_allclose(find(0.5, 0.0), wanted, rtol=1e-12)
        np.testing.assert_allclose(find(0.5, 1e-6), wanted, rtol=1e-9)
        np.testing.assert_array_equal(find(0.0, 0.3), mean)
        np.testing.assert_array_equal(find(0.0, 0.0), mean)
        precision = x.T @ x / 0.3**2 + np.eye(2) / 0.5**2
        exact = np.linalg.solve(precision, x.T @ y[:, 0] / 0.3**2 + mean / 0.5**2)
        np.testing.assert_allclose(find(0.5, 0.3), exact, rtol=1e-10)
    single = posterior_mean(
        {"x": jnp.asarray(x, jnp.float32), "y": jnp.full((1, 1), 2.0)},
        jnp.asarray(mean, jnp.float32),
        0.5,
        0.0,
    )
    np.testing.assert_allclose(single, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "support", [(), None, {"x": jnp.ones((2, 0, 3))}, {"key": jax.random.split(jax.random.key(0))}]
)
def test_tasks_without_a_support_set_adapt_under_an_axis(support):
    """Adaptation to a constant loss keeps 10,000 weights, enough for the axis of the tasks to matter."""
    params, config = jnp.arange(10_000.0), InnerConfig(steps=1, rate=0.25)
    found = jax.vmap(
        lambda support: adapt(lambda w, _: (w**2).sum(), params, support, config),
        axis_name=LANES, axis_size=2,
    )(support)  # fmt: skip
    np.testing.assert_array_equal(found, np.stack([np.asarray(params) / 2] * 2))


def test_images_are_scaled_by_their_type():
    bits: Any = np.arange(2 * 4 * 2 * 2).reshape(2, 4, 2, 2, 1) % 2
    for images in (bits.astype(np.int32), bits.astype(np.uint16), bits.astype(bool)):
        for family in (lambda x: few_shot(x, 2, 1, 1), lambda x: shifted(x, 2, 2)):
            with pytest.raises(ValueError, match=f"images must be uint8, 0 to 255, or float.*{images.dtype}"):
                family(images)
    with pytest.raises(ValueError, match="none of these pixels is above 1"):
        few_shot(bits.astype(np.uint8), 2, 1, 1)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 0 to 255"):
        shifted(bits * np.float32(255), 2, 2)
    for images, high in ((255 * bits.astype(np.uint8), 1.0), (bits * np.float32(7), 7.0)):
        x = draw(few_shot(images, 2, 1, 1), jax.random.key(0), 1).support["x"]
        np.testing.assert_array_equal(np.unique(x), [0.0, high])


def answers(values: Any) -> MetaLearner:
    """A learner whose outputs are ``values`` [steps + 1] for a task's code 1, and 0 for others."""

    def curve(state: Any, support: Any, x: Any, code: Any, steps: int) -> Any:
        found = jnp.where(code == 1, jnp.asarray(values, jnp.float32)[: steps + 1], 0.0)
        return jnp.broadcast_to(found[:, None, None], (steps + 1, x.shape[0], 1))

    return MetaLearner(lambda key, episodes: None, lambda key, state, episodes: (state, {}), curve)


def halves() -> TaskFamily:
    """Tasks with code 0 or 1, equally often, whose inputs and targets are zeros."""
    part = {"x": jnp.zeros((2, 1)), "y": jnp.zeros((2, 1))}
    sample = lambda key: jax.random.bernoulli(key).astype(jnp.int32)  # noqa: E731
    return TaskFamily("halves", sample, lambda key, task: (part, part), 1, lambda task: task)


# Squared errors: 1e33, which is finite; a little above and a little below the threshold; and NaN.
OUTPUTS = (3.2e16, 1.1e3, 0.9e3, np.nan)


def test_a_finite_loss_beyond_the_threshold_has_diverged():
    problem, key = regression(nets.mlp(None, (2,))), jax.random.key(0)
    learner = answers(OUTPUTS)
    codes = np.asarray(draw(halves(), key, 20).code)
    metrics = evaluator(problem, halves(), tasks=20, at=(0, 1, 2, 3))(learner, 0.0, key, None, None)
    for k in (0, 1, 3):
        np.testing.assert_allclose(metrics[f"diverged@{k}"], codes.mean(), rtol=1e-6)
        assert metrics[f"loss@{k}"] == 0
    assert metrics["diverged@2"] == 0
    np.testing.assert_allclose(metrics["loss@2"], 0.81e6 * codes.mean(), rtol=1e-5)
    strict = evaluator(
        problem, halves(), tasks=20, at=(2,), diverged_above=0.5e6
    )(learner, 0.0, key, None, None)  # fmt: skip
    np.testing.assert_allclose(strict["diverged@2"], codes.mean(), rtol=1e-6)
    assert DIVERGED_ABOVE == 1e6


def test_tuned_counts_diverged_test_tasks_in_its_mean():
    """Without its diverged tasks a method that diverges on half of all tasks would look perfect."""
    problem = regression(nets.mlp(None, (2,)))
    states = MetaState(jnp.zeros(2), jnp.zeros(2), jnp.zeros(2), jnp.zeros(2))
    tuning = tuned(
        lambda _: answers(OUTPUTS), problem, [(0.1, states)], (3, 4), validation=halves(), test=halves(),
        steps=3, validation_tasks=2, test_tasks=20,
    )  # fmt: skip
    share = tuning["diverged"][:, 0]
    assert (share > 0).all()
    wanted = [DIVERGED_ABOVE * share, DIVERGED_ABOVE * share, 0.81e6 * share, DIVERGED_ABOVE * share]
    np.testing.assert_allclose(tuning["loss"], np.stack(wanted, 1), rtol=1e-5)
    np.testing.assert_array_equal(tuning["diverged"], np.stack([share, share, 0 * share, share], 1))
