"""All meta-learners on labels outside of the classes, on keys in training, and in double precision.

The body is linear. In training a number drawn from the key scales its features, in the place of dropout.
This takes few products, so that the step of every learner compiles quickly.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn import nets, train
from lrn.meta import (
    anil,
    arm,
    boil,
    imaml,
    irm,
    maml,
    maml_plus_plus,
    meta_sgd,
    mr_maml,
    nil,
    oracle,
    pooled,
    prototypical,
    reptile,
    scratch,
)
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import Episode, TaskFamily, check_family, draw, episodes
from lrn.meta.evaluate import evaluator, per_task
from lrn.meta.learner import MetaLearner
from lrn.meta.problem import Problem, classification, regression
from lrn.types import Net
from lrn.xla.runtime import jit_brief

WAYS = 3
INNER = InnerConfig(steps=1, rate=0.05)
MAML = maml.MAMLConfig(inner=INNER, optimizer=optax.sgd, tasks_at_once=2)


def apply(params: Any, state: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
    out = x @ params["w"]
    if not train:
        return out, state
    bits = jax.random.key_data(key)[-1] % 1024
    return out * (0.5 + bits.astype(out.dtype) / 1024), state


def weights(key: Any, x: Any) -> Any:
    return {"w": jnp.linspace(-0.4, 0.5, x.shape[-1] * 4, dtype=x.dtype).reshape(-1, 4) ** 2}, ()


PROBLEM = classification(Net(weights, apply), WAYS)
CONTEXT = nets.from_function(lambda key, x: jnp.ones((3, 2), x.dtype) / 3, lambda params, x: x @ params)

LEARNERS: dict[str, Callable[[Problem], MetaLearner]] = {
    "anil": lambda problem: anil.anil(problem, MAML),
    "arm": lambda problem: arm.arm(problem, CONTEXT, arm.ARMConfig(optimizer=optax.sgd)),
    "boil": lambda problem: boil.boil(problem, MAML),
    "imaml": lambda problem: imaml.imaml(
        problem, imaml.IMAMLConfig(inner=INNER, cg_steps=2, optimizer=optax.sgd, tasks_at_once=2)
    ),
    "irm": lambda problem: irm.irm(problem, irm.IRMConfig(optimizer=optax.sgd)),
    "maml": lambda problem: maml.maml(problem, MAML),
    "maml_plus_plus": lambda problem: maml_plus_plus.maml_plus_plus(
        problem, maml_plus_plus.MAMLPlusPlusConfig(inner=INNER, tasks_at_once=2)
    ),
    "meta_sgd": lambda problem: meta_sgd.meta_sgd(problem, MAML),
    # The noise on its weights is almost zero, so that keys change only the dropout.
    "mr_maml": lambda problem: mr_maml.mr_maml(
        problem, mr_maml.MRMAMLConfig(inner=INNER, initial_std=1e-12, optimizer=optax.sgd, tasks_at_once=2)
    ),
    "nil": lambda problem: nil.nil(problem, MAML),
    "oracle": lambda problem: oracle.oracle(problem, oracle.OracleConfig(optimizer=optax.sgd)),
    "pooled": lambda problem: pooled.pooled(
        problem, pooled.PooledConfig(fine_tune=INNER, optimizer=optax.sgd)
    ),
    "pooled, by classes": lambda problem: pooled.pooled(
        problem, pooled.PooledConfig(fine_tune=INNER, optimizer=optax.sgd), classes=6
    ),
    "prototypical": lambda problem: prototypical.prototypical(
        problem, prototypical.PrototypicalConfig(tasks_at_once=2)
    ),
    "reptile": lambda problem: reptile.reptile(problem, reptile.ReptileConfig(inner=INNER)),
    "scratch": lambda problem: scratch.scratch(problem, scratch.ScratchConfig(train=INNER)),
}
ADAPT = ("imaml", "maml", "nil", "pooled, by classes", "prototypical", "scratch")  # by other curves


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@functools.cache
def tasks() -> Episode:
    """Two tasks whose codes are the classes behind the labels."""
    rng, y = np.random.default_rng(0), np.tile(np.arange(WAYS), (2, 2))
    support, query = ({"x": rng.normal(size=(2, n, 3)), "y": y[:, :n]} for n in (3, 6))
    return Episode(support, query, np.array([[4, 0, 2], [1, 3, 5]]))


def mislabeled(part: str, label: int) -> Episode:
    """The same tasks, the last example of the second task's part with another label."""
    given = tasks()
    batch = getattr(given, part)
    y = batch["y"].copy()
    y[1, -1] = label
    return given._replace(**{part: {**batch, "y": y}})


@functools.cache
def begun(name: str) -> tuple[MetaLearner, Any]:
    """A learner and its first state."""
    learner = LEARNERS[name](PROBLEM)
    return learner, jit_brief(learner.init)(jax.random.key(1), tasks())


