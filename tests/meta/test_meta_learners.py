"""Meta-learners: methods that must be equal, closed forms, and properties that all learners share."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from scipy import special

import lrn.meta
from lrn import nets, train
from lrn.meta import anil, boil, maml, maml_plus_plus, meta_sgd, mr_maml, pooled, prototypical, reptile
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import Episode, TaskFamily, check_family, constant, draw, episodes, joined
from lrn.meta.families.blobs import blobs, rotation
from lrn.meta.families.few_shot import few_shot
from lrn.meta.families.linear_gaussian import linear_gaussian, posterior_mean
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.inner import curve_of
from lrn.meta.learner import MetaLearner, of_tasks
from lrn.meta.maml import MAMLConfig
from lrn.meta.nil import nil
from lrn.meta.oracle import OracleConfig, oracle
from lrn.meta.problem import batch_statistics, classification, regression

PROBLEM = regression(nets.mlp(None, (8,)))


def examples() -> dict[str, Any]:
    """The example of every meta-learner, from the modules of `lrn.meta`."""
    makers = {}
    for info in pkgutil.iter_modules(lrn.meta.__path__):
        module = importlib.import_module(f"lrn.meta.{info.name}")
        if hasattr(module, "example"):
            makers[info.name] = module.example
    return makers


EXAMPLES = examples()


def drawn(family: TaskFamily, seed: int, count: int) -> Episode:
    """Tasks of the family in host memory, where their parts are taken without a compile."""
    return jax.device_get(jax.jit(lambda key: draw(family, key, count))(jax.random.key(seed)))


@functools.cache
def blob_tasks(ways: int = 3, count: int = 2) -> Episode:
    return drawn(blobs(ways=ways), 0, count)


def first(given: Episode) -> Episode:
    """The first of several tasks."""
    return jax.tree.map(lambda x: np.asarray(x)[0], given)


def curve_by(learner: MetaLearner) -> Any:
    """The learner's ``curve``, compiled."""
    return jax.jit(learner.curve, static_argnums=4)


@pytest.fixture(scope="module")
def batch():
    return drawn(sinusoid(), 1, 4)


@pytest.fixture(scope="module")
def plain(batch):
    """The first state of MAML on `PROBLEM` with plain descent, whatever its inner loop."""
    learner = maml.maml(PROBLEM, MAMLConfig(optimizer=optax.sgd))
    return jax.jit(learner.init)(jax.random.key(0), batch)


@functools.cache
def begun(name: str) -> tuple[MetaLearner, Episode, Any]:
    """An example in double precision: the learner, tasks and its first state."""
    with jax.enable_x64(True):
        example = EXAMPLES[name]()
        learner = example.factory(example.config)
        assert isinstance(learner, MetaLearner)

        @jax.jit
        def begin(key):
            given = example.sampler.draw(key, None)
            return given, learner.init(jax.random.key(1), given)

        return learner, *jax.device_get(begin(jax.random.key(0)))


