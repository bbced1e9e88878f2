"""The supervised learner: equality with standard training in lrn.robust, its accuracy, and its errors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn import data, nets, train
from lrn.check import InputError
from lrn.config import stack
from lrn.data.sampler import minibatch
from lrn.robust.adversarial_training import AdversarialTrainingConfig, adversarial_training
from lrn.supervised import losses, targets
from lrn.supervised.averages import AverageConfig
from lrn.supervised.evaluate import evaluate
from lrn.supervised.learner import SupervisedConfig, supervised, weights
from lrn.supervised.losses import cross_entropy, hits, squared_error
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Net

NET = nets.mlp(3, (8,), activation="tanh")


@pytest.fixture(scope="module")
def batch() -> dict[str, Any]:
    x_key, y_key = jax.random.split(jax.random.key(0))
    return {
        "image": jax.random.uniform(x_key, (16, 4, 4, 1)),
        "label": jax.random.randint(y_key, (16,), 0, 3),
    }


def trained(learner, batch, steps=4):
    def run(key):
        keys = jax.random.split(key, steps)
        state = learner.init(key, batch)
        return jax.lax.scan(lambda s, k: learner.step(k, s, batch), state, keys)

    return jax.jit(run)(jax.random.key(1))


def test_without_options_it_is_standard_training(batch):
    """Equal to lrn.robust's adversarial training without an attack, which is another implementation."""
    theirs = AdversarialTrainingConfig("sgd", 0.2, 0.8, True, 0.01, "cosine", steps=4, warmup=2)
    ours = OptimizerConfig(
        "sgd", 0.2, 0.01, "all", warmup=2.0, schedule="cosine", steps=4, momentum=0.8, nesterov=True
    )
    a, a_metrics = trained(supervised(NET, cross_entropy, SupervisedConfig(ours)), batch)
    b, b_metrics = trained(adversarial_training(NET, theirs), batch)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)  # noqa: E731
    jax.tree.map(close, a.params, b.params)
    jax.tree.map(close, dict(a_metrics), dict(b_metrics))
    assert a.average == ()


def test_names_of_entries_do_not_matter(batch):
    learner = supervised(NET, cross_entropy, SupervisedConfig())
    renamed = {"x": batch["image"], "y": batch["label"]}
    one, other = (trained(learner, b, steps=1)[0] for b in (batch, renamed))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_every_float_may_be_swept(batch):
    """One program over all float options equals a loop over them."""
    configs = [
        SupervisedConfig(OptimizerConfig("adamw", 0.05, 0.1), AverageConfig("ema", 0.5), 0.0, True, 0.2),
        SupervisedConfig(
            OptimizerConfig("adamw", 0.01, 0.0, clip=0.1, warmup=3.0),
            AverageConfig("ema", 0.9),
            0.3,
            True,
            1.0,
        ),
    ]

    def run(config):
        return trained(supervised(NET, cross_entropy, config), batch)

    together = jax.jit(jax.vmap(run))(stack(configs))
    for i, config in enumerate(configs):
        alone = jax.jit(run)(jax.tree.map(jnp.float32, config))
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-5), together, alone
        )


def test_it_learns_the_digits():
    """Digits of unseen writers too, of which scikit-learn's logistic regression gets 90% right."""
    digits, others = data.load("digits", "train"), data.load("digits", "test")
    test = {"image": jnp.asarray(others["image"], jnp.float32) / 255, "label": jnp.asarray(others["label"])}
    net = nets.mlp(10, (128,), dropout=0.2)
    optimizer = OptimizerConfig(learning_rate=0.005, weight_decay=0.1, clip=1.0, schedule="cosine", steps=300)
    config = SupervisedConfig(optimizer, AverageConfig("ema", 0.98), smoothing=0.1)

    def judge(learner, config, key, state, data):
        last = evaluate(net, state.params, state.net_state, test["image"], test["label"])
        mean = evaluate(net, *weights(state), test["image"], test["label"])
        return {"last": last["accuracy"], "mean": mean["accuracy"]}

    result = train.fit(
        lambda c: supervised(net, cross_entropy, c), config, seeds=range(2), steps=300, data=dict(digits),
        sampler=minibatch(64), evaluate=judge, progress=False,
    )  # fmt: skip
    for name, bound in (("last", 0.87), ("mean", 0.87), ("accuracy", 0.93)):
        assert result.table.final("default", name).min() > bound