@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_a_label_that_is_no_class_and_the_key_of_a_training(name):
    """In a compiled step a wrong label makes loss and meta-parameters NaN; keys change the dropout."""
    learner, state = begun(name)
    step = jit_brief(learner.step)
    key, other = jax.random.key(2), jax.random.key(3)
    after, metrics = step(key, state, tasks())
    assert _form(metrics["loss"]) == ((), jnp.float64)
    assert jax.tree.map(_form, after) == jax.tree.map(_form, state)  # as a loop needs
    assert np.isfinite(np.asarray(metrics["loss"]))
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(after.meta))
    assert step(key, state, tasks())[1]["loss"] == metrics["loss"]
    assert (step(other, state, tasks())[1]["loss"] != metrics["loss"]) == (name != "scratch")
    for part, label in (("support", 7), ("query", -1)):
        after, metrics = step(key, state, mislabeled(part, label))
        assert np.isnan(metrics["loss"]), part
        for leaf in jax.tree.leaves(after.meta):
            assert np.isnan(np.asarray(leaf)).any() == (name != "scratch"), part  # scratch learns nothing


def _form(x: Any) -> Any:
    return x.shape, x.dtype


@pytest.mark.parametrize("name", ADAPT)
def test_adapting_to_a_label_that_is_no_class(name):
    """Known labels raise one sentence before anything compiles; traced labels give NaN."""
    learner, state = begun(name)
    task = jax.tree.map(lambda x: x[1], mislabeled("support", 7))
    with pytest.raises(ValueError, match="label 7 is none of 3 classes"):
        learner.adapt(state, task.support, 1, task.code)(task.query["x"])


def test_a_task_with_a_wrong_label_has_diverged():
    learner, state = begun("maml")
    at_test = jit_brief(lambda episodes: per_task(learner, PROBLEM, state, episodes, 1))
    fine, wrong = (at_test(given) for given in (tasks(), mislabeled("support", WAYS)))
    for name in ("loss", "accuracy"):
        np.testing.assert_array_equal(wrong[name][0], fine[name][0])
        np.testing.assert_array_equal(wrong[name][1, 0], fine[name][1, 0])  # before the step
        assert np.isnan(at_test(mislabeled("query", -1))[name][1]).all()
    assert np.isnan(wrong["loss"][1, 1])
    assert wrong["accuracy"][1, 1] == 0  # NaN counts as wrong


def labeled(support: list[int], query: list[int], drawn: bool = False) -> TaskFamily:
    def batch(key: Any, task: Any) -> Any:
        def part(labels: list[int]) -> Any:
            y = jnp.array(labels, jnp.int32)
            return {"x": jnp.ones((len(labels), 3)), "y": jax.random.permutation(key, y) if drawn else y}

        return part(support), part(query)

    return TaskFamily("mine", lambda key: (), batch, WAYS)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (labeled([0, 1, 7], [0, 1, 2]), "the support set of the tasks mine has the label 7"),
        (labeled([0, 1, 2], [0, 1, -1]), "the query set of the tasks mine has the label -1"),
        (labeled([0, 1, 1], [0, 1, 2]), "the support set of the tasks mine has no example of class 2"),
    ],
)
def test_families_of_constant_labels_that_are_no_classes(family, message):
    learner = LEARNERS["maml"](PROBLEM)
    calls = [
        lambda: check_family(family),
        lambda: draw(family, jax.random.key(0), 2),
        lambda: episodes(family, 2).draw(jax.random.key(0), None),
        lambda: train.fit(lambda _: learner, 0.0, [0], steps=1, sampler=episodes(family, 2), progress=False),
        lambda: evaluator(PROBLEM, family)(learner, 0.0, jax.random.key(0), None, None),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()


def test_families_of_drawn_labels_are_not_looked_into():
    check_family(labeled([0, 1, 7], [0, 1, 1], drawn=True))
    check_family(labeled([0, 1, 2], [0, 1, 1]))  # a class without queries


def test_one_label_for_six_examples():
    """A wrong label is refused in a loss, in a support set, and in a family."""
    outputs, one = jnp.ones((6, WAYS)), jnp.zeros(1, jnp.int32)
    for y in (one, jnp.zeros((6, 1), jnp.int32), jnp.zeros(6)):
        for function in (PROBLEM.loss, PROBLEM.score, lambda f, y: prototypical.prototypes(f, y, WAYS)):
            with pytest.raises(ValueError, match=r"needs labels int \[n\], here \[6\]"):
                function(outputs, y)
    numbers = regression(nets.mlp(None, (4,)), 1)
    for y in (jnp.ones((1, 1)), jnp.ones(6)):
        with pytest.raises(ValueError, match=r"needs y float \[6, 1\]"):
            numbers.loss(jnp.ones((6, 1)), y)
    given = tasks()
    few = given._replace(query={**given.query, "y": given.query["y"][:, :1]})
    for make in LEARNERS.values():
        learner = make(PROBLEM)
        with pytest.raises(ValueError, match="one label for each"):
            learner.init(jax.random.key(0), few)
        with pytest.raises(ValueError, match="one label for each"):
            learner.step(jax.random.key(0), None, few)
        task = jax.tree.map(lambda x: x[0], given)
        with pytest.raises(ValueError, match="one label for each"):
            learner.adapt(None, {**task.support, "y": task.support["y"][:1]}, 1, task.code)


def test_imaml_of_single_precision_where_double_is_the_default():
    learner = LEARNERS["imaml"](PROBLEM)
    given = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32 if x.dtype == jnp.float64 else x.dtype), tasks()
    )
    state = jax.eval_shape(learner.init, jax.random.key(0), given)
    after, metrics = jax.eval_shape(learner.step, jax.random.key(0), state, given)
    assert jax.tree.map(_form, after) == jax.tree.map(_form, state)
    assert {x.dtype for x in jax.tree.leaves((after.meta, metrics["loss"]))} == {jnp.dtype(jnp.float32)}