def close(a, b, rtol=1e-4, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"mr_maml"}))  # its noise depends on the task's place
def test_the_order_of_the_tasks_does_not_matter(name):
    # Double precision is needed: conjugate gradients amplify the rounding of another order of tasks.
    with jax.enable_x64(True):
        learner, given, state = begun(name)
        turned = jax.tree.map(lambda x: x[[2, 0, 1]], given)
        step = jax.jit(learner.step)
        one, other = step(jax.random.key(2), state, given), step(jax.random.key(2), state, turned)
        close(one[1], other[1])
        # The optimizer's state is compared, which holds the gradient: Adam's first step is little more
        # than the gradient's sign. Plain descent has no state, and its step is the gradient.
        kept = [r[0].opt_state if jax.tree.leaves(r[0].opt_state) else r[0].meta for r in (one, other)]
        close(*kept, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_curves_have_a_row_for_each_step(name):
    with jax.enable_x64(True):
        learner, given, state = begun(name)
        task = first(given)
        x = task.query["x"]

        @jax.jit
        def curves(state, task):
            of = lambda x, steps: learner.curve(state, task.support, x, task.code, steps)  # noqa: E731
            return of(x, 3), of(x, 1), of(x[:2], 3)

        three, one, few = map(np.asarray, curves(state, task))
    assert three.shape[:2] == (4, x.shape[0])
    close(one, three[:2])
    # Each query must be judged alone.
    close(few, three[:, :2])


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("order", ["first", "second"])
def test_maml_is_the_mean_over_a_loop_of_tasks(batch, plain, steps, order):
    """The meta-gradient written out for one task at a time, by gradients of gradients alone."""
    config = MAMLConfig(
        inner=InnerConfig(steps=steps, rate=0.01, order=order), meta_rate=0.1, optimizer=optax.sgd
    )

    def loss_of_task(params, task):
        support, query = task
        for _ in range(steps):
            gradient = jax.grad(PROBLEM.loss_on)(params, plain.net_state, support, support)
            if order == "first":
                gradient = jax.lax.stop_gradient(gradient)
            params = jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient)
        return PROBLEM.loss_on(params, plain.net_state, support, query)

    @jax.jit
    def each(params, tasks):
        return jax.lax.map(lambda task: jax.value_and_grad(loss_of_task)(params, task), tasks)

    values, gradients = each(plain.meta, (batch.support, batch.query))
    after, metrics = jax.jit(maml.maml(PROBLEM, config).step)(jax.random.key(1), plain, batch)
    np.testing.assert_allclose(metrics["loss"], np.mean(values), rtol=1e-5)
    expected = jax.tree.map(lambda p, g: np.asarray(p) - 0.1 * np.mean(g, 0), plain.meta, gradients)
    close(after.meta, expected)


def test_groups_of_tasks_change_nothing(batch, plain):
    def after(at_once):
        learner = maml.maml(PROBLEM, MAMLConfig(optimizer=optax.sgd, tasks_at_once=at_once))
        return jax.jit(learner.step)(jax.random.key(1), plain, batch)

    together = after(0)
    for at_once in (1, 2):
        close(after(at_once), together)


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_a_metric_is_a_mean_over_the_tasks_whatever_its_type(batch, at_once):
    """Also a yes or no, and one number an example."""

    def loss(key, meta, net_state, episode, count):
        y = episode.query["y"]
        return problem_loss(meta, net_state, episode), {"high": y.mean() > high, "each": y[:, 0]}

    def problem_loss(meta, net_state, episode):
        return PROBLEM.loss_on(meta, net_state, episode.support, episode.query)

    means = np.asarray(batch.query["y"]).mean(axis=(1, 2))
    high = float(np.sort(means)[:2].mean())  # three of the four means are larger

    @jax.jit
    def measure(batch):
        meta, net_state = PROBLEM.init(jax.random.key(0), batch.support["x"][0])
        return of_tasks(loss, at_once).of(jax.random.key(1), meta, net_state, batch, jnp.int32(0))[1]

    metrics = measure(batch)
    assert metrics["high"] == 0.75
    np.testing.assert_allclose(metrics["each"], means.mean(), rtol=1e-5)


@pytest.mark.parametrize(("make", "part"), [(anil.anil, "head"), (boil.boil, "body")])
def test_anil_and_boil_adapt_one_part(batch, make, part):
    """ANIL and BOIL adapt like MAML with rates of 0 for the other part."""
    inner = InnerConfig(steps=3, rate=0.05)
    learner = make(PROBLEM, MAMLConfig(inner=inner))
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    rates = {
        name: jax.tree.map(lambda p, on=(name == part): np.full(3, 0.05 * on, np.float32), params)
        for name, params in state.meta.items()
    }

    @jax.jit
    def curves(state, task, rates):
        support, x = task.support, task.query["x"]
        expected = curve_of(PROBLEM, state.meta, state.net_state, support, x, inner, 3, rates=rates)
        return learner.curve(state, support, x, (), 3), expected

    curve, expected = map(np.asarray, curves(state, first(batch), rates))
    close(curve, expected)
    assert np.abs(curve[3] - curve[0]).max() > 1e-3