@pytest.mark.parametrize("n", [1, 9, 16])
def test_evaluation_in_batches_is_that_of_the_whole(batch, n):
    params, state = NET.init(jax.random.key(0), batch["image"])
    x, y = batch["image"][:n], batch["label"][:n]
    metrics = jax.jit(lambda x, y: evaluate(NET, params, state, x, y, batch_size=4))(x, y)
    logits = NET.apply(params, state, x)[0]
    loss = optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    assert metrics["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(float((logits.argmax(1) == y).mean()), rel=1e-6)
    numbers = evaluate(NET, params, state, x, logits + 2.0, loss=squared_error, batch_size=4)
    assert set(numbers) == {"loss"}
    assert numbers["loss"] == pytest.approx(4.0, rel=1e-5)


def test_cross_entropy_is_that_of_optax():
    logits = 5 * jax.random.normal(jax.random.key(0), (6, 4))
    soft = jax.nn.softmax(jax.random.normal(jax.random.key(1), (6, 4)))
    np.testing.assert_allclose(
        cross_entropy(logits, soft), optax.losses.softmax_cross_entropy(logits, soft), rtol=1e-5
    )
    hot = targets.one_hot(jnp.array([0, 3, 1, 1, 2, 0], jnp.uint8), 4)
    np.testing.assert_array_equal(hot, np.eye(4)[[0, 3, 1, 1, 2, 0]])
    np.testing.assert_allclose(
        targets.smooth(hot, 0.1), optax.losses.smooth_labels(hot, jnp.float32(0.1)), rtol=1e-6
    )
    assert cross_entropy(logits.astype(jnp.bfloat16), soft).dtype == jnp.float32


def test_a_class_that_is_masked_out_counts_nothing():
    logits, hot = jnp.array([[0.0, 1.0, -jnp.inf]]), jnp.array([[0.0, 1.0, 0.0]])
    value, slope = jax.value_and_grad(lambda z: cross_entropy(z, hot).sum())(logits)
    assert value == pytest.approx(np.log1p(np.exp(-1.0)), rel=1e-6)
    p = 1 / (1 + np.e)
    np.testing.assert_allclose(slope, [[p, -p, 0.0]], rtol=1e-5)


def test_ties_and_nan_are_wrong():
    logits = jnp.array([[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [jnp.nan, 0.0, 0.0], [0.0, 0.0, 5.0]])
    np.testing.assert_array_equal(hits(logits, jnp.eye(3)[jnp.array([0, 0, 0, 1])]), [1, 0, 0, 0])
    np.testing.assert_allclose(hits(logits[:1], jnp.array([[0.3, 0.7, 0.0]])), [0.3], rtol=1e-6)
    assert np.isnan(hits(logits, jnp.full(logits.shape, jnp.nan))).all()


def test_a_label_that_is_no_class_makes_the_training_nan(batch):
    learner = supervised(NET, cross_entropy, SupervisedConfig(smoothing=0.1))
    state = learner.init(jax.random.key(0), batch)
    bad = {**batch, "label": batch["label"].at[3].set(7)}
    after, metrics = jax.jit(learner.step)(jax.random.key(1), state, bad)
    assert np.isnan(metrics["loss"])
    assert all(np.isnan(x).any() for x in jax.tree.leaves(after.params))
    with pytest.raises(InputError, match="labels must lie between 0 and 2, got 0 to 7"):
        learner.step(jax.random.key(1), state, bad)


def linear(outputs):
    def apply(params, state, x, *, key=None, train=False):
        return outputs(x.reshape(x.shape[0], -1) @ params), state

    return Net(lambda key, x: (jnp.ones((16, 3)), ()), apply)


LABELS = jnp.arange(16) % 3


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"label": jnp.full(16, 3)}, {}, "labels must lie between 0 and 2, got 3 to 3"),
        ({"label": jnp.full(16, -1)}, {}, "labels must lie between 0 and 2, got -1 to -1"),
        ({"label": jnp.zeros((16, 3), int)}, {}, r"integer labels must be of shape \[batch\]"),
        ({"label": jnp.zeros(16, bool)}, {}, "targets must be integer labels or floats, got dtype bool"),
        ({"label": jnp.zeros(4, int)}, {}, "one batch size above 0"),
        ({"image": jnp.zeros((0, 4)), "label": jnp.zeros(0, int)}, {}, "one batch size above 0"),
        ({"image": jnp.zeros(16)}, {}, r"inputs must be \[batch, ...\]"),
        ({"x": jnp.zeros((16, 4))}, {}, "either 'image' or 'x'"),
        (None, {}, "either 'label' or 'y'"),
        ({}, {"outputs": lambda z: z[:, :1]}, r"logits \[16, classes\], 2 classes or more"),
        ({}, {"outputs": lambda z: z[:, 0]}, r"logits \[16, classes\], 2 classes or more"),
        ({}, {"outputs": lambda z: (z, z)}, "the network must give one array, got tuple"),
        ({"label": jnp.zeros((16, 3))}, {"smoothing": 0.1}, "label smoothing needs integer labels"),
    ],
)
def test_bad_batches_are_refused_by_init(batch, change, options, message):
    given = {"image": batch["image"]} if change is None else {**batch, **change}
    net = linear(options.pop("outputs", lambda z: z))
    learner = supervised(net, cross_entropy, SupervisedConfig(**options))
    with pytest.raises(InputError, match=message):
        learner.init(jax.random.key(0), given)


