"""Fine-tuning: where it starts, the two learning rates against a hand-written step, few labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn import nets
from lrn.check import InputError
from lrn.data.stratified import few_labels
from lrn.ssl.fine_tuning import FineTuningConfig, Pretrained, classifier, fine_tune, fine_tuning
from lrn.supervised.evaluate import evaluate
from lrn.supervised.learner import SupervisedConfig
from lrn.supervised.optimizers import OptimizerConfig

ENCODER = nets.mlp(None, (24,))
RNG = np.random.default_rng(0)
Y = jnp.asarray(RNG.integers(0, 3, 60))
X = jnp.asarray(RNG.normal(size=(3, 4))[np.asarray(Y)] * 4 + RNG.normal(size=(60, 4)), jnp.float32)
START = Pretrained(*jax.jit(ENCODER.init)(jax.random.key(5), X))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_two_learning_rates_are_two_optimizers(name):
    optimizer = OptimizerConfig(name, 0.1, weight_decay=0.1, decayed="all")
    config = FineTuningConfig(SupervisedConfig(optimizer), head_rate=3.0, encoder_rate=0.5)
    learner = fine_tuning(ENCODER, START, 3, config)
    batch = {"x": X, "y": Y}
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    jax.tree.map(np.testing.assert_array_equal, state.params["encoder"], START.params)
    assert np.asarray(state.params["head"]["kernel"]).std() == pytest.approx(0.01, rel=0.4)

    def make(rate):
        if name == "adamw":
            return optax.adamw(rate, weight_decay=0.1)
        return optax.chain(optax.add_decayed_weights(0.1), optax.sgd(rate, 0.9))

    theirs = optax.multi_transform(
        {"encoder": make(0.05), "head": make(0.3)}, {"encoder": "encoder", "head": "head"}
    )

    def loss(params):
        h = ENCODER.apply(params["encoder"], (), X)[0]
        logits = h @ params["head"]["kernel"] + params["head"]["bias"][None]
        return optax.softmax_cross_entropy_with_integer_labels(logits, Y).mean()

    step = jax.jit(learner.step)

    @jax.jit
    def by_hand(params, opt_state):
        updates, opt_state = theirs.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    params, opt_state = state.params, jax.jit(theirs.init)(state.params)
    for i in range(3):
        state, _ = step(jax.random.key(i), state, batch)
        params, opt_state = by_hand(params, opt_state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), state.params, params)


def test_the_loop_learns_from_few_labels_and_a_still_encoder_stays():
    rows = few_labels(jax.random.key(1), Y, 3, 5)
    data = {"image": X, "label": Y, "few": rows}
    config = FineTuningConfig(SupervisedConfig(OptimizerConfig("adam", 0.05)))

    def run(key, rate, data):
        settings = FineTuningConfig(config.training, encoder_rate=rate)
        return fine_tune(key, ENCODER, START, data, 3, settings, steps=60, batch_size=8, rows="few")

    keys, rates = jax.random.split(jax.random.key(0), 2), jnp.array([1.0, 0.0])
    together = jax.jit(jax.vmap(run, in_axes=(0, 0, None)))
    state = together(keys, rates, data)
    moved, still = (jax.tree.map(lambda x, i=i: x[i], (state.params, state.net_state)) for i in range(2))
    jax.tree.map(np.testing.assert_array_equal, still[0]["encoder"], START.params)
    score = jax.jit(lambda params, state: evaluate(classifier(ENCODER, 3), params, state, X, Y))
    for lane in (moved, still):
        assert score(*lane)["accuracy"] > 0.8
    assert not np.allclose(
        jax.tree.leaves(moved[0]["encoder"])[1], jax.tree.leaves(START.params)[1], atol=1e-2
    )
    # Labels outside of the subset play no part.
    other = {**data, "label": jnp.where(jnp.isin(jnp.arange(60), rows), Y, (Y + 1) % 3)}
    again = together(keys, rates, other)
    jax.tree.map(np.testing.assert_array_equal, state.params, again.params)


def test_from_scratch_the_key_draws_the_encoder():
    learner = fine_tuning(ENCODER, None, 3, FineTuningConfig())
    init = jax.jit(learner.init)
    one, other = (init(jax.random.key(i), {"x": X, "y": Y}).params["encoder"] for i in range(2))
    assert not np.allclose(jax.tree.leaves(one)[1], jax.tree.leaves(other)[1])


def test_bad_input_is_one_sentence():
    keep = nets.from_function(lambda key, x: (), lambda params, x: x[:, None])
    for call, said in (
        (lambda: FineTuningConfig(head_rate=0.0), "head_rate must be"),
        (lambda: FineTuningConfig(encoder_rate=-1.0), "encoder_rate must be"),
        (lambda: classifier(ENCODER, 1), "classes must be at least 2"),
        (lambda: classifier(keep, 3).init(jax.random.key(0), X), "must give features"),
        (
            lambda: fine_tune(
                jax.random.key(0), ENCODER, START, {"image": X, "label": Y}, 3, FineTuningConfig(), steps=0
            ),
            "steps must be at least 1",
        ),
    ):
        with pytest.raises(InputError, match=said):
            call()