def test_reptile_with_one_step_is_joint_training(batch):
    config = reptile.ReptileConfig(inner=InnerConfig(steps=1, rate=0.01), meta_rate=0.5)
    learner = reptile.reptile(PROBLEM, config)
    state = jax.jit(learner.init)(jax.random.key(0), batch)

    def joint(params):
        seen = jax.vmap(joined)(batch)
        return jax.vmap(lambda s: PROBLEM.loss_on(params, state.net_state, s, s))(seen).mean()

    slope = jax.jit(jax.grad(joint))(state.meta)
    expected = jax.tree.map(lambda p, g: np.asarray(p) - 0.5 * 0.01 * np.asarray(g), state.meta, slope)
    close(jax.jit(learner.step)(jax.random.key(1), state, batch)[0].meta, expected, rtol=1e-5)


def test_prototypical_logits_are_squared_distances_to_class_means():
    rng = np.random.default_rng(0)
    features, queries = rng.normal(size=(12, 4)), rng.normal(size=(5, 4))
    y = np.array([0, 1, 2] * 4)
    means = np.stack([features[y == k].mean(0) for k in range(3)])
    expected = -((queries[:, None] - means[None]) ** 2).sum(-1)
    prototypes = jax.jit(prototypical.prototypes, static_argnums=2)
    centers = prototypes(features, y, 3)
    np.testing.assert_allclose(centers, means, rtol=1e-5)
    logits = np.asarray(jax.jit(prototypical.prototype_logits)(queries, centers))
    # A common shift of a query's logits means nothing, so probabilities are compared.
    np.testing.assert_allclose(special.softmax(logits, 1), special.softmax(expected, 1), rtol=1e-4)
    turned = rng.permutation(12)
    np.testing.assert_allclose(prototypes(features[turned], y[turned], 3), centers, rtol=1e-5)


def test_prototypes_of_a_missing_class():
    with pytest.raises(ValueError, match="no example of class 1 of 3"):
        prototypical.prototypes(jnp.ones((2, 4)), jnp.array([0, 2]), 3)


def test_maml_plus_plus_weighs_the_steps_as_its_authors_do():
    """The authors' get_per_step_loss_importance_vector, written out, for 5 steps over 10 meta-steps."""

    def theirs(count, steps=5, over=10):
        weights = np.ones(steps) / steps
        decay = 1 / steps / over
        least = 0.03 / steps
        for i in range(steps - 1):
            weights[i] = max(weights[i] - count * decay, least)
        weights[-1] = min(weights[-1] + count * (steps - 1) * decay, 1 - (steps - 1) * least)
        return weights

    ours = jax.jit(lambda count: maml_plus_plus.step_weights(count, 5, 10))
    for count in range(10):
        np.testing.assert_allclose(ours(count), theirs(count), rtol=1e-5)
    np.testing.assert_array_equal(ours(10), [0, 0, 0, 0, 1])


def test_maml_plus_plus_without_its_additions_is_maml(batch):
    inner = InnerConfig(steps=3, rate=0.01)
    plus = maml_plus_plus.MAMLPlusPlusConfig(
        inner=inner, multi_step_steps=0, learn_rates=False, clip=1e9, final_rate=1e-3
    )
    one, other = maml_plus_plus.maml_plus_plus(PROBLEM, plus), maml.maml(PROBLEM, MAMLConfig(inner=inner))
    state, plain = (jax.jit(learner.init)(jax.random.key(0), batch) for learner in (one, other))
    after, metrics = jax.jit(one.step)(jax.random.key(1), state, batch)
    expected, measured = jax.jit(other.step)(jax.random.key(1), plain, batch)
    np.testing.assert_allclose(metrics["loss"], measured["loss"], rtol=1e-5)
    close(after.meta["params"], expected.meta, atol=1e-4)


def test_maml_plus_plus_is_of_first_order_first(batch):
    settings = maml_plus_plus.MAMLPlusPlusConfig(
        inner=InnerConfig(steps=3, rate=0.05), multi_step_steps=0, first_order_steps=1
    )
    first = dataclasses.replace(settings, inner=InnerConfig(steps=3, rate=0.05, order="first"))
    learners = [maml_plus_plus.maml_plus_plus(PROBLEM, c) for c in (settings, first)]
    states = [jax.jit(learner.init)(jax.random.key(0), batch) for learner in learners]
    steps = [jax.jit(learner.step) for learner in learners]
    for same in (True, False):  # the first meta-step, then the second
        states = [step(jax.random.key(1), s, batch)[0] for step, s in zip(steps, states)]
        one, other = (jax.device_get(jax.tree.leaves(s.opt_state[1].mu)) for s in states)
        assert (max(np.abs(a - b).max() for a, b in zip(one, other)) < 1e-6) == same