@pytest.mark.parametrize(
    ("loss", "change", "options", "message"),
    [
        (lambda z, t: cross_entropy(z, t).mean(), {}, {}, r"the loss must be \[batch\], got shape \(\)"),
        (squared_error, {"label": jnp.zeros(16)}, {}, "squared_error needs output and target of one shape"),
        (cross_entropy, {"label": jnp.zeros((16, 2))}, {}, "cross_entropy needs logits and targets"),
        (
            cross_entropy, {"image": jnp.zeros((16, 16), int)}, {"mixup": True},
            "mixup needs inputs of floats, got dtype int32",
        ),
    ],
)  # fmt: skip
def test_bad_losses_and_inputs_are_refused_before_compiling(batch, loss, change, options, message):
    learner = supervised(linear(lambda z: z), loss, SupervisedConfig(**options))
    given = {**batch, **change}
    state = learner.init(jax.random.key(0), given)
    with pytest.raises(InputError, match=message):
        jax.eval_shape(learner.step, jax.random.key(1), state, given)


def test_a_batch_that_is_no_dict():
    learner = supervised(NET, cross_entropy, SupervisedConfig())
    with pytest.raises(InputError, match="a batch must be a dict"):
        learner.init(jax.random.key(0), (jnp.zeros((16, 4)), LABELS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"smoothing": 1.5}, "smoothing must lie between 0 and 1"),
        ({"mixup": 0.2}, "mixup must be True or False, got 0.2"),
        ({"alpha": 0.0}, "alpha must be a finite number above 0"),
    ],
)
def test_bad_configs(settings, message):
    with pytest.raises(InputError, match=message):
        SupervisedConfig(**settings)


def test_losses_refuse_what_would_broadcast():
    with pytest.raises(InputError, match="one shape"):
        losses.squared_error(jnp.zeros((4, 1)), jnp.zeros(4))
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        evaluate(NET, {}, (), jnp.zeros((2, 3)), jnp.zeros(2, int), batch_size=0)