def test_gaussian_divergence_equals_the_closed_form():
    from scipy import integrate, stats

    def inside(x):
        one, other = stats.norm.logpdf(x, 0.4, 0.3), stats.norm.logpdf(x, 0, 1.5)
        return np.exp(one) * (one - other)

    expected = integrate.quad(inside, -4, 4)[0]
    means, logs = ({"w": np.full(2, x, np.float32)} for x in (0.4, np.log(0.3)))
    divergence = jax.jit(mr_maml.gaussian_divergence)(means, logs, 1.5)
    np.testing.assert_allclose(divergence, 2 * expected, rtol=1e-4)


def test_maml_learns_the_mean_of_linear_gaussian_tasks():
    """Without inner steps the best initialization is the mean task; the posterior mean is far closer."""
    family = linear_gaussian(spread=0.5, noise=0.1)
    identity = nets.from_function(lambda key, x: (), lambda params, x: x)
    problem = regression(identity)
    learner = maml.maml(problem, MAMLConfig(inner=InnerConfig(steps=0), meta_rate=0.03))
    sampler = episodes(family, 32)

    def body(i, state):
        key = jax.random.fold_in(jax.random.key(2), i)
        return learner.step(key, state, sampler.draw(key, None))[0]

    @jax.jit
    def trained():
        state = learner.init(jax.random.key(0), sampler.draw(jax.random.key(1), None))
        return jax.lax.fori_loop(0, 500, body, state)

    mean: Any = np.array([1.0, -1.0, 0.5], np.float32)
    np.testing.assert_allclose(trained().meta["head"]["kernel"], mean[:, None], atol=0.1)
    fresh = drawn(family, 3, 200)
    posterior = jax.jit(jax.vmap(lambda s: posterior_mean(s, mean, 0.5, 0.1)))(fresh.support)
    assert np.mean((posterior - fresh.code) ** 2) < 0.1 * np.mean((mean - fresh.code) ** 2)


def test_blobs_are_told_apart_by_their_signal():
    """Nearest class mean in the shared signal directions is nearly perfect; in all directions it is not."""
    given = drawn(blobs(ways=3, shots=5, queries=20, nuisance=10.0), 0, 50)
    keep = jnp.asarray(np.asarray(rotation(8))[:2].T)

    def accuracy(episode, project):
        known, x = episode.support["x"] @ project, episode.query["x"] @ project
        centers = prototypical.prototypes(known, episode.support["y"], 3)
        return (prototypical.prototype_logits(x, centers).argmax(1) == episode.query["y"]).mean()

    both = jax.jit(jax.vmap(lambda e: (accuracy(e, keep), accuracy(e, jnp.eye(8)))))(given)
    informed, naive = map(np.mean, both)
    assert informed > 0.85
    assert naive < informed - 0.15


@pytest.mark.parametrize("unshared", [0.0, 0.5, 1.0])
def test_sinusoids_keep_their_spread_and_lose_their_structure(unshared):
    given = drawn(sinusoid(50, 50, unshared=unshared), 0, 400)
    amplitude = given.code[:, 0]
    assert 0.1 <= float(amplitude.min()) <= float(amplitude.max()) <= 5
    x, y = given.support["x"][..., 0], given.support["y"][..., 0]
    np.testing.assert_allclose((y / amplitude[:, None]).var(), 0.5, atol=0.03)
    wave = np.sin(x) * given.code[:, 2:3] + np.cos(x) * given.code[:, 1:2]
    explained = ((y / amplitude[:, None]) * wave).mean() / (wave**2).mean()
    np.testing.assert_allclose(explained, np.sqrt(1 - unshared), atol=0.03)


class Normed(nn.Module):
    momentum: float

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.Dense(4)(x)
        return nn.relu(nn.BatchNorm(use_running_average=not train, momentum=self.momentum)(x))


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99])
def test_batch_statistics_are_those_of_the_batch_whatever_the_momentum(momentum):
    net = nets.from_flax(Normed(momentum))
    x = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)

    @jax.jit
    def of(x):
        params, net_state = net.init(jax.random.key(1), x)
        return params, batch_statistics(net, params, net_state, x)

    params, statistics = of(x)
    statistics = statistics["batch_stats"]["BatchNorm_0"]
    dense = x @ np.asarray(params["Dense_0"]["kernel"])
    np.testing.assert_allclose(statistics["mean"], dense.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(statistics["var"], dense.var(0), rtol=1e-3, atol=1e-4)


def test_transductive_statistics_let_queries_help_each_other_and_others_do_not():
    body = nets.from_flax(Normed(0.9))
    for statistics, alone in (("support", True), ("transductive", False)):
        problem = classification(body, 3, statistics)
        learner = maml.maml(problem, MAMLConfig())

        @jax.jit
        def curves(given, learner=learner):
            state, task = learner.init(jax.random.key(1), given), jax.tree.map(lambda x: x[0], given)
            x = task.query["x"]
            return [learner.curve(state, task.support, part, (), 1) for part in (x, x[:3])]

        whole, part = map(np.asarray, curves(blob_tasks()))
        assert np.allclose(whole[:, :3], part, atol=1e-4) == alone


@pytest.mark.parametrize("tasks", [1, 4])
def test_running_statistics_move_by_the_batches_of_the_training_and_judge_a_query_alone(tasks):
    body = nets.from_flax(Normed(0.9))
    settings = prototypical.PrototypicalConfig()
    learner = prototypical.prototypical(classification(body, 3, "running"), settings)
    given = blob_tasks(count=tasks)
    state = jax.jit(learner.init)(jax.random.key(1), given)
    after, metrics = jax.jit(learner.step)(jax.random.key(2), state, given)
    assert set(metrics) == {"loss", "accuracy"}
    # A batch holds a task's support and queries; flax keeps .9 of the old mean 0 and of the old variance 1.
    both = np.concatenate([given.support["x"], given.query["x"]], axis=1)
    dense = both @ np.asarray(state.meta["Dense_0"]["kernel"]) + np.asarray(state.meta["Dense_0"]["bias"])
    statistics = after.net_state["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * dense.mean(1).mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * dense.var(1).mean(0), rtol=1e-4)

    task = first(given)
    # The reference is the network with the kept statistics, and the distances to the class means.
    parts = (task.support["x"], task.query["x"])

    @jax.jit
    def judged(after, task):
        x = task.query["x"]
        curves = (learner.curve(after, task.support, part, (), 0)[0] for part in (x, x[:1]))
        return *curves, *(body.apply(after.meta, after.net_state, part)[0] for part in parts)

    outputs, alone, known, asked = map(np.asarray, judged(after, task))
    np.testing.assert_allclose(outputs[:1], alone, rtol=1e-4, atol=1e-4)
    centers = np.stack([known[task.support["y"] == c].mean(0) for c in range(3)])
    distance = ((asked[:, None] - centers[None]) ** 2).sum(-1)
    gaps = outputs - outputs[:, :1]
    np.testing.assert_allclose(gaps, -(distance - distance[:, :1]), rtol=1e-3, atol=1e-3)


def test_running_statistics_are_refused_where_an_inner_loop_would_not_move_them():
    problem = classification(nets.from_flax(Normed(0.9)), 3, "running")
    given = blob_tasks()
    for learner in (maml.maml(problem, MAMLConfig()), pooled.pooled(problem, pooled.PooledConfig())):
        state = jax.eval_shape(learner.init, jax.random.key(1), given)
        with pytest.raises(ValueError, match="only prototypical networks keep running"):
            jax.eval_shape(learner.step, jax.random.key(2), state, given)


@pytest.mark.parametrize(
    ("body", "statistics", "message"),
    [
        (nets.from_flax(Normed(0.9)), "none", "keeps statistics"),
        (nets.mlp(None, (4,)), "support", "keeps none"),
        (nets.mlp(None, (4,)), "running", "keeps none"),
        (nets.mlp(None, (4,)), "moving", "statistics 'moving' is not known"),
        (nets.from_function(lambda key, x: (), lambda p, x: x[:, 0]), "none", "features"),
        ("mlp", "none", "must be an lrn.types.Net"),
    ],
)
def test_a_body_that_does_not_fit(body, statistics, message):
    with pytest.raises(ValueError, match=message):
        classification(body, 3, statistics).init(jax.random.key(0), jnp.ones((5, 2)))


def family(batch, outputs=1) -> TaskFamily:
    return TaskFamily("mine", lambda key: (), lambda key, task: batch(), outputs)


def part(n=4, d=2, y=None):
    return {"x": jnp.ones((n, d)), "y": jnp.ones((n, 1)) if y is None else y}


@pytest.mark.parametrize(
    ("batch", "outputs", "message"),
    [
        (lambda: part(), 1, "must return"),
        (lambda: (part(), {"image": jnp.ones(3)}), 1, "query set"),
        (lambda: (part(), part(d=3)), 1, "make them alike"),
        (lambda: (part(y=jnp.ones(4)), part()), 1, r"float \[4, 1\]"),
        (lambda: (part(y=jnp.zeros(3, int)), part()), 2, r"int \[4\]"),
        (lambda: (part(y=jnp.zeros(4, int)), part(y=jnp.zeros(4, int))), 1, "set outputs to the classes"),
        (lambda: ({"x": jnp.ones(4), "y": jnp.ones((4, 1))}, part()), 1, "must be float"),
    ],
)
def test_a_family_of_the_wrong_shapes(batch, outputs, message):
    with pytest.raises(ValueError, match=message):
        check_family(family(batch, outputs))
    with pytest.raises(ValueError, match=message):
        episodes(family(batch, outputs), 2).draw(jax.random.key(0), None)


def lacking(part: str) -> TaskFamily:
    """Blobs of three classes, with the last class missing in one part of the tasks."""
    whole = blobs(ways=3)

    def batch(key, task):
        support, query = (
            {**given, "y": jnp.minimum(given["y"], 1)} if name == part else given
            for name, given in zip(("support", "query"), whole.batch(key, task))
        )
        return support, query

    return whole._replace(batch=batch)


def test_a_class_that_is_never_in_the_support_set_is_said_before_anything_compiles():
    learner = prototypical.prototypical(
        classification(nets.mlp(None, (4,)), 3), prototypical.PrototypicalConfig()
    )
    options = {"steps": 1, "progress": False}
    with pytest.raises(
        ValueError, match=r"the support set of the tasks blobs has no example of class 2 of 3"
    ):
        train.fit(lambda config: learner, 0.0, [0], sampler=episodes(lacking("support"), 2), **options)
    train.fit(lambda config: learner, 0.0, [0], sampler=episodes(lacking("query"), 2), **options)


def test_what_depends_on_nothing_is_computed():
    x = jax.ShapeDtypeStruct((3,), jnp.float32)
    table = jnp.arange(4)
    np.testing.assert_array_equal(constant(lambda x: jnp.tile(table, 2) + len(x), x), [3, 4, 5, 6] * 2)
    assert constant(lambda x: table[:3] + x, x) is None
    both = jax.jit(lambda x: (x.sum(), jax.lax.scan(lambda c, _: (c + 1, c), 0, None, length=2)[1]))
    np.testing.assert_array_equal(constant(lambda x: both(x)[1], x), [0, 1])
    assert constant(lambda x: both(x)[0], x) is None

    @jax.jit
    def inside(table, x):
        assert constant(lambda x: table + 1, x) is None  # the table is traced here
        np.testing.assert_array_equal(constant(lambda x: jnp.arange(2) + len(table), x), [4, 5])
        pair = jax.jit(lambda x: (x.sum() + table.sum(), jnp.arange(2)))
        np.testing.assert_array_equal(constant(lambda x: pair(x)[1], x), [0, 1])
        return x

    inside(table, jnp.ones(3))


def test_other_bad_input(batch):
    with pytest.raises(ValueError, match="TaskFamily"):
        check_family("sinusoid")  # pyright: ignore[reportArgumentType]
    learner = maml.maml(PROBLEM, MAMLConfig(tasks_at_once=3))
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    with pytest.raises(ValueError, match="4 tasks do not divide into groups of 3"):
        learner.step(jax.random.key(0), state, batch)
    with pytest.raises(ValueError, match="adapted 'heads' is not known"):
        maml.maml(PROBLEM, MAMLConfig(), "heads")
    with pytest.raises(ValueError, match="shots must be at least 1"):
        sinusoid(shots=0)
    with pytest.raises(ValueError, match="reptile learns from its inner steps"):
        reptile.ReptileConfig(inner=InnerConfig(steps=0))
    told = oracle(PROBLEM, OracleConfig())
    with pytest.raises(ValueError, match="no code"):
        told.init(jax.random.key(0), Episode(batch.support, batch.query))
    lost = nil(PROBLEM, MAMLConfig())
    state = jax.jit(lost.init)(jax.random.key(0), batch)
    task = first(batch)
    with pytest.raises(ValueError, match="nil compares classes"):
        lost.curve(state, task.support, task.query["x"], (), 1)
    with pytest.raises(ValueError, match=r"learns from an lrn\.meta\.episode\.Episode, got NoneType"):
        lost.init(jax.random.key(0), None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"inner must be an InnerConfig, got 0\.1"):
        MAMLConfig(inner=0.1)  # pyright: ignore[reportArgumentType]


def test_tasks_that_do_not_fit_the_problem(batch):
    """Labels of another kind or size raise one sentence; a label outside of the classes gives a NaN loss."""
    blob = blob_tasks(6)
    for problem, given, message in (
        (regression(nets.mlp(None, (4,)), 2), batch, r"needs y float \[10, 2\]"),
        (regression(nets.mlp(None, (4,))), blob, "a regression of 1 outputs"),
        (classification(nets.mlp(None, (4,)), 3), batch, r"needs labels int \[n\]"),
    ):
        learner = maml.maml(problem, MAMLConfig())
        state = jax.eval_shape(learner.init, jax.random.key(0), given)
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(learner.step, jax.random.key(1), state, given)
    learner = maml.maml(classification(nets.mlp(None, (4,)), 3), MAMLConfig())
    state = jax.jit(learner.init)(jax.random.key(0), blob)
    metrics = jax.jit(learner.step)(jax.random.key(1), state, blob)[1]
    assert not np.isfinite(np.asarray(metrics["loss"]))


def test_meta_sgd_learns_its_rates_by_the_product_of_gradients():
    """One step on a linear regression: d loss / d rate = - support gradient * query gradient, by weight."""
    problem = regression(nets.from_function(lambda key, x: (), lambda params, x: x))
    given = drawn(linear_gaussian(), 0, 1)
    config = MAMLConfig(inner=InnerConfig(steps=1, rate=0.05), meta_rate=0.5, optimizer=optax.sgd)
    learner = meta_sgd.meta_sgd(problem, config)
    state = jax.jit(learner.init)(jax.random.key(1), given)
    after = jax.jit(learner.step)(jax.random.key(2), state, given)[0]

    @jax.jit
    def rates(params, task):
        slope = jax.grad(problem.loss_on)(params, (), task.support, task.support)
        adapted = jax.tree.map(lambda p, g: p - 0.05 * g, params, slope)
        later = jax.grad(problem.loss_on)(adapted, (), task.query, task.query)
        return jax.tree.map(lambda g, h: 0.05 + 0.5 * g * h, slope, later)

    close(after.meta["rates"], rates(state.meta["params"], first(given)))


def test_nil_adds_up_cosines():
    problem = classification(nets.from_function(lambda key, x: (), lambda params, x: x), 3)
    given = drawn(blobs(ways=3, shots=2), 0, 1)
    learner = nil(problem, MAMLConfig())
    task = first(given)
    state = jax.jit(learner.init)(jax.random.key(1), given)
    outputs = np.asarray(curve_by(learner)(state, task.support, task.query["x"], (), 0))[0]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (task.query["x"], task.support["x"])]
    cosine = unit[0] @ unit[1].T
    expected = np.stack([cosine[:, task.support["y"] == k].sum(1) for k in range(3)], 1)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_mr_maml_without_noise_or_its_price_is_anil(batch):
    inner = InnerConfig(steps=2)

    def loss_of(learner):
        state = learner.init(jax.random.key(0), batch)
        return learner.step(jax.random.key(1), state, batch)[1]["loss"]

    @jax.jit
    def noisy(std):
        config = mr_maml.MRMAMLConfig(inner=inner, beta=0.0, initial_std=std)
        return loss_of(mr_maml.mr_maml(PROBLEM, config))

    expected = jax.jit(lambda: loss_of(anil.anil(PROBLEM, MAMLConfig(inner=inner))))()
    np.testing.assert_allclose(noisy(1e-6), expected, rtol=1e-4)
    assert not np.allclose(noisy(0.5), expected, rtol=1e-3)


@pytest.mark.slow
def test_pooled_classes_are_those_behind_the_labels():
    """The loss by hand: a softmax over all classes of the data, at the classes that the code names."""
    images = jax.random.uniform(jax.random.key(0), (7, 6, 3, 3, 1))
    given = draw(few_shot(images, 4, 1, 2), jax.random.key(1), 3)
    problem = classification(nets.mlp(None, (8,)), 4)
    learner = pooled.pooled(problem, pooled.PooledConfig(fine_tune=InnerConfig(rate=0.1)), classes=7)
    state = jax.jit(learner.init)(jax.random.key(2), given)
    losses = []
    for i in range(3):
        episode = jax.tree.map(lambda x: x[i], given)  # noqa: B023
        seen = joined(episode)
        outputs = np.asarray(problem.predict(state.meta, (), seen, seen["x"]))
        assert outputs.shape == (12, 7)
        name = np.asarray(episode.code)[np.asarray(seen["y"])]
        losses.append((np.log(np.exp(outputs).sum(1)) - outputs[np.arange(12), name]).mean())
    np.testing.assert_allclose(
        learner.step(jax.random.key(3), state, given)[1]["loss"], np.mean(losses), rtol=1e-4
    )
    task = jax.tree.map(lambda x: x[0], given)
    curve = learner.curve(state, task.support, task.query["x"], (), 1)
    np.testing.assert_array_equal(curve[0], 0)  # the head is zero before the first step
    assert float(jnp.abs(curve[1]).max()) > 0
    lost = pooled.pooled(classification(nets.mlp(None, (8,)), 3), pooled.PooledConfig(), classes=7)
    blob = draw(blobs(ways=3), jax.random.key(0), 2)
    state = lost.init(jax.random.key(0), blob)
    with pytest.raises(ValueError, match="code is the class behind each of 3 labels"):
        lost.step(jax.random.key(0), state, blob)


@pytest.mark.slow
def test_prototypes_learned_with_many_ways_serve_for_few():
    learners = {
        ways: prototypical.prototypical(
            classification(nets.mlp(None, (8,)), ways), prototypical.PrototypicalConfig()
        )
        for ways in (3, 9)
    }
    many, few = (draw(blobs(ways=ways), jax.random.key(0), 2) for ways in (9, 3))
    state = learners[9].init(jax.random.key(1), many)
    state, metrics = learners[9].step(jax.random.key(2), state, many)
    assert np.isfinite(np.asarray(metrics["loss"]))
    task = jax.tree.map(lambda x: x[0], few)
    assert learners[3].curve(state, task.support, task.query["x"], (), 0).shape == (1, 15, 3)


def test_a_class_without_support_has_the_mean_of_all():
    features, y = jnp.arange(8.0).reshape(4, 2), jnp.array([0, 0, 2, 2])
    prototypes = jax.jit(prototypical.prototypes, static_argnums=2)(features, y, 3)
    np.testing.assert_allclose(prototypes[1], features.mean(0), rtol=1e-6)
    np.testing.assert_allclose(prototypes[2], features[2:].mean(0), rtol=1e-6)
